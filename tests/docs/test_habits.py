"""What people who change the project are told, and what their tools run, is what there is."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from typing import Any

import pytest
import yaml

from tests.support.project import ROOT, project_files

MAKEFILE = (ROOT / "Makefile").read_text()
PHONY = {target for line in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE) for target in line.split()}
ASKED_FOR = re.compile(r"(?:`|^|\$ |&& )make ((?:[A-Z_]+=\S+ )*[a-z][a-z-]*)\b(?! sure)", re.MULTILINE)
PINNED = re.compile(r"[\w/-]+@[0-9a-f]{40}")
UNCHANGED = ("*.json", "*.jsonl", "requirements/*.txt", "benchmarks/*.txt", "gateway/console/static/*", "*.png")
"""Files that a tool writes; editors leave them as they are."""


def loaded(name: str) -> Any:
    """A YAML file of the project that is for other programs."""
    return yaml.safe_load((ROOT / name).read_text())


def helped() -> dict[str, str]:
    """What `make help` prints: each target and its words."""
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(re.findall(r"^  make (\S+) +(\S.*)$", done.stdout, re.MULTILINE))


def test_help_names_every_target() -> None:
    """With a sentence that stands beside it in the Makefile, so that a new target without one fails here."""
    assert set(helped()) == PHONY
    targets = set(re.findall(r"^([a-z]+):(?![=])", MAKEFILE, re.MULTILINE))
    assert targets == PHONY


def test_every_target_that_a_page_asks_for_is_there() -> None:
    """In pages, scripts, workflows and configuration alike."""
    asked = {
        (name, words.split()[-1])
        for name in project_files()
        if name.endswith((".md", ".yaml", ".yml", ".toml", ".ci/run", "Makefile"))
        for words in ASKED_FOR.findall((ROOT / name).read_text())
    }
    assert len(asked) > 10
    assert {(name, target) for name, target in asked if target not in PHONY} == set()


def test_a_commit_is_checked_by_what_lint_checks() -> None:
    """Each hook runs one command of `make lint`, from the project's environment, and none is fetched from elsewhere."""
    config = loaded(".pre-commit-config.yaml")
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in config["repos"][0]["hooks"]]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    assert hooks == [line.removeprefix("$(BIN)/") for line in recipe[1].replace("\t", "").splitlines()]


def test_ci_runs_the_one_script_on_every_python_that_is_promised() -> None:
    """Each with its own interpreter, and with actions that nobody can exchange under their name."""
    job = loaded(".github/workflows/ci.yml")["jobs"]["test"]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    promised = [one.rpartition(" ")[2] for one in classifiers if re.search(r":: 3\.\d+$", one)]
    assert job["strategy"]["matrix"]["python"] == promised
    *before, last = job["steps"]
    assert last == {"run": ".ci/run", "env": {"PYTHON": "python${{ matrix.python }}"}}
    used = [step["uses"] for step in before if "uses" in step]
    assert used
    assert [one for one in used if not PINNED.fullmatch(one)] == []


def test_ci_says_which_python_it_means() -> None:
    """`make` takes the interpreter from the environment's PYTHON, and so does `.ci/run`, which calls it."""
    done = subprocess.run(
        ["make", "-n", "VENV=build/none", "build/none/.made"],
        cwd=ROOT,
        env={**os.environ, "PYTHON": "python-of-ci"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python-of-ci -m venv build/none" in done.stdout


@pytest.mark.parametrize("name", ["fault", "wish"])
def test_an_issue_asks_for_no_secret(name: str) -> None:
    """A template says for what it is; that of a fault asks for the id of the decision, and for no record."""
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert set(front) == {"name", "about"}
    assert name != "fault" or all(word in text for word in ("Never paste a token", "decision_id", "SECURITY.md"))


def test_files_are_written_as_editors_are_told() -> None:
    """UTF-8, ends of lines, no space at their end, one at the file's end, tabs only where a format wants them."""
    told = configparser.ConfigParser()
    told.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    assert told["*"]["end_of_line"] == "lf"
    wrong = [name for name in project_files() if not any(fnmatch(name, one) for one in UNCHANGED) and not plain(name)]
    assert wrong == []


def plain(name: str) -> bool:
    """Whether a file is written so."""
    text = (ROOT / name).read_bytes().decode()
    tidy = all(line == line.rstrip() for line in text.split("\n")) and (not text or text.endswith("\n"))
    return tidy and (name.endswith(("Makefile", "Caddyfile")) or "\t" not in text)


@pytest.mark.parametrize("variable", ["QUICK", "LONG"])
def test_the_quick_laws_are_there(variable: str) -> None:
    """`make quick` names tests and leaves some out; where one was moved it would fail, or take minutes."""
    found = re.search(rf"^{variable} +:= ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert found is not None
    named = found[1].replace("\\\n", " ").split()
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
