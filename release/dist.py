"""`python -m release.dist DIRECTORY`: makes what is released of the last commit, the same bytes wherever it is made.

The wheel, the source archive, the list of parts (CycloneDX), and the sum of each. None holds what is not committed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from release.sbom import NAME

ROOT = Path(__file__).parents[1]
SUMS = "SHA256SUMS"
KINDS = ("*.whl", "*.tar.gz", "*.cdx.json")


def released(directory: Path) -> None:
    """Put the release there, in the place of an earlier one. Raises: CalledProcessError: git or a builder failed."""
    moment = _run("git", "log", "-1", "--format=%ct").decode().strip()
    environment = {**os.environ, "HATCH_QUIET": "1", "SOURCE_DATE_EPOCH": moment}
    with tempfile.TemporaryDirectory() as work, tarfile.open(fileobj=BytesIO(_run("git", "archive", "HEAD"))) as commit:
        tree, made = Path(work, "tree"), Path(work, "made")
        # Python 3.11 has the argument for it from 3.11.4 on.
        commit.extraction_filter = getattr(tarfile, "data_filter", None)
        commit.extractall(tree)  # noqa: S202 - what git has made of our own commit
        made.mkdir()
        _build(tree, made, environment)
        files = sorted(made.iterdir())
        sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
        (made / SUMS).write_text(sums)
        for earlier in (path for pattern in (*KINDS, SUMS) for path in directory.glob(pattern)):
            earlier.unlink()
        shutil.copytree(made, directory, dirs_exist_ok=True)


def _build(tree: Path, directory: Path, environment: Mapping[str, str]) -> None:
    """Build the archives of a tree, and list its parts, with what that tree says."""
    _run(sys.executable, "-m", "hatchling", "build", "-d", str(directory), cwd=tree, env=environment)
    parts = _run(sys.executable, "-m", "release.sbom", "requirements/run.txt", cwd=tree, env=environment)
    (source,) = directory.glob("*.tar.gz")
    (directory / f"{NAME}-{source.name.removesuffix('.tar.gz').rpartition('-')[2]}.cdx.json").write_bytes(parts)


def _run(*command: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> bytes:
    return subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE).stdout


def main() -> int:
    """Make the release, print its sums, and return 0."""
    directory = Path(sys.argv[1])
    released(directory)
    sys.stdout.write((directory / SUMS).read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
