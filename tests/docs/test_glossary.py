"""The glossary says the words that the code uses, and no others."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.support.project import ROOT

ROW = re.compile(r"^\| (?P<word>[^|]+) \| (?P<meaning>[^|]+) \| (?P<classes>[^|]+) \|$", re.MULTILINE)
HEAD = 1
"""The first row names the columns."""

PAGE = (ROOT / "docs" / "glossary.md").read_text()
ROWS = [found.groupdict() for found in ROW.finditer(PAGE)][HEAD:]

OTHERWISE = {"Caller", "Key"}
"""Classes that bear a word and mean less than it: callers in statistics, keys of a mapping."""


@cache
def defined() -> set[str]:
    """The classes of the gateway, read once a test asks."""
    return {
        node.name
        for path in (ROOT / "gateway").rglob("*.py")
        if "simulator" not in path.parts  # another program's words
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }


def named(classes: str) -> list[str]:
    """The classes of a row."""
    return re.findall(r"`(\w+)`", classes)


def test_every_row_is_read() -> None:
    """A row in another form would not be checked."""
    assert len(ROWS) == len(re.findall(r"^\| ", PAGE, re.MULTILINE)) - HEAD
    assert len(ROWS) > 50


def test_the_words_stand_in_order_and_once() -> None:
    """By the alphabet."""
    words = [row["word"] for row in ROWS]
    assert words == sorted(set(words), key=str.casefold)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["word"])
def test_a_word_names_classes_that_there_are(row: dict[str, str]) -> None:
    """One that was renamed takes its word along."""
    assert [name for name in named(row["classes"]) if name not in defined()] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["word"])
def test_a_word_that_is_a_class_names_it(row: dict[str, str]) -> None:
    """A class of that very name means the same thing, so the row says so."""
    own = re.sub(r"\W", "", row["word"].title())
    assert own not in defined() - OTHERWISE or own in named(row["classes"])
