"""The manifests of docs/examples: parsed, their configuration loaded, their command started, their probe answered."""

from __future__ import annotations

import configparser
import hashlib
import re
import shlex
import shutil
import signal
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config, load_config
from gateway.endpoints import Listen, UnixListen
from gateway.policy.load import load_policies
from tests.cli.running import END_S, Serving, command, ended, serving
from tests.listeners.doors import ask, to_port, to_unix
from tests.support.gateway import POLICIES

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
KEY = "qgk_sidecar_" + "k" * 43
SERVE = ["serve", "--config", "/etc/qstash-gateway/config.yaml"]


def manifest(name: str) -> list[Any]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


@dataclass(frozen=True)
class Example:
    """What a manifest holds of the gateway: its configuration, its policies, its command, its patience."""

    config: str
    policies: Mapping[str, str]
    command: list[str]
    grace_s: int
    token: str


def kubernetes() -> Example:
    config, policies, _, workload = manifest("kubernetes.yaml")
    pod = workload["spec"]["template"]["spec"]
    return Example(
        config["data"]["config.yaml"],
        policies["data"],
        pod["initContainers"][0]["args"],
        pod["terminationGracePeriodSeconds"],
        "/run/secrets/qstash/token",
    )


def compose() -> Example:
    (project,) = manifest("compose.yaml")
    service = project["services"]["qstash-gateway"]
    text = project["configs"]["gateway"]["content"]
    grace_s = int(service["stop_grace_period"].removesuffix("s"))
    return Example(text, shipped(), service["command"], grace_s, service["secrets"][0]["target"])


def unit() -> configparser.ConfigParser:
    # A key may stand twice in a unit; of these, only the last is kept.
    parsed = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string((EXAMPLES / "qstash-gateway.service").read_text())
    return parsed


def systemd() -> Example:
    service = unit()["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "qstash-gateway"
    text = (EXAMPLES / "qstash-gateway.yaml").read_text()
    name = service["LoadCredential"].partition(":")[0]
    return Example(
        text, shipped(), words, int(service["TimeoutStopSec"]), f"/run/credentials/qstash-gateway.service/{name}"
    )


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


def loaded(example: Example, directory: Path) -> Config:
    """The configuration exactly as the manifest has it."""
    path = directory / "as-it-stands.yaml"
    path.write_text(example.config)
    return load_config(path)


@contextmanager
def started(example: Example, directory: Path) -> Iterator[Serving]:
    """The manifest's command and configuration; only places on this machine differ, and a key is added."""
    (directory / "token").write_text("upstream-token-of-these-tests")
    mounted(directory / "policies", example.policies)
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    text = example.config.replace("{keys: []}", f'{{keys: [{{id: sidecar, team: billing, sha256: "{digest}"}}]}}')
    text = text.replace(example.token, str(directory / "token")).replace("/run/qstash-gateway/", f"{directory}/")
    text = text.replace("/etc/qstash-gateway/policies", "policies").replace("/var/lib/qstash-gateway", str(directory))
    text = re.sub(r"0\.0\.0\.0:[0-9]+", "127.0.0.1:0", text)
    config = directory / "config.yaml"
    config.write_text(text)
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


def said(running: Serving) -> dict[str, Any]:
    """What the gateway says once it serves."""
    while not (found := re.search(r'^\{.*"event": ?"serving".*\}$', running.errors.read_text(), re.MULTILINE)):
        assert running.process.poll() is None, running.errors.read_text()
    members: dict[str, Any] = yaml.safe_load(found[0])
    return members


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_the_pod_starts_and_its_probes_are_answered(tmp_path: Path) -> None:
    """Each probe asks a path that exists, at the port of the health listener; the socket is for the group alone."""
    example = kubernetes()
    health = loaded(example, tmp_path).health
    assert health is not None
    pod = manifest("kubernetes.yaml")[3]["spec"]["template"]["spec"]
    gateway = pod["initContainers"][0]
    probes = [gateway[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["port"] for probe in probes} == {health.listen[0].port} == {gateway["ports"][0]["containerPort"]}
    with started(example, tmp_path) as running:
        listening = said(running)
        for probe in probes:
            assert ask(to_port(port(listening["health"])), "GET", probe["path"]).status == 200
        path = Path(listening["listen"].removeprefix("unix:"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert ask(to_unix(path), "GET", "/gateway/v1/whoami", KEY).json()["team"] == "billing"
        assert running.stop() == 0


def test_the_pod_mounts_what_the_configuration_names() -> None:
    """Every path of the configuration lies in a mount; the root is read-only, and the token is nobody else's."""
    example, pod = kubernetes(), manifest("kubernetes.yaml")[3]["spec"]["template"]["spec"]
    gateway, tools = pod["initContainers"][0], pod["containers"][0]
    mounts = {mount["mountPath"] for mount in gateway["volumeMounts"]}
    paths = re.findall(r"/(?:etc|run|var)/[a-z./-]+", example.config)
    assert len(paths) == 4
    assert all(any(path == mount or path.startswith(f"{mount}/") for mount in mounts) for path in paths)
    assert gateway["securityContext"]["readOnlyRootFilesystem"] is True
    named = {volume["name"] for volume in pod["volumes"]}
    claimed = {claim["metadata"]["name"] for claim in manifest("kubernetes.yaml")[3]["spec"]["volumeClaimTemplates"]}
    assert {mount["name"] for mount in gateway["volumeMounts"]} == named | claimed
    assert [mount["name"] for mount in tools["volumeMounts"]] == ["socket"]


def test_the_token_of_the_manifest_starts_nothing(tmp_path: Path) -> None:
    """A manifest that was applied as it stands does not go into service."""
    example = kubernetes()
    with started(example, tmp_path) as running:
        said(running)
    (tmp_path / "token").write_text(manifest("kubernetes.yaml")[2]["stringData"]["token"])
    done = command("serve", "--config", str(tmp_path / "config.yaml"))
    assert done.returncode == 3
    assert "placeholder" in done.stderr


def test_the_composition_starts_and_its_health_check_passes(tmp_path: Path) -> None:
    """The health check is the gateway's own command; the tools speak to the port that is listened on."""
    example = compose()
    (project,) = manifest("compose.yaml")
    service = project["services"]["qstash-gateway"]
    [listen] = loaded(example, tmp_path).listen
    assert isinstance(listen, Listen)
    assert project["services"]["tools"]["environment"]["QSTASH_URL"] == f"http://qstash-gateway:{listen.port}"
    assert service["read_only"] is True
    with started(example, tmp_path) as running:
        address = said(running)["listen"]
        config = tmp_path / "config.yaml"
        config.write_text(config.read_text().replace("127.0.0.1:0", address))
        kind, program, *words = service["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "qstash-gateway")
        assert command(*[word.replace(SERVE[-1], str(config)) for word in words]).returncode == 0
        assert running.stop() == 0


def test_the_service_starts_and_ends_in_order(tmp_path: Path) -> None:
    """The unit's command serves on the socket, and the unit's signal ends it with 0 and without the file."""
    example = systemd()
    [listen] = loaded(example, tmp_path).listen
    assert isinstance(listen, UnixListen)
    with started(example, tmp_path) as running:
        path = Path(said(running)["listen"].removeprefix("unix:"))
        assert ask(to_unix(path), "GET", "/readyz").status == 200
        running.process.send_signal(signal.Signals[unit()["Service"]["KillSignal"]])
        assert running.process.wait(END_S) == 0
        assert not path.exists()


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
