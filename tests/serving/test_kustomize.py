"""The kustomization of docs/examples: the same pod as in the manifest, and an overlay that starts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli.running import command, ended
from tests.serving.doors import ask, to_port
from tests.serving.kustomized import rendered
from tests.serving.test_manifests import EXAMPLES, KEY, Example, loaded, manifest, mounts, port, said, started

BASE = EXAMPLES / "kustomize" / "base"
OVERLAYS = sorted((EXAMPLES / "kustomize" / "overlays").iterdir())
FLEET = EXAMPLES / "kustomize" / "fleet"
EVERY = [BASE, *OVERLAYS, FLEET]


def example(directory: Path) -> Example:
    """What a kustomization holds of the gateway."""
    objects = rendered(directory)
    pod = objects["StatefulSet", "oncall-tools"]["spec"]["template"]["spec"]
    return Example(
        objects["ConfigMap", "qstash-gateway"]["data"]["config.yaml"],
        objects["ConfigMap", "qstash-gateway-policies"]["data"],
        pod["initContainers"][0]["args"],
        pod["terminationGracePeriodSeconds"],
        *(f"{mounts()['token']}/{name}" for name in ("token", "read-token")),
    )


def test_the_base_is_the_manifest_without_its_secrets() -> None:
    """Object by object, so that what is tested of the one holds for the other; a secret is named and not brought."""
    told = {(one["kind"], one["metadata"]["name"]): one for one in manifest("kubernetes.yaml")}
    assert rendered(BASE) == {key: one for key, one in told.items() if key[0] != "Secret"}


@pytest.mark.parametrize("directory", EVERY, ids=lambda path: path.name)
def test_no_file_lies_beside_a_kustomization_unused(directory: Path) -> None:
    """A policy that no generator names would be read by people and by no gateway."""
    said = yaml.safe_load((directory / "kustomization.yaml").read_text())
    used = [*said["resources"], *(name for one in said["configMapGenerator"] for name in one["files"])]
    files = [path.relative_to(directory).as_posix() for path in directory.rglob("*.yaml")]
    assert sorted(files) == sorted(["kustomization.yaml", *(name for name in used if name.endswith(".yaml"))])


@pytest.mark.parametrize("directory", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_starts_and_its_probes_are_answered(directory: Path, tmp_path: Path) -> None:
    """Its configuration and all of its policies, the base's as well; `check` has nothing to say about them."""
    overlay = example(directory)
    assert overlay.policies.keys() > example(BASE).policies.keys()
    config = loaded(overlay, tmp_path)
    assert config.upstream.total_timeout_s + 3 < config.shutdown_grace_s < overlay.grace_s
    with started(overlay, tmp_path) as running:
        listening = said(running)
        assert ask(to_port(port(listening["health"])), "GET", "/readyz").status == 200
        team = ask(to_port(port(listening["listen"])), "GET", "/gateway/v1/whoami", KEY).json()["team"]
        assert team == "billing"
        done = command("check", "--config", str(tmp_path / "etc" / "config.yaml"))
        assert (done.returncode, "warning" in done.stdout) == (0, False), done.stdout
        assert running.stop() == 0


@pytest.mark.parametrize("directory", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_listens_where_the_pod_is_probed(directory: Path) -> None:
    """It replaces the configuration, and must not move what the base's pod relies on."""
    for line in ("listen: .*", "health: .*", "policies: .*", "audit: .*directory: [^,}]*"):
        one, other = (re.findall(rf"(?m)^{line}", example(kustomization).config) for kustomization in (BASE, directory))
        assert one == other != []


@pytest.mark.parametrize("directory", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_names_what_the_base_has(directory: Path) -> None:
    """An image, a number of replicas or a patch for another name would change nothing, without a word."""
    said, objects = yaml.safe_load((directory / "kustomization.yaml").read_text()), rendered(BASE)
    pod = objects["StatefulSet", "oncall-tools"]["spec"]["template"]["spec"]
    images = {container["image"] for container in (*pod["initContainers"], *pod["containers"])}
    assert {image["name"] for image in said["images"]} == images
    assert all("digest" in image for image in said["images"] if image["name"] == "qstash-gateway")
    assert {("StatefulSet", one["name"]) for one in said["replicas"]} <= objects.keys()
    assert {(one["target"]["kind"], one["target"]["name"]) for one in said["patches"]} <= objects.keys()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is missing")
@pytest.mark.parametrize("directory", EVERY, ids=lambda path: path.name)
def test_kustomize_makes_the_same_of_it(directory: Path) -> None:
    """Where kubectl is installed: what these tests read is what would be applied."""
    done = ended(["kubectl", "kustomize", str(directory)])
    assert (done.returncode, done.stderr) == (0, "")
    made = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
    assert made == rendered(directory)
