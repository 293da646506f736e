"""Reads a kustomization without kustomize, as far as the example goes; what it does not know it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

KNOWN = {
    *("apiVersion", "kind", "namespace", "resources", "images", "configMapGenerator", "generatorOptions", "replicas"),
    "patches",
}


def rendered(directory: Path) -> dict[tuple[str, str], Any]:
    """The objects of a kustomization, by kind and name."""
    said = yaml.safe_load((directory / "kustomization.yaml").read_text())
    assert said.keys() <= KNOWN
    assert said["generatorOptions"] == {"disableNameSuffixHash": True}
    objects: dict[tuple[str, str], Any] = {}
    for name in said["resources"]:
        path = (directory / name).resolve()
        objects |= rendered(path) if path.is_dir() else _read(path)
    for generator in said["configMapGenerator"]:
        _generate(objects, generator, directory)
    for patch in said.get("patches", ()):
        assert patch.keys() == {"target", "patch"}
        for change in yaml.safe_load(patch["patch"]):
            _change(objects[patch["target"]["kind"], patch["target"]["name"]], change)
    for replica in said.get("replicas", ()):
        objects["StatefulSet", replica["name"]]["spec"]["replicas"] = replica["count"]
    images = {image["name"]: image for image in said.get("images", ())}
    for (kind, _), held in objects.items():
        if "namespace" in said:
            held["metadata"]["namespace"] = said["namespace"]
        if kind == "StatefulSet":
            _name_images(held["spec"]["template"]["spec"], images)
    return objects


def _read(path: Path) -> dict[tuple[str, str], Any]:
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(path.read_text())}


def _generate(objects: dict[tuple[str, str], Any], generator: Mapping[str, Any], directory: Path) -> None:
    """A map of files; `behavior: merge` takes one that is there and replaces files of the same name."""
    assert generator.keys() <= {"name", "files", "behavior"}
    key = ("ConfigMap", generator["name"])
    merges = generator.get("behavior") == "merge"
    assert merges == (key in objects)
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": {}}
    held = objects.setdefault(key, made)
    held["data"] |= {Path(name).name: (directory / name).read_text() for name in generator["files"]}


def _change(held: Any, change: Mapping[str, Any]) -> None:
    """A step of a JSON patch: `add` makes a member, `replace` wants it to be there."""
    assert change["op"] in ("add", "replace")
    *way, last = change["path"].strip("/").split("/")
    for step in way:
        held = held[int(step)] if isinstance(held, list) else held[step]
    assert change["op"] == "add" or last in held
    held[last] = change["value"]


def _name_images(pod: Any, images: Mapping[str, Mapping[str, str]]) -> None:
    for container in (*pod["initContainers"], *pod["containers"]):
        if image := images.get(container["image"]):
            version = f"@{image['digest']}" if "digest" in image else f":{image['newTag']}"
            container["image"] = image["newName"] + version
