"""The files of others that pages load: unmodified, with their licences, and in the wheel."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.console.people import House
from tests.support.project import ROOT

ROOM = ROOT / "gateway" / "console"
STATIC = ROOM / "static"
OWN = {"console.css", "console.js", "icon.svg", "manifest.json"}
MANIFEST = json.loads((STATIC / "manifest.json").read_text())["files"]


def test_each_file_is_that_of_its_package() -> None:
    """By the digest that the manifest names; what is not ours is in the manifest, with its licence beside it."""
    digests = {one["file"]: hashlib.sha256((STATIC / one["file"]).read_bytes()).hexdigest() for one in MANIFEST}
    assert digests == {one["file"]: one["sha256"] for one in MANIFEST}
    assert {path.name for path in STATIC.iterdir()} == digests.keys() | OWN
    licensed = {one["package"] for one in MANIFEST if one["path"] == "LICENSE"}
    assert licensed == {one["package"] for one in MANIFEST}


def test_the_wheel_has_every_file(tmp_path: Path) -> None:
    """Templates and files, byte for byte."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--no-deps", "--no-index", "-w", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: archive.read(name) for name in archive.namelist() if name.startswith("gateway/console/")}
    files = [path for path in ROOM.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert inside == {str(path.relative_to(ROOT)): path.read_bytes() for path in files}


def test_only_files_of_the_folder_have_an_address(home: House) -> None:
    """Whatever a path says; and a browser that has one is not sent it again."""
    person = home.person(None)
    answer = person.get("/static/htmx.min.js")
    assert answer.body == (STATIC / "htmx.min.js").read_bytes()
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert person.send("GET", "/static/htmx.min.js", headers={"If-None-Match": answer.headers["etag"]}).status == 304
    for name in ("", ".", "..", "../app.py", "%2e%2e/app.py", "manifest.json", "none.js"):
        assert person.get(f"/static/{name}").status == 404
