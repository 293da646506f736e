"""What the repository cites it holds: pages, sections of them, decisions, and files that pages name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.project import ROOT, project_files

MADE = {"result.md"}
"""Pages that a command writes; they are nobody's source."""

PAGE = re.compile(r"(?<![\w/.:$-])(?P<path>[\w./-]*\w\.md)\b(?:#(?P<anchor>[\w-]+))?")
LINK = re.compile(r"\]\((?!https?:|mailto:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
NAMED = re.compile(r"(?<![\w/.-])(?:benchmarks|docs|gateway|requirements|schemas|tests)/[\w./-]*[\w/]")
ROOMS = sorted(room.parent.name for room in (ROOT / "gateway").glob("*/__init__.py"))
SOURCE = re.compile(r"(?<![\w/.*-])[\w./-]*\w\.py\b(?!:line)")
MODULE = re.compile(rf"(?<![\w/.:-])(?:{'|'.join(ROOMS)})(?:/[a-z_]+)+\b(?![/.*\w])")
DECISION = re.compile(r"\bADR (\d{4})\b")
SECTION = re.compile(r"(?<!RFC \d{4}, )\b[Ss]ection \d", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Each file that is text, by its path; not what lock files and recorded requests hold."""
    return tuple(
        (name, (ROOT / name).read_bytes().decode("utf-8", "replace"))
        for name in project_files()
        if not name.endswith((".json", ".jsonl", "requirements.txt"))
    )


def pages() -> Iterator[tuple[str, str]]:
    """Each page of Markdown."""
    return ((name, text) for name, text in texts() if name.endswith(".md"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """What GitHub makes of a page's headings."""
    found: list[str] = []
    for heading in HEADING.findall(FENCE.sub("", page.read_text())):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = sum(one == slug or re.fullmatch(f"{re.escape(slug)}-[0-9]+", one) is not None for one in found)
        found.append(f"{slug}-{number}" if number else slug)
    return frozenset(found)


@cache
def told() -> tuple[tuple[str, str], ...]:
    """Each page, and each docstring of code and tests, by the path of its file."""
    return (*pages(), *docstrings())


def docstrings() -> Iterator[tuple[str, str]]:
    """Each docstring of a module, a class or a function."""
    for name, text in texts():
        if name.endswith(".py"):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    yield name, ast.get_docstring(node) or ""


def unknown_sources(name: str, text: str) -> Iterator[str]:
    """What is said of a file or module that is not here, beside the text, at the root or in gateway/."""
    places = ((ROOT / name).parent, ROOT, ROOT / "gateway")
    modules = (f"{module}.py" for module in MODULE.findall(text) if not (ROOT / "gateway" / module).is_dir())
    return (problem for path in (*SOURCE.findall(text), *modules) if (problem := missing(name, path, None, *places)))


def missing(name: str, path: str, anchor: str | None, *places: Path) -> str | None:
    """Says what is wrong with a citation of a path that is looked for at these places; None if it resolves."""
    held = next((place / path for place in places if (place / path).exists()), None)
    if held is None:
        return f"{name} cites {path}, which is not here"
    if anchor is not None and anchor not in anchors(held):
        return f"{name} cites {path}#{anchor}, and the page has no such section"
    return None


def test_every_page_that_is_cited_is_here() -> None:
    """In code, tests, scripts and pages alike; a page is looked for beside the citation, at the root and in docs/."""
    wrong = [
        problem
        for name, text in texts()
        for found in PAGE.finditer(text)
        if found["path"] not in MADE
        and (problem := missing(name, found["path"], found["anchor"], (ROOT / name).parent, ROOT, ROOT / "docs"))
    ]
    assert wrong == []


def test_every_link_of_a_page_resolves() -> None:
    """To a file or directory beside the page, and to a section that it has."""
    wrong = [
        problem
        for name, text in pages()
        for found in LINK.finditer(FENCE.sub("", text))
        if (problem := missing(name, found["path"] or Path(name).name, found["anchor"], (ROOT / name).parent))
    ]
    assert wrong == []


def test_every_file_that_a_page_names_is_here() -> None:
    """By its path from the root, as in the table of SECURITY.md that says what shows each promise."""
    named = [(name, path) for name, text in pages() for path in NAMED.findall(text)]
    assert len(named) > 50
    assert [problem for name, path in named if (problem := missing(name, path, None, ROOT))] == []


def test_every_source_that_a_page_or_docstring_names_is_here() -> None:
    """Files beside it, from the root or from gateway/, and `room/module`: where a name moves, the words follow."""
    assert sum(len(MODULE.findall(text)) for _, text in told()) > 50
    assert [problem for name, text in told() for problem in unknown_sources(name, text)] == []


@pytest.mark.parametrize(
    "named", ["ask.py", "execution/" + "pipelines", "gateway/" + "upstream.py", "policy/format" + "/loads"]
)
def test_a_source_that_is_gone_is_seen(named: str) -> None:
    """As a file, and as a module of a room; one that is here is not reported."""
    text = f"see `{named}` and `execution/pipeline`, `policy/format`."
    assert len(list(unknown_sources("docs/architecture.md", text))) == 1


def test_every_decision_that_is_cited_was_written_down() -> None:
    """`ADR 0001` is a file of docs/adr."""
    cited = {number for _, text in texts() for number in DECISION.findall(text)}
    assert cited
    assert [number for number in sorted(cited) if not list((ROOT / "docs" / "adr").glob(f"{number}-*.md"))] == []


def test_a_section_is_cited_with_its_page() -> None:
    """A number alone says nothing to those who do not know which page was meant."""
    assert [name for name, text in texts() if name != "tests/docs/test_citations.py" and SECTION.search(text)] == []


@pytest.mark.parametrize("number", ["1", "5"])
def test_the_search_sees_what_it_is_for(number: str) -> None:
    """A page that is not here, a section that a page lacks, and a number alone are found."""
    assert missing("x", "design" + ".md", None, ROOT)
    assert missing("x", "docs/upstream-contract" + ".md", f"{number}-nowhere", ROOT)
    assert SECTION.search(f"(contract, section {number})")
