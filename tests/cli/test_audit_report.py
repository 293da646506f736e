"""`audit report`: one line a decision, from all of its records, for people, spreadsheets and programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.decisions.joined import RecordedDecision
from gateway.audit.evidence.joins import Joins
from gateway.cli.audit.report import FORMATS, Report
from gateway.core.forms.cells import csv_line, markdown_line
from tests.audit.decisions.chains import Chain, an_id, denied, intent, outcome, settled
from tests.cli.running import Done, command
from tests.cli.test_audit_show import HOSTILE, at

DIGEST = "ab" * 32
MEMBERS = [
    "decision_id",
    "at",
    "team",
    "principal",
    "action",
    "request",
    "rule",
    "decision",
    "state",
    "cancelled",
    "over_cancelled",
    "orders",
    "upstream_status",
    "settled",
    "reason",
    "policy_digest",
]
COLUMNS = [
    *("when", "team", "who", "why", "rule", "asked", "sent", "cancelled", "state", "policy", "decision", "action"),
]

Members = Mapping[str, object]


def chunk(number: int, part: int, cancelled: int) -> tuple[str, Members]:
    """One order of several."""
    members = {"number": part, "of": 3, "order": "workflowRunIds=wfr_a", "outcome": "cancelled", "cancelled": cancelled}
    return "chunk", {"decision_id": an_id(number), **members}


PLANNED: dict[str, Any] = {
    "digest": "0" * 64,
    "orders": ["workflowRunIds=wfr_a"] * 3,
    "effective": {"label": ["a"], "count": 9},
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Decisions of every kind, which end in another order than they begin."""
    chain = Chain(tmp_path)
    asked: dict[str, Any] = {
        "reason": "stuck since Monday",
        "effective": {"label": ["a"], "count": 1},
        "policy_digest": DIGEST,
    }
    chain.write(
        ("start", {}),
        intent(1, **asked),
        ("plan", {**intent(2, "search")[1], "runs": []}),
        intent(2, "search", **PLANNED),
        ("joined", {"decision_id": an_id(8), "joins": an_id(1), "team": "billing", "principal": "billing/ci"}),
        chunk(2, 1, 5),
        chunk(2, 2, 6),
        denied(3),
        outcome(2, "unknown", None, cause="recovered"),
        ("plan", {**intent(4)[1], "runs": []}),
        outcome(1, "unknown", None),
        settled(1, 7),
        intent(5),
        outcome(5, "not_sent", None),
        ("refused", {"decision_id": an_id(9), "status": 401, "code": "c", "cause": "e"}),
        ("stop", {"open": 0}),
    )
    return tmp_path


def report(directory: Path, *options: str) -> Done:
    """`audit report` of the record."""
    done = command("audit", "report", *options, str(directory))
    assert done.returncode == 0, done.stderr
    return done


def rows(directory: Path, *options: str) -> list[dict[str, str]]:
    """The rows as CSV holds them."""
    return list(csv.DictReader(io.StringIO(report(directory, "--format", "csv", *options).stdout)))


def test_a_decision_is_one_line_with_its_last_number(directory: Path) -> None:
    """Settled wins over the outcome, and parts are none beside their whole; the oldest decision stands first."""
    found = rows(directory)
    assert [row["decision"] for row in found] == [an_id(number) for number in (1, 2, 3, 5)]
    assert [row["state"] for row in found] == ["unknown", "unknown", "denied", "not_sent"]
    assert [row["cancelled"] for row in found] == ["7", "11", "0", "0"]
    assert [row["sent"][:8] for row in found] == ["1 of 1 o", "3 of 3 o", "nothing", "nothing"]
    # What was looked up was sent by run IDs, not by the filter that found them.
    assert found[1]["sent"] == '3 of 3 orders by run IDs: label=["a"] count=9'
    assert found[0] == {
        "when": at(2),
        "team": "billing",
        "who": "billing/ci",
        "why": "stuck since Monday",
        "rule": "billing/own",
        "asked": 'label=["a"] count=1',
        "sent": '1 of 1 order: label=["a"] count=1',
        "cancelled": "7",
        "state": "unknown",
        "policy": DIGEST,
        "decision": an_id(1),
        "action": "cancel_runs",
    }


def test_an_outcome_that_knows_the_whole_takes_the_place_of_its_parts(tmp_path: Path) -> None:
    """It may also know of more than they do; nothing is counted twice."""
    chain = Chain(tmp_path)
    chain.write(
        ("start", {}),
        intent(1, **PLANNED),
        chunk(1, 1, 5),
        chunk(1, 2, 6),
        outcome(1, "cancelled", 11),
        intent(2, **PLANNED),
        chunk(2, 1, 5),
        outcome(2, "cancelled", 8),
    )
    assert [row["cancelled"] for row in rows(tmp_path)] == ["11", "8"]


def test_the_members_are_those_of_the_page_of_decisions(directory: Path) -> None:
    """In JSON, exactly and in the same order, each decision as the gateway itself joins it."""
    listed = json.loads(report(directory, "--format", "json").stdout)
    assert list(listed) == ["decisions"]
    lines = [json.loads(line) for line in next(directory.glob("*.jsonl")).read_text().splitlines()]
    for shown in listed["decisions"]:
        assert list(shown) == MEMBERS
        decision = RecordedDecision(shown["decision_id"])
        for members in lines:
            decision.take(members)
        assert shown == decision.members()


def test_a_report_is_of_a_team_and_of_a_time(directory: Path) -> None:
    """A decision is of the time at which it began; what came of it later counts."""
    assert [row["decision"] for row in rows(directory, "--team", "billing")] == [an_id(n) for n in (1, 3, 5)]
    first = rows(directory, "--since", at(2), "--until", at(3))
    assert [(row["decision"], row["cancelled"]) for row in first] == [(an_id(1), "7")]
    assert rows(directory, "--since", "7d") == []


@pytest.mark.parametrize("form", ["md", "csv", "json"])
def test_a_report_of_nothing_is_whole_and_says_so(directory: Path, form: str) -> None:
    """A table without rows, or an empty list, and a line on standard error with what was asked."""
    done = report(directory, "--format", form, "--team", "no=body")
    assert done.stderr == "audit report: no decision on record matches --team no=body\n"
    assert (
        done.stdout
        == {
            "md": f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}\n",
            "csv": ",".join(f'"{name}"' for name in COLUMNS) + "\n",
            "json": '{"decisions": []}\n',
        }[form]
    )


def test_the_table_for_people_is_the_usual_one(directory: Path) -> None:
    """Markdown, with a line for its head and one for each decision."""
    lines = report(directory).stdout.splitlines()
    assert lines == report(directory, "--format", "md").stdout.splitlines()
    assert len(lines) == 2 + 4
    assert '| stuck since Monday | billing/own | label=\\["a"\\] count=1 | 1 of 1 order: ' in lines[2]
    assert f"| {DIGEST[:12]} | {an_id(1)} |" in lines[2]


def test_a_part_of_a_record_says_what_it_lacks(tmp_path: Path) -> None:
    """Of what continues decisions that began elsewhere only the number is known."""
    Chain(tmp_path).write(outcome(1), intent(2), settled(3, 4))
    done = report(tmp_path, "--format", "json")
    assert [one["decision_id"] for one in json.loads(done.stdout)["decisions"]] == [an_id(2)]
    assert done.stderr == "2 records continue a decision that began elsewhere, or too long ago to be joined\n"


ATTACKS = [
    HOSTILE,
    "| x |\n| --- |",
    "a\\| b",
    "[click](https://evil.example)",
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png)",
    "https://evil.example www.evil.example",
    "`code` **bold** ~~gone~~ <!-- ",
    "&#60;b&#62;",
    "@somebody",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_cell_of_markdown_is_more_than_text(tmp_path: Path, attack: str) -> None:
    """Every sign that means something in a table or a text is escaped: what is left is what was written."""
    Chain(tmp_path).write(intent(1, reason=attack))
    done = report(tmp_path)
    assert done.stdout.replace("\n", "").isprintable()
    line = done.stdout.splitlines()[2]
    assert len(done.stdout.splitlines()) == 3
    bare = re.sub(r"\\[^a-z0-9\s]", "", line)
    assert not re.search(r"[\\`*<>\[\]()!&~@#]|://|www\.|\b_|_\b", bare)
    assert bare.count("|") == len(COLUMNS) + 1


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=4))
def test_cells_of_any_text_stay_apart(cells: list[str]) -> None:
    """In CSV and in Markdown a line has as many cells as it was given."""
    (row,) = csv.reader([csv_line(cells)])
    assert len(row) == len(cells)
    assert re.sub(r"\\[^a-z0-9\s]", "", markdown_line(cells)).count("|") == len(cells) + 1


def taken(joins: Joins, records: Sequence[tuple[str, Members]]) -> list[RecordedDecision]:
    """The decisions of some records, in the order in which they are given."""
    found: list[RecordedDecision] = []
    for line in Chain(Path("/nowhere")).lines(*records):
        found += joins.take(orjson.loads(line), line)
    return [*found, *joins.rest()]


def test_what_is_held_is_bounded_by_number_and_by_size() -> None:
    """The oldest decisions give way as far as they are known; what comes too late for one is counted."""
    records = [intent(number) for number in range(10)] + [outcome(number) for number in range(10)]
    for joins in (Joins(lambda _: True, most=3), Joins(lambda _: True, most_bytes=1500)):
        found = taken(joins, records)
        assert [one.decision_id for one in found] == [an_id(number) for number in range(10)]
        assert [one.state for one in found] == ["in_flight"] * 7 + ["cancelled"] * 3
        assert joins.strays == 7


def test_a_report_is_sorted_as_far_as_memory_is_given_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Decisions are held to be sorted until they are too many characters; then the oldest is printed."""
    given = [RecordedDecision(an_id(number), begun={"ts": at(number)}) for number in (5, 3, 9, 1, 7)]
    for most, numbers in ((10_000, [1, 3, 5, 7, 9]), (0, [5, 3, 9, 1, 7]), (500, [3, 5, 1, 7, 9])):
        report = Report(FORMATS["json"], most_chars=most)
        report.add(given)
        report.end()
        listed = json.loads(capsys.readouterr().out)["decisions"]
        assert [one["decision_id"] for one in listed] == [an_id(number) for number in numbers]


def test_what_is_not_asked_for_is_no_stray() -> None:
    """Nor is it given; it takes no room."""
    joins = Joins(lambda members: members.get("team") == "search", most_bytes=1500)
    records = [intent(number) for number in range(10)] + [outcome(number) for number in range(10)]
    assert [one.decision_id for one in taken(joins, [intent(99, "search"), *records])] == [an_id(99)]
    assert joins.strays == 0
