"""The fleet of docs/examples: its configuration starts on a real database, and its parts name each other rightly."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config
from gateway.files.addresses import Listen
from tests.cli.running import command
from tests.fleet.house import CONF, SIZE
from tests.serving.doors import ask, to_port
from tests.serving.kustomized import rendered
from tests.serving.test_manifests import EXAMPLES, KEY, SERVE, Example, loaded, manifest, port, said, shipped, started
from tests.support.state.fixtures import postgresql_settings
from tests.support.state.postgres import Postgres

KUSTOMIZE = EXAMPLES / "kustomize" / "fleet"
COMPOSE = EXAMPLES / "fleet"
MIGRATE = ["state", "migrate", *SERVE[1:]]


def project() -> Any:
    """The composition."""
    (found,) = manifest("fleet/compose.yaml")
    return found


def gateways() -> dict[str, Any]:
    """Its gateways, by name."""
    return {name: one for name, one in project()["services"].items() if name.startswith("gateway-")}


def pod() -> Any:
    """The gateway's pod in the kustomization."""
    return rendered(KUSTOMIZE)["StatefulSet", "qstash-gateway"]["spec"]["template"]["spec"]


def composed() -> Example:
    """What the composition holds of a gateway."""
    service = gateways()["gateway-1"]
    secrets = project()["secrets"]
    assert service["secrets"] == list(secrets)
    paths = [f"/run/secrets/{name}" for name in secrets]
    text = (COMPOSE / project()["configs"]["gateway"]["file"]).read_text()
    return Example(text, shipped(), service["command"], int(service["stop_grace_period"].removesuffix("s")), *paths[:2])


def kustomized() -> Example:
    """What the kustomization holds of a gateway."""
    objects = rendered(KUSTOMIZE)
    mounts = {one["name"]: one["mountPath"] for one in pod()["containers"][0]["volumeMounts"]}
    return Example(
        objects["ConfigMap", "qstash-gateway"]["data"]["config.yaml"],
        objects["ConfigMap", "qstash-gateway-policies"]["data"],
        pod()["containers"][0]["args"],
        pod()["terminationGracePeriodSeconds"],
        *(f"{mounts['token']}/{name}" for name in ("token", "read-token")),
    )


EVERY = {"compose": composed, "kustomize": kustomized}


@pytest.fixture(params=EVERY)
def example(request: pytest.FixtureRequest) -> Example:
    return EVERY[request.param]()


def password(config: Config) -> Path:
    """Where the configuration has the password of the database."""
    assert config.state is not None
    assert config.state.password is not None
    return config.state.password


async def test_the_fleet_starts_on_its_database_and_its_probes_are_answered(
    example: Example, postgres: Postgres, tmp_path: Path
) -> None:
    """And its commands take the configuration; of policies that the example brings `check` has nothing to say."""
    settings = await postgresql_settings(postgres)
    config = loaded(example, tmp_path)
    assert config.state is not None
    text = example.config.replace(config.state.url or "", settings.url or "")
    text = text.replace(str(password(config)), str(postgres.password_file))
    assert text != example.config
    with started(replace(example, config=text), tmp_path) as running:
        listening = said(running)
        assert ask(to_port(port(listening["health"])), "GET", "/readyz").status == 200
        team = ask(to_port(port(listening["listen"])), "GET", "/gateway/v1/whoami", KEY).json()["team"]
        assert team == "billing"
        file = str(tmp_path / "etc" / "config.yaml")
        for words in (["check", "--config", file], [*MIGRATE[:-1], file], ["state", "check", "--config", file]):
            done = command(*words)
            assert done.returncode == 0, done.stdout + done.stderr
            # The policies of the composition are the caller's own; here they are the shipped ones, with more teams.
            assert example.policies == shipped() or "warning" not in done.stdout, done.stdout
        assert running.stop() == 0


def test_the_supervisor_waits_longer_than_a_gateway_and_the_secrets_lie_where_it_looks(
    example: Example, tmp_path: Path
) -> None:
    """One command line everywhere; the password beside the tokens."""
    config = loaded(example, tmp_path)
    assert example.command == SERVE
    assert config.upstream.total_timeout_s + 3 < config.shutdown_grace_s < example.grace_s
    assert config.upstream.token.file == Path(example.token)
    assert config.upstream.read_token is not None
    assert config.upstream.read_token.file == Path(example.read_token)
    assert password(config) == Path(example.token).with_name("state-password")
    assert config.operators


def test_each_gateway_of_the_composition_has_a_record_of_its_own_and_the_same_files() -> None:
    """Volumes of the record are shared by nobody; everything else is the same text."""
    services, volumes = gateways(), project()["volumes"]
    assert len(services) == SIZE
    records = [one["volumes"][1].partition(":")[0] for one in services.values()]
    assert {*records, "state"} == volumes.keys()
    assert len(set(records)) == SIZE
    others = [{**one, "volumes": one["volumes"][:1]} for one in services.values()]
    assert others == [others[0]] * SIZE
    assert project()["services"]["migrate"]["command"] == MIGRATE


def test_only_nginx_is_reached_by_the_tools_and_only_the_gateways_reach_the_world() -> None:
    """The database is on the inner network alone; no service publishes a port."""
    services = project()["services"]
    on = {name: set(one["networks"]) for name, one in services.items()}
    assert {name for name, networks in on.items() if "tools" in networks} == {"qstash-gateway"}
    assert {name for name, networks in on.items() if "outside" in networks} == gateways().keys()
    assert on["database"] == {"gateways"}
    assert project()["networks"]["gateways"] == project()["networks"]["tools"] == {"internal": True}
    assert not [name for name, one in services.items() if "ports" in one]
    files = {one["file"] for one in project()["configs"].values()}
    assert {path.name for path in COMPOSE.iterdir()} == {Path(name).name for name in files} | {"compose.yaml"}


def test_the_pods_have_names_that_nginx_knows_and_mounts_that_the_configuration_names(tmp_path: Path) -> None:
    """One address a pod, under the headless service; probes at the port of the health listener."""
    objects, config = rendered(KUSTOMIZE), loaded(kustomized(), tmp_path)
    stateful = objects["StatefulSet", "qstash-gateway"]
    name, service = stateful["metadata"]["name"], stateful["spec"]["serviceName"]
    [listen] = config.listen
    assert isinstance(listen, Listen)
    at = listen.port
    pods = [f"{name}-{number}.{service}:{at}" for number in range(stateful["spec"]["replicas"])]
    assert servers(objects["ConfigMap", "qstash-gateway-nginx"]["data"]["nginx.conf"]) == pods
    assert objects["Service", service]["spec"]["clusterIP"] == "None"
    [gateway], [migrate] = pod()["containers"], pod()["initContainers"]
    ports = {one["name"]: one["containerPort"] for one in gateway["ports"]}
    assert (ports["http"], migrate["args"]) == (at, MIGRATE)
    probes = [gateway[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["port"] for probe in probes} == {ports["health"]}
    mounts = [one["mountPath"] for one in gateway["volumeMounts"]]
    assert migrate["volumeMounts"] == gateway["volumeMounts"]
    paths = [SERVE[-1], *re.findall(r"/(?:etc|run|var)/[a-z./-]+", kustomized().config)]
    assert all(any(path.startswith(mount) for mount in mounts) for path in paths)
    named = {one["name"] for one in pod()["volumes"]} | {"audit"}
    assert {one["name"] for one in gateway["volumeMounts"]} == named
    assert not [one for one in gateway["volumeMounts"] if "subPath" in one]


def test_every_copy_of_nginx_conf_is_the_one_that_the_tests_start() -> None:
    """But for the names of the gateways, and the comment that says where they come from."""
    tested = CONF.read_text()
    assert servers(tested) == [f"{name}:8080" for name in gateways()]
    copies = sorted(path for path in EXAMPLES.parent.rglob("*nginx*.conf") if path != CONF)
    assert copies == [KUSTOMIZE / "nginx.conf"]
    for path in copies:
        copy = path.read_text()
        for own, tests_own in zip(servers(copy), servers(tested), strict=True):
            copy = copy.replace(f"server {own};", f"server {tests_own};")
        assert without_title(copy) == without_title(tested)
    assert project()["configs"]["nginx"]["file"] == f"./{CONF.name}"


def servers(conf: str) -> list[str]:
    """The addresses behind it."""
    return re.findall(r"(?m)^\s+server ([^ ;{]+);", conf)


def without_title(conf: str) -> list[str]:
    """Its lines after the comment at its top."""
    lines = conf.splitlines()
    return lines[next(number for number, line in enumerate(lines) if not line.startswith("#")) :]


def test_nginx_is_started_with_that_file() -> None:
    """In both, where it may write, and as nobody who could write anything else."""
    service = project()["services"]["qstash-gateway"]
    deployment = rendered(KUSTOMIZE)["Deployment", "qstash-gateway-nginx"]["spec"]["template"]["spec"]
    [container] = deployment["containers"]
    for command_line, target in (
        (service["command"], service["configs"][0]["target"]),
        (container["command"], f"{container['volumeMounts'][0]['mountPath']}/nginx.conf"),
    ):
        assert command_line[:3] == ["nginx", "-c", target]
    written = set(re.findall(r"(/run/nginx)", CONF.read_text()))
    assert written == set(service["tmpfs"]) == {container["volumeMounts"][1]["mountPath"]}
    assert container["image"] == service["image"]
    assert yaml.safe_load(f"[{re.search('listen ([0-9]+)', CONF.read_text())[1]}]") == [  # type: ignore[index]
        container["ports"][0]["containerPort"]
    ]
