"""What is released of a commit: the same bytes wherever it is made, with its parts and their sums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.sbom import locked, parts
from tests.support.project import ROOT, project_files

LOCK = (ROOT / "requirements" / "run.txt").read_text()
PACKAGES = list(locked(LOCK))
MADE = datetime.fromtimestamp(1_700_000_000, UTC)
INDEX = re.compile(r"https?://|pypi\.org|pythonhosted|/simple/")


def released(directory: Path, **environment: str) -> dict[str, bytes]:
    """The release of the last commit, by name, made there."""
    project_files()  # without git there is no commit to release, and this skips
    command = [sys.executable, "-m", "release.dist", str(directory)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds a release."""
    directory = tmp_path_factory.mktemp("release") / "dist"
    released(directory)
    return directory


def listed(**changes: Any) -> str:
    """The parts of a made-up version."""
    return parts(PACKAGES, **{"version": "1.2.3", "made": MADE, **changes})


def test_a_release_made_elsewhere_has_the_same_bytes(release: Path, tmp_path: Path) -> None:
    """In another directory, another time zone, with other hashes of Python and other rights for new files."""
    old = os.umask(0o077)
    try:
        again = released(tmp_path / "elsewhere", TZ="Asia/Tokyo", PYTHONHASHSEED="7", TMPDIR=str(tmp_path))
    finally:
        os.umask(old)
    assert again == {path.name: path.read_bytes() for path in release.iterdir()}


def test_an_earlier_release_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    """A wheel of before would be published along; what is none of ours stays."""
    (tmp_path / "qstash_gateway-0.0.1-py3-none-any.whl").touch()
    (tmp_path / "notes.txt").write_text("mine")
    held = released(tmp_path)
    assert [name for name in held if name.endswith((".whl", ".txt"))].count("notes.txt") == 1
    assert len(held) == 5
    assert b"notes" not in held["SHA256SUMS"]


def test_the_sums_are_those_of_every_other_file(release: Path) -> None:
    """In the form that `sha256sum --check` reads."""
    lines = [line.split("  ") for line in (release / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    held = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in release.iterdir()}
    assert {**sums, "SHA256SUMS": held["SHA256SUMS"]} == held
    assert sorted(name.partition("-")[0] + Path(name).suffix for name in sums) == [
        "qstash.json",
        "qstash_gateway.gz",
        "qstash_gateway.whl",
    ]


def test_the_release_is_of_the_time_of_its_commit(release: Path) -> None:
    """In the wheel and in the list of parts alike, so that nothing tells when or where it was made."""
    seconds = int(
        subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, check=True).stdout
    )
    moment = datetime.fromtimestamp(seconds, UTC)
    (wheel,), (bom,) = release.glob("*.whl"), release.glob("*.cdx.json")
    with zipfile.ZipFile(wheel) as opened:
        times = {datetime(*entry.date_time, tzinfo=UTC) for entry in opened.infolist()}
    assert all(abs((moment - one).total_seconds()) <= 1 for one in times)  # a zip file counts in twos
    assert json.loads(bom.read_bytes())["metadata"]["timestamp"] == moment.isoformat()


def test_the_parts_are_valid_cyclonedx() -> None:
    """By the schema of the version that it names."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(listed()) is None
    assert (
        JsonStrictValidator(SchemaVersion.V1_6).validate_str(listed().replace('"library"', '"unheard-of"')) is not None
    )


def test_every_locked_package_is_a_part_with_all_its_hashes() -> None:
    """Counted in the lock file itself, line by line; and no address of a package index stands anywhere."""
    components = json.loads(listed())["components"]
    assert [(one["name"], one["version"]) for one in components] == re.findall(r"(?m)^([\w.-]+)==(\S+)", LOCK)
    hashes = [entry["content"] for one in components for entry in one["externalReferences"][0]["hashes"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", LOCK))
    assert INDEX.findall(re.sub(r'"\$schema": "[^"]*"', "", listed())) == []


def test_every_part_is_needed_by_another() -> None:
    """The edges lead from the gateway to every package, so that nobody asks why one is there."""
    document = json.loads(listed())
    needs = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    reached, waiting = set(), [document["metadata"]["component"]["bom-ref"]]
    while waiting:
        reached.add(ref := waiting.pop())
        waiting += [one for one in needs[ref] if one not in reached]
    assert reached == needs.keys()
    assert len(reached) == len(document["components"]) + 1


def test_a_list_is_told_from_another_by_its_serial_number() -> None:
    """The same parts have the same one; other parts, another version or another time have others."""
    numbers = [json.loads(one)["serialNumber"] for one in (listed(), listed(), listed(version="1.2.4"))]
    assert numbers[0] == numbers[1] != numbers[2]
    fewer = parts(PACKAGES[1:], version="1.2.3", made=MADE)
    assert (
        len(
            {
                numbers[0],
                json.loads(fewer)["serialNumber"],
                json.loads(listed(made=MADE.replace(year=2024)))["serialNumber"],
            }
        )
        == 3
    )


@pytest.mark.parametrize(
    "line",
    [
        "anyio==4.16.0\n",
        "anyio>=4 \\\n    --hash=sha256:" + "a" * 64 + "\n",
        "anyio==4 \\\n    --hash=md5:" + "a" * 32 + "\n",
    ],
    ids=["no hash", "no version", "another hash"],
)
def test_a_lock_that_pins_less_is_refused(line: str) -> None:
    """A package that was read over would be missing from the list without a word."""
    with pytest.raises(ValueError, match="no package"):
        list(locked(LOCK + line))
