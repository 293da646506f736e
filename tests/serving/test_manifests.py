"""The manifests of docs/examples: parsed, their configuration loaded, their command started, their probe answered."""

from __future__ import annotations

import configparser
import hashlib
import re
import shlex
import shutil
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli.cancel.reached import reached
from gateway.config import Config, load_config
from gateway.files.addresses import Origin
from gateway.policy.format.load import load_policies
from gateway.simulator.core import Simulator
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.cli.running import END_S, Serving, command, ended, serving
from tests.serving.doors import ask, to_port, to_unix
from tests.support.gateway import POLICIES

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
KEY = "qgk_sidecar_" + "k" * 43
SERVE = ["serve", "--config", "/etc/qstash-gateway/config.yaml"]


def manifest(name: str) -> list[Any]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def kind(name: str, *, called: str | None = None) -> Any:
    """The one object of a kind in the Kubernetes manifest."""
    (found,) = (
        member
        for member in manifest("kubernetes.yaml")
        if member["kind"] == name and called in (None, member["metadata"]["name"])
    )
    return found


def pod() -> Any:
    """The pod of the Kubernetes manifest."""
    return kind("StatefulSet")["spec"]["template"]["spec"]


@dataclass(frozen=True)
class Example:
    """What a manifest holds of the gateway: its configuration, its policies, its command, its patience."""

    config: str
    policies: Mapping[str, str]
    command: list[str]
    grace_s: int
    token: str
    read_token: str


def kubernetes() -> Example:
    mount = mounts()["token"]
    return Example(
        kind("ConfigMap", called="qstash-gateway")["data"]["config.yaml"],
        kind("ConfigMap", called="qstash-gateway-policies")["data"],
        pod()["initContainers"][0]["args"],
        pod()["terminationGracePeriodSeconds"],
        *(f"{mount}/{name}" for name in kind("Secret", called="qstash")["stringData"]),
    )


def mounts() -> dict[str, str]:
    """Where the pod's gateway has its volumes."""
    return {mount["name"]: mount["mountPath"] for mount in pod()["initContainers"][0]["volumeMounts"]}


def compose() -> Example:
    (project,) = manifest("compose.yaml")
    service = project["services"]["qstash-gateway"]
    text = project["configs"]["gateway"]["content"]
    grace_s = int(service["stop_grace_period"].removesuffix("s"))
    return Example(text, shipped(), service["command"], grace_s, *(one["target"] for one in service["secrets"]))


def unit() -> configparser.ConfigParser:
    # A key may stand twice in a unit; of these, only the last is kept (see `credentials`).
    parsed = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string((EXAMPLES / "qstash-gateway.service").read_text())
    return parsed


def credentials() -> list[str]:
    """Where the unit has its secrets."""
    names = re.findall(r"(?m)^LoadCredential=([a-z-]+):", (EXAMPLES / "qstash-gateway.service").read_text())
    return [f"/run/credentials/qstash-gateway.service/{name}" for name in names]


def systemd() -> Example:
    service = unit()["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "qstash-gateway"
    text = (EXAMPLES / "qstash-gateway.yaml").read_text()
    return Example(text, shipped(), words, int(service["TimeoutStopSec"]), *credentials())


def shipped() -> dict[str, str]:
    return {path.name: path.read_text() for path in POLICIES.glob("*.yaml") if ".cases." not in path.name}


EVERY = {"kubernetes": kubernetes, "compose": compose, "systemd": systemd}


@pytest.fixture(params=EVERY)
def example(request: pytest.FixtureRequest) -> Example:
    return EVERY[request.param]()


def test_the_command_is_that_of_the_image(example: Example) -> None:
    """One command line everywhere, so that what is started below is what they start."""
    assert example.command == SERVE


def test_the_supervisor_waits_longer_than_the_gateway(example: Example, tmp_path: Path) -> None:
    """A call in flight at the end is given its time, and the log is closed before anybody kills."""
    config = loaded(example, tmp_path)
    assert config.upstream.total_timeout_s + 3 < config.shutdown_grace_s < example.grace_s
    assert config.upstream.token.file == Path(example.token)
    assert config.upstream.read_token is not None
    assert config.upstream.read_token.file == Path(example.read_token)


def loaded(example: Example, directory: Path) -> Config:
    """The configuration exactly as the manifest has it."""
    path = directory / "as-it-stands.yaml"
    path.write_text(example.config)
    return load_config(path)


def entry(key: str, key_id: str) -> str:
    """A caller's entry as `keys new` prints it."""
    return f'{{id: {key_id}, team: billing, sha256: "{hashlib.sha256(key.encode()).hexdigest()}"}}'


def moved(text: str, example: Example, directory: Path) -> str:
    """The manifest's configuration with a key, and with the places on this machine."""
    text = text.replace("{keys: []}", f"{{keys: [{entry(KEY, 'sidecar')}]}}")
    text = text.replace(example.token, str(directory / "token"))
    text = text.replace(example.read_token, str(directory / "read-token"))
    text = text.replace("/run/qstash-gateway/", f"{directory}/").replace("/var/lib/qstash-gateway", str(directory))
    text = re.sub(r"(?m)^policies: .*$", f"policies: {directory}/policies", text)
    return re.sub(r'(listen: "?)(?:0\.0\.0\.0|127\.0\.0\.1):[0-9]+', r"\g<1>127.0.0.1:0", text)


@contextmanager
def started(
    example: Example,
    directory: Path,
    *,
    tokens: tuple[str, str] = ("upstream-token-of-these-tests", "read-only-token-of-these-tests"),
) -> Iterator[Serving]:
    """The manifest's command and configuration; only places on this machine differ, and a key is added."""
    for name, token in zip(("token", "read-token"), tokens, strict=True):
        (directory / name).write_text(token)
    mounted(directory / "policies", example.policies)
    mounted(directory / "etc", {"config.yaml": moved(example.config, example, directory)})
    config = directory / "etc" / "config.yaml"
    assert command("check", "--config", str(config)).returncode == 0
    words = [word.replace(SERVE[-1], str(config)) for word in example.command]
    with serving(*words, directory=directory, env={"PYTHONPATH": str(EXAMPLES.parents[1])}) as running:
        yield running


def mounted(directory: Path, files: Mapping[str, str]) -> None:
    """Files as a kubelet mounts them: links into a directory that is swapped as a whole."""
    (directory / "..2026_11_23").mkdir(parents=True)
    (directory / "..data").symlink_to("..2026_11_23")
    for name, text in files.items():
        (directory / "..2026_11_23" / name).write_text(text)
        (directory / name).symlink_to(f"..data/{name}")


def updated(directory: Path, files: Mapping[str, str]) -> None:
    """Files as a kubelet updates them: a new directory, and one rename of the link to it."""
    fresh = f"..{len(list(directory.iterdir()))}"
    (directory / fresh).mkdir()
    for name, text in files.items():
        (directory / fresh / name).write_text(text)
    (directory / "..data_tmp").symlink_to(fresh)
    (directory / "..data_tmp").rename(directory / "..data")


def said(running: Serving) -> dict[str, Any]:
    """What the gateway says once it serves."""
    while not (found := re.search(r'^\{.*"event": ?"serving".*\}$', running.errors.read_text(), re.MULTILINE)):
        assert running.process.poll() is None, running.errors.read_text()
    members: dict[str, Any] = yaml.safe_load(found[0])
    return members


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_the_pod_starts_and_its_probes_are_answered(tmp_path: Path) -> None:
    """Each probe asks a path that exists, at the port of the health listener; the tools call where it listens."""
    example = kubernetes()
    config = loaded(example, tmp_path)
    assert config.health is not None
    gateway, tools = pod()["initContainers"][0], pod()["containers"][0]
    probes = [gateway[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["port"] for probe in probes} == {gateway["ports"][0]["containerPort"]}
    assert f'health: {{listen: "0.0.0.0:{probes[0]["port"]}"}}' in example.config
    (address,) = (one["value"] for one in tools["env"] if one["name"] == "QSTASH_GATEWAY_URL")
    assert f"listen: {address.removeprefix('http://')}\n" in example.config
    with started(example, tmp_path) as running:
        listening = said(running)
        for probe in probes:
            assert ask(to_port(port(listening["health"])), "GET", probe["path"]).status == 200
        assert ask(to_port(port(listening["listen"])), "GET", "/gateway/v1/whoami", KEY).json()["team"] == "billing"
        assert running.stop() == 0


def test_check_has_nothing_to_say_about_the_pod(tmp_path: Path) -> None:
    """No warning under the contract that it is configured for."""
    with started(kubernetes(), tmp_path):
        done = command("check", "--config", str(tmp_path / "etc" / "config.yaml"))
    assert (done.returncode, "warning" in done.stdout) == (0, False), done.stdout


def test_the_tools_of_the_pod_reach_the_gateway_with_the_command(tmp_path: Path) -> None:
    """`cancel` takes the address that the manifest gives them, and shows what the policies of the manifest allow."""
    example = kubernetes()
    with SimulatorServer(Simulator(make_runs(100, time.time_ns() // 1_000_000, seed=0))) as upstream:
        text = example.config.replace("https://qstash.upstash.io", upstream.url)
        tokens = (upstream.token, upstream.read_token)
        with started(replace(example, config=text), tmp_path, tokens=tokens) as running:
            environment = {"QSTASH_GATEWAY_URL": f"http://{said(running)['listen']}", "QSTASH_GATEWAY_KEY": KEY}
            url = "https://billing.example.com/api/invoice"
            done = command("cancel", "--url", url, "--dry-run", env=environment)
            assert (done.returncode, done.stderr) == (0, "")
            assert "allowed by billing/own-workflow" in done.stdout


def test_a_key_taken_out_of_the_config_map_is_refused_within_moments(tmp_path: Path) -> None:
    """The documented removal in an emergency, as the kubelet brings it: without a restart, and without a signal."""
    example = kubernetes()
    with started(example, tmp_path) as running:
        listening = port(said(running)["listen"])
        assert ask(to_port(listening), "GET", "/gateway/v1/whoami", KEY).status == 200
        text = (tmp_path / "etc" / "config.yaml").read_text()
        assert KEY not in text
        updated(tmp_path / "etc", {"config.yaml": text.replace(entry(KEY, "sidecar"), "")})
        deadline = time.monotonic() + END_S
        while ask(to_port(listening), "GET", "/gateway/v1/whoami", KEY).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert ask(to_port(listening), "GET", "/gateway/v1/whoami", KEY).status == 401
        assert running.process.poll() is None


def test_nothing_of_a_manifest_is_mounted_in_a_way_that_is_never_updated() -> None:
    """A `subPath` is a copy of the moment the pod was made: no change of a ConfigMap or Secret reaches it."""
    containers = [*pod()["initContainers"], *pod()["containers"]]
    every = [mount for container in containers for mount in container.get("volumeMounts", ())]
    assert every
    assert not [mount for mount in every if "subPath" in mount or "subPathExpr" in mount]
    paths = list(mounts().values())
    # A directory below another cannot be made in a volume that is read-only.
    assert not [(one, other) for one in paths for other in paths if one != other and one.startswith(f"{other}/")]


def test_the_pod_mounts_what_the_configuration_names() -> None:
    """Every path of the configuration lies in a mount; the root is read-only, and the token is nobody else's."""
    gateway, tools = pod()["initContainers"][0], pod()["containers"][0]
    paths = [SERVE[-1], *re.findall(r"/(?:etc|run|var)/[a-z./-]+", kubernetes().config)]
    assert len(paths) == 5
    assert all(any(path == mount or path.startswith(f"{mount}/") for mount in mounts().values()) for path in paths)
    assert gateway["securityContext"]["readOnlyRootFilesystem"] is True
    named = {volume["name"] for volume in pod()["volumes"]}
    claimed = {claim["metadata"]["name"] for claim in kind("StatefulSet")["spec"]["volumeClaimTemplates"]}
    assert mounts().keys() == named | claimed
    assert "volumeMounts" not in tools


def test_the_tools_have_a_key_and_no_token() -> None:
    """Every Secret that is named is in the manifest, with the entry that is asked for."""
    given = [one["valueFrom"]["secretKeyRef"] for one in pod()["containers"][0]["env"] if "valueFrom" in one]
    assert [secret["name"] for secret in given] == ["oncall-tools"]
    assert all(secret["key"] in kind("Secret", called=secret["name"])["stringData"] for secret in given)
    (volume,) = (volume["secret"]["secretName"] for volume in pod()["volumes"] if "secret" in volume)
    assert kind("Secret", called=volume)["stringData"].keys() == {"token", "read-token"}


def test_nobody_else_reaches_the_pod_and_it_reaches_no_one_but_dns_and_upstream() -> None:
    """The network policy selects the pod, lets nobody in, and out only to name servers and by TLS to the world."""
    policy = kind("NetworkPolicy")["spec"]
    template = kind("StatefulSet")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert (set(policy["policyTypes"]), policy["ingress"]) == ({"Ingress", "Egress"}, [])
    names, world = policy["egress"]
    assert {one["port"] for one in names["ports"]} == {53}
    assert [(one["protocol"], one["port"]) for one in world["ports"]] == [("TCP", 443)]
    (block,) = (one["ipBlock"] for one in world["to"])
    private = ["10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"]
    assert all(any(ip_address(one) in ip_network(net) for net in block["except"]) for one in private)


def test_the_socket_of_the_page_takes_the_place_of_the_address(tmp_path: Path) -> None:
    """The page's variant for the pod: its lines in the manifest's configuration, a mount of its own for both."""
    page = (EXAMPLES.parent / "sidecar.md").read_text().partition("### The socket in the pod")[2]
    lines, patch = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[:2]
    changed = kubernetes().config.replace("listen: 127.0.0.1:8080\n", lines)
    assert changed != kubernetes().config
    spec = yaml.safe_load(patch)
    (volume,) = spec["volumes"]
    containers = [*spec["initContainers"], *spec["containers"]]
    assert {mount["name"] for one in containers for mount in one["volumeMounts"]} == {volume["name"]}
    with started(replace(kubernetes(), config=changed), tmp_path) as running:
        path = Path(said(running)["listen"].removeprefix("unix:"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert ask(to_unix(path), "GET", "/gateway/v1/whoami", KEY).json()["team"] == "billing"
        assert command("probe", "--url", f"unix:{path}").returncode == 0


def test_the_tokens_of_the_manifest_start_nothing(tmp_path: Path) -> None:
    """A manifest that was applied as it stands does not go into service."""
    example = kubernetes()
    with started(example, tmp_path) as running:
        said(running)
    for name, text in kind("Secret", called="qstash")["stringData"].items():
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text)
        done = command("serve", "--config", str(tmp_path / "etc" / "config.yaml"))
        assert done.returncode == 3
        assert "placeholder" in done.stderr
        (tmp_path / name).write_text(before)


def test_the_composition_starts_and_its_health_check_passes(tmp_path: Path) -> None:
    """The health check is the gateway's own command; the tools speak to the port that is listened on."""
    example = compose()
    (project,) = manifest("compose.yaml")
    service = project["services"]["qstash-gateway"]
    listening = re.search(r"(?m)^listen: 0\.0\.0\.0:([0-9]+)$", example.config)
    assert listening is not None
    url = project["services"]["tools"]["environment"]["QSTASH_GATEWAY_URL"]
    assert url == f"http://qstash-gateway:{listening[1]}"
    assert reached(url, name="QSTASH_GATEWAY_URL", allow_http=True) == Origin(url, url.removeprefix("http://"))
    assert service["read_only"] is True
    with started(example, tmp_path) as running:
        address = said(running)["listen"]
        config = tmp_path / "etc" / "config.yaml"
        config.write_text(config.read_text().replace("127.0.0.1:0", address))
        way, program, *words = service["healthcheck"]["test"]
        assert (way, program) == ("CMD", "qstash-gateway")
        assert command(*[word.replace(SERVE[-1], str(config)) for word in words]).returncode == 0
        assert running.stop() == 0


def test_the_service_starts_and_ends_in_order(tmp_path: Path) -> None:
    """The unit's command serves on the socket, and the unit's signal ends it with 0 and without the file."""
    example = systemd()
    with started(example, tmp_path) as running:
        path = Path(said(running)["listen"].removeprefix("unix:"))
        assert ask(to_unix(path), "GET", "/readyz").status == 200
        assert reloads(running, unit()["Service"]["ExecReload"])
        running.process.send_signal(signal.Signals[unit()["Service"]["KillSignal"]])
        assert running.process.wait(END_S) == 0
        assert not path.exists()


def reloads(running: Serving, line: str) -> bool:
    """Whether the unit's reload, run as systemd runs it, makes the gateway read everything anew."""
    words = [word.replace("$MAINPID", str(running.process.pid)) for word in shlex.split(line)]
    assert ended(words).returncode == 0
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline and running.process.poll() is None:
        records = "".join(path.read_text() for path in (running.output.parent / "audit").glob("*.jsonl"))
        if '"event":"reload"' in records:
            return '"cause":"signal"' in records
        time.sleep(0.1)
    return False


def test_the_unit_has_the_directories_that_the_configuration_names() -> None:
    """What systemd makes for the service is what the gateway writes to."""
    service, config = unit()["Service"], systemd().config
    assert f"unix:/run/{service['RuntimeDirectory']}/" in config
    assert f"directory: /var/lib/{service['StateDirectory']}/" in config
    assert service["ExecStartPre"] == service["ExecStart"].replace(" serve ", " check ")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to say about it, once its program is there."""
    text = (
        (EXAMPLES / "qstash-gateway.service").read_text().replace("/opt/qstash-gateway/bin/qstash-gateway", "/bin/true")
    )
    path = tmp_path / "qstash-gateway.service"
    path.write_text(text)
    done = ended(["systemd-analyze", "verify", str(path)])
    assert (done.returncode, done.stderr) == (0, "")


def test_every_policy_of_a_manifest_loads(example: Example, tmp_path: Path) -> None:
    """Also where they are links into a directory beside them, as a kubelet mounts them."""
    mounted(tmp_path / "policies", example.policies)
    policies = load_policies(tmp_path / "policies")
    assert {rule.policy for rule in policies.rules} == {name.removesuffix(".yaml") for name in example.policies}
