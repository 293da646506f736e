"""The wheel: what is installed from it works without the source tree."""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cli.running import Done, ended, serving
from tests.support.gateway import POLICIES
from tests.support.project import ROOT, project_files

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the installed wheel and nothing else of ours."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no source tree to build from")
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    build = ("wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(wheels), str(ROOT))
    built = ended([*PIP, *build])
    assert built.returncode == 0, built.stderr
    (wheel,) = wheels.glob("*.whl")
    unpacked = ended([*PIP, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)])
    assert unpacked.returncode == 0, unpacked.stderr
    return site


def from_wheel(installed: Path, *arguments: str, cwd: Path) -> Done:
    """Runs the installed command; the wheel comes before the source tree on Python's path."""
    return ended([sys.executable, "-m", "gateway", *arguments], cwd=cwd, env={"PYTHONPATH": str(installed)})


def test_the_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    """The other tests of this file speak of the installed copy, not of the source tree."""
    where = [sys.executable, "-c", "import gateway; print(gateway.__file__)"]
    done = ended(where, cwd=tmp_path, env={"PYTHONPATH": str(installed)})
    assert Path(done.stdout.strip()).parent == installed / "gateway"


def test_the_wheel_carries_the_shipped_policies(installed: Path) -> None:
    """Byte for byte the files that the source tree shows."""
    shipped = {path.name: path.read_bytes() for path in POLICIES.glob("*.yaml")}
    assert {path.name: path.read_bytes() for path in (installed / "gateway" / "_policies").glob("*.yaml")} == shipped


def test_the_wheel_says_that_it_is_typed(installed: Path) -> None:
    """With the marker of PEP 561 a type checker believes the annotations of the installed package."""
    assert (installed / "gateway" / "py.typed").is_file()


def test_what_is_released_as_source_can_be_tested(tmp_path: Path) -> None:
    """The source archive holds every file of the repository: what a test reads is there."""
    files = set(project_files())
    built = ended([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)], cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert files - held == set()


def test_the_tour_runs_from_an_empty_directory(installed: Path, tmp_path: Path) -> None:
    """With no file at hand the demo uses the policies of the wheel, and leaves the directory empty."""
    done = from_wheel(installed, "demo", "--tour", "--port", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "What was cancelled is what policy allows." in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_installed_script_runs(installed: Path, tmp_path: Path) -> None:
    """The wheel brings `qstash-gateway` with it."""
    script = str(installed / "bin" / "qstash-gateway")
    done = ended([script, "demo", "--tour", "--port", "0"], cwd=tmp_path, env={"PYTHONPATH": str(installed)})
    assert done.returncode == 0, done.stderr


def test_policies_beside_the_demo_win_over_the_wheels(installed: Path, tmp_path: Path) -> None:
    """The same team under a rule of the working directory: the keys are made for it, and for those that it exempts."""
    shutil.copytree(POLICIES, tmp_path / "policies")
    for name in ("search.yaml", "search.cases.yaml"):
        (tmp_path / "policies" / name).unlink()
    with serving("demo", "--port", "0", directory=tmp_path, env={"PYTHONPATH": str(installed)}) as running:
        running.answering()
        assert re.findall(r"(?m)^  (\S+): qgk_", running.said) == ["billing", "oncall"]
