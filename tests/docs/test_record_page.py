"""The page of the record's events is what their declarations say."""

from __future__ import annotations

import re
import runpy

from gateway.audit.events.catalogue import EVENTS
from gateway.audit.events.shapes import members_of
from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "record.md").read_text()
TABLES = runpy.run_path(str(ROOT / "docs" / "tables.py"))


def test_the_tables_are_those_of_the_declarations() -> None:
    """`make tables` changes nothing."""
    assert TABLES["written"](PAGE) == PAGE


def test_a_table_that_was_changed_by_hand_is_written_anew() -> None:
    """Also one that is empty."""
    emptied = re.sub(r"^\|.*\n", "", PAGE, flags=re.MULTILINE)
    assert len(emptied) < len(PAGE) / 4
    assert TABLES["written"](emptied) == PAGE


def test_every_event_has_its_row() -> None:
    """And every member one that says what it is."""
    assert [event.NAME for event in EVENTS] == re.findall(r"^\| `(\w+)` \| [A-Z][^|]+\. \|", PAGE, re.MULTILINE)
    described = re.findall(r"^\| `(\w+)` \| [^|]*\| [^|]+ \| [^|]+\. \|$", PAGE, re.MULTILINE)
    assert set(described) >= {member.name for event in EVENTS for member in members_of(event)}
