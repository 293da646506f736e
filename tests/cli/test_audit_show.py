"""`audit show` answers a question: of a team, a rule, a time; as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.core.forms.times import record_time
from tests.audit.decisions.chains import FIRST_NS, Chain, an_id, denied, intent, outcome, settled
from tests.cli.running import Done, command

REFUSED = ("refused", {"decision_id": an_id(9), "status": 401, "code": "c", "cause": "e", "principal": "billing/ci"})
JOINED = ("joined", {"decision_id": an_id(8), "joins": an_id(1), "team": "billing", "principal": "billing/ci"})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A record of two teams whose records are interleaved; each is a millisecond after the one before it."""
    Chain(tmp_path).write(
        ("start", {}),
        intent(1),
        intent(2, "search"),
        JOINED,
        outcome(2, "refused", None),
        outcome(1, "unknown", None),
        denied(3),
        settled(1, 4),
        REFUSED,
        ("stop", {"open": 0}),
    )
    return tmp_path


def show(directory: Path, *options: str) -> Done:
    """`audit show` of the record."""
    return command("audit", "show", *options, str(directory))


def found(directory: Path, *options: str) -> list[tuple[str, str]]:
    """The event and the decision of each record that is shown."""
    done = show(directory, "--format", "json", *options)
    assert done.returncode == 0, done.stderr
    members = [json.loads(line) for line in done.stdout.splitlines()]
    return [(one["event"], one.get("decision_id", "")) for one in members]


BILLING = ("intent", "joined", "outcome", "denied", "settled")


@pytest.mark.parametrize(
    ("options", "events"),
    [
        (("--team", "billing"), (*BILLING, "refused")),
        (("--principal", "billing/ci"), (*BILLING, "refused")),
        (("--rule", "billing/own"), BILLING),
        (("--team", "search"), ("intent", "outcome")),
        (("--team", "billing", "--event", "outcome"), ("outcome",)),
        (("--team", "billing", "--outcome", "refused"), ()),
        (("--team", "search", "--outcome", "refused"), ("outcome",)),
        (("--decision", an_id(1)), ("intent", "outcome", "settled")),
        (("--team", "billing", "--limit", "2"), BILLING[:2]),
        (("--limit", "1"), ("start",)),
    ],
    ids=shlex.join,
)
def test_filters_are_asked_of_the_decision(directory: Path, options: Sequence[str], events: Sequence[str]) -> None:
    """An outcome answers to the team, the rule and the principal of its intent, and several filters hold together."""
    assert [event for event, _ in found(directory, *options)] == list(events)


def test_what_one_caller_did_has_its_freezes(tmp_path: Path) -> None:
    """Of an operator, and not of the team that it froze."""
    by = {"freeze_id": "f", "team": "billing", "rule": None, "by": "platform/ops"}
    Chain(tmp_path).write(
        ("start", {"by": "platform/ops"}), ("freeze", by), ("thaw", by), ("freeze", {**by, "by": "cli:0"})
    )
    assert [event for event, _ in found(tmp_path, "--principal", "platform/ops")] == ["freeze", "thaw"]
    assert [event for event, _ in found(tmp_path, "--team", "billing")] == ["freeze", "thaw", "freeze"]
    assert found(tmp_path, "--team", "platform") == []


def at(number: int) -> str:
    """When a record was written."""
    return record_time(FIRST_NS + number * 1_000_000)


def test_a_span_holds_its_beginning_and_not_its_end(directory: Path) -> None:
    """In RFC 3339 with any offset; an outcome within it answers to an intent before it."""
    assert [event for event, _ in found(directory, "--since", at(2), "--until", at(4))] == ["intent", "intent"]
    assert [event for event, _ in found(directory, "--since", at(6), "--team", "billing")] == [*BILLING[2:], "refused"]
    shifted = at(8).replace("2025-10-09T08", "2025-10-09T10").replace("Z", "+02:00")
    assert found(directory, "--since", shifted) == found(directory, "--since", at(8))


@pytest.mark.parametrize(("since", "some"), [("99999d", True), ("999999999d", True), ("7d", False), ("12h", False)])
def test_a_span_may_say_how_long_ago_it_begins(directory: Path, since: str, some: bool) -> None:
    """In the units of policies, however many of them."""
    assert bool(found(directory, "--since", since)) == some
    assert bool(found(directory, "--until", since)) != (since.startswith("99"))


@pytest.mark.parametrize(
    "options",
    [
        ("--since", "yesterday"),
        ("--since", "2026-01-01"),
        ("--until", "2026-01-01T00:00:00"),
        ("--until", "9999-12-31T23:59:59-05:00"),
        ("--since", "-1d"),
        ("--limit", "0"),
        ("--limit", "\u0661"),
        ("--limit", "9" * 5000),
        ("--outcome", "cancled"),
        ("--format", "xml"),
        ("--json", "--format", "csv"),
    ],
    ids=lambda options: shlex.join(options)[:40],
)
def test_what_is_mistyped_is_a_usage_error(directory: Path, options: Sequence[str]) -> None:
    """64, with nothing on standard output and no name of the program's own."""
    done = show(directory, *options)
    assert (done.returncode, done.stdout) == (64, "")
    assert "Traceback" not in done.stderr
    assert "_moment" not in done.stderr
    assert "_number" not in done.stderr


def test_what_was_asked_is_repeated_where_nothing_matches(directory: Path) -> None:
    """Every filter, as it was typed."""
    done = show(directory, "--team", "nobody", "--since", "99999d", "--rule", "a/b")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("audit show: none of 10 records matches --team nobody --rule a/b --since ")


def test_json_joins_and_the_lines_of_the_file_stay_as_they_are(directory: Path) -> None:
    """`--format json` says whose an outcome is; `--json` prints the bytes that were hashed."""
    lines = next(directory.glob("*.jsonl")).read_text()
    assert show(directory, "--json").stdout == lines
    shown = [json.loads(line) for line in show(directory, "--format", "json").stdout.splitlines()]
    for joined, line in zip(shown, lines.splitlines(), strict=True):
        assert joined.items() >= json.loads(line).items()
    assert {one["team"] for one in shown if one["event"] == "outcome"} == {"billing", "search"}
    assert {one.get("rule") for one in shown if one["event"] == "joined"} == {"billing/own"}


HOSTILE = '=cmd|"x";@b\n+1\t\x1b[2J\u202e, "; =2'


def test_csv_holds_every_value_and_no_formula(tmp_path: Path) -> None:
    """A reader of CSV gets one row a record; no cell begins a formula, also where cells are cut at semicolons."""
    chain = Chain(tmp_path)
    chain.write(*(intent(number, reason=sign + HOSTILE) for number, sign in enumerate("=+-@\t '\uff1d")), outcome(1))
    done = show(tmp_path, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 9
    assert rows[-1]["team"] == "billing"
    assert rows[-1]["cancelled"] == "1"
    assert json.loads(rows[0]["more"])["asked"] == {"label": ["a"], "count": 1}
    cells = [part.strip().lstrip('"') for row in rows for cell in row.values() for part in cell.split(";")]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\uff1d"))] == []
    assert done.stdout.replace("\n", "").isprintable()
    assert len(done.stdout.splitlines()) == 10


def test_every_event_of_every_version_is_shown(tmp_path: Path) -> None:
    """In each of the forms; a record that a later version added as well."""
    lines = (Path(__file__).parents[1] / "audit" / "every_event.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    events.append({"event": "approval", "decision_id": an_id(1), "new": [1]})
    Chain(tmp_path).write(
        *((one["event"], {name: value for name, value in one.items() if name != "event"}) for one in events)
    )
    for form in ("text", "json", "csv"):
        done = show(tmp_path, "--format", form)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == len(events) + (form == "csv")
