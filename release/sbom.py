"""`python -m release.sbom LOCK`: prints the parts of a gateway as CycloneDX JSON, from the lock file that installs it.

The same lock, version and time give the same bytes: the serial number is derived from what is listed, and the time is
`SOURCE_DATE_EPOCH`, that of the commit.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
NAME = "qstash-gateway"

_PINNED = re.compile(
    r"^([a-z0-9][a-z0-9.-]*)==(\S+?)(?: ; (.+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
    r"((?:    #.*\n)*)",
    re.MULTILINE,
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})\b")
_NEEDED_BY = re.compile(r"#(?: via)? +([a-z0-9][a-z0-9.-]*)(?: \(pyproject\.toml\))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Locked:
    """A locked package. `marker` says where it is installed (None: everywhere), `needed_by` names what asks for it."""

    name: str
    version: str
    marker: str | None
    sha256: tuple[str, ...]
    needed_by: tuple[str, ...]


def locked(text: str) -> Iterator[Locked]:
    """Read a lock file of `uv pip compile --generate-hashes`. Raises: ValueError: a line belongs to no package."""
    if left := _PINNED.sub("", text).strip():
        raise ValueError(f"this is no package with a version and hashes: {left.splitlines()[0]}")
    for name, version, marker, hashes, notes in _PINNED.findall(text):
        yield Locked(name, version, marker or None, tuple(_HASH.findall(hashes)), tuple(_NEEDED_BY.findall(notes)))


def parts(packages: list[Locked], *, version: str, made: datetime) -> str:
    """Return the parts of this version of the gateway as JSON, with who needs what."""
    bom = Bom(components=[])
    gateway = _component(PackageURL("generic", None, NAME, version), kind=ComponentType.APPLICATION)
    bom.metadata.component = gateway
    bom.metadata.timestamp = made
    listed = [(package, _part(package)) for package in packages]
    bom.components.update(part for _, part in listed)
    for component in (gateway, *(part for _, part in listed)):
        bom.register_dependency(component, [part for package, part in listed if component.name in package.needed_by])
    bom.serial_number = uuid5(NAMESPACE_URL, f"{gateway.purl} {made.isoformat()} {packages}")
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _component(purl: PackageURL, *, kind: ComponentType) -> Component:
    return Component(name=purl.name, version=purl.version, type=kind, purl=purl, bom_ref=purl.to_string())


def _part(package: Locked) -> Component:
    purl = PackageURL("pypi", None, package.name, package.version)
    component = _component(purl, kind=ComponentType.LIBRARY)
    # A release is several files, and the lock accepts each; `hashes` of the component itself would say that it is one.
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(purl.to_string()),
        comment="the files of this release that the lock accepts",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.sha256],
    )
    component.external_references.add(files)
    if package.marker is not None:
        component.properties.add(Property(name="python:marker", value=package.marker))
    return component


def main() -> int:
    """Print the parts, and return 0."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    made = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    sys.stdout.write(parts(list(locked(Path(sys.argv[1]).read_text())), version=version, made=made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
