"""No value of a caller can pass for a record of its own, wherever a terminal breaks a line."""

from __future__ import annotations

import unicodedata

import pytest

from gateway.cli.audit.show import human_line
from gateway.cli.output import folded, printable
from gateway.core import grammar
from gateway.core.forms.cells import csv_line, markdown_line
from gateway.core.forms.signs import is_seen

COLUMNS = 80
FORGED = "2026-11-30T10:00:00.000000Z      9 thaw      freeze_id=01 by=platform/ops"
BLANKS = ["\u115f", "\u1160", "\u2800", "\u3164", "\uffa0", "\U00016fe4", "\u034f", "\u17b5", "\ufe0f", "\U000e0100"]
WIDE = "\u6f22"


class Narrow:
    def isatty(self) -> bool:
        return True


def rows(text: str) -> list[str]:
    """The rows of a terminal that breaks what is too long for it, with signs of East Asia two columns wide."""
    found = []
    for line in text.split("\n"):
        row, taken = "", 0
        for sign in line:
            width = 2 if unicodedata.east_asian_width(sign) in "WF" else 1
            if taken + width > COLUMNS:
                found.append(row)
                row, taken = "", 0
            row, taken = row + sign, taken + width
        found.append(row)
    return found


def shown(reason: str) -> list[str]:
    """A record with a reason that the gateway takes, as `audit show` prints it on a terminal."""
    members = {"ts": "2026-11-30T10:00:00.000000Z", "seq": 5, "event": "denied", "reason": grammar.reason(reason)}
    return rows(folded(human_line(members), Narrow()))  # type: ignore[arg-type]


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_no_row_but_the_first_looks_like_a_record(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    """A sign that shows nothing would do for its spaces: it is spelled out, in every form."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    for before in range(100):
        reason = "-" * before + FORGED.replace(" ", blank)
        assert not any(
            row.startswith(FORGED[:27]) and "thaw" in row.replace(blank, " ").split() for row in shown(reason)[1:]
        )
    for text in (printable(blank), csv_line([blank]), markdown_line([blank])):
        assert blank not in text
        assert is_seen(text)


def test_no_row_begins_within_a_word_of_wide_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is broken by the columns that its signs take, and not by their number."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    for before in range(10, 40):
        for space in (" ", ", "):
            reason = f"{WIDE * before}x{space}{FORGED}"
            assert not any(row.startswith("2026") for row in shown(reason)[1:])
