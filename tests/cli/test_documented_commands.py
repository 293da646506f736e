"""Every command line in the documentation is one that the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.main import COMMANDS, parsed
from tests.cli.fake_gateway import PLAN_ID

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "docs").rglob("*.yaml"))]
PAGES += [ROOT / "docs" / "examples" / "qstash-gateway.service", ROOT / "config.example.yaml"]
LINE = re.compile(r"(?<![\w/.-])(?:/opt/qstash-gateway/bin/)?qstash-gateway ((?:--)?[a-z][^`\n]*)")
END = re.compile(r"\s#\s|\s\(|\s?&& |\s[|&;>]|\s2>|;|\s=\s| {4,}|\. ")


def lines() -> Iterator[tuple[str, str]]:
    """Each line with the page that it is on; what a reader may leave out is put in."""
    for page in PAGES:
        for found in LINE.findall(page.read_text()):
            line = END.split(found)[0].replace("[", "").replace("]…", "").replace("]", "").replace(" …", "").strip()
            if line.split()[0] in COMMANDS:
                yield str(page.relative_to(ROOT)), re.sub(r"\b(?:ID|PLAN)\b", PLAN_ID, line.replace("TEAM", "team"))


LINES = sorted(set(lines()))


def test_the_pages_name_most_commands() -> None:
    """So that the search for them has not gone blind."""
    named = {line.split()[0] for _, line in LINES}
    assert len(LINES) > 25
    assert set(COMMANDS) - named <= {"demo", "simulate", "schema"}


@pytest.mark.parametrize(("page", "line"), LINES)
def test_every_line_is_taken(page: str, line: str) -> None:
    """Its command, its options and its arguments; `cancel` alone and `check` alone name the command in a sentence."""
    words = shlex.split(line)
    if len(words) > 1:
        assert parsed(words).run
