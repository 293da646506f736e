"""What a person sees of a record and of a plan: whole IDs on a narrow terminal, numbers with what they count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from gateway.audit.evidence.decisions import DecisionStats, lines
from gateway.cli.output import folded
from tests.cli.fake_gateway import ASKED, PLAN_ID, fake_gateway, plan
from tests.cli.running import Done, command
from tests.cli.terminal import on_terminal
from tests.support.gateway import RunningGateway

NARROW = 80
RUNS = "/v2/workflows/runs"
LONG_ID = "wfr_" + "a1" * 58 + "_end"

Members = Mapping[str, object]


@pytest.fixture
def refused(gateway: RunningGateway) -> RunningGateway:
    """A gateway that refused a stranger, a mistyped path and a request without a filter, and cancelled once."""
    gateway.request("GET", "/gateway/v1/whoami", team=None)
    gateway.request("GET", "/v2/topics")
    gateway.request("DELETE", f"{RUNS}?count=100")
    url = "https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice"
    gateway.request("DELETE", f"{RUNS}?workflowUrl={url}&workflowUrlExactMatch=true&count=1")
    return gateway


def audit(gateway: RunningGateway, *arguments: str) -> Done:
    """An `audit` command about its record."""
    return command("audit", *arguments, str(gateway.audit_directory))


def seen(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    """Exit code and lines of a command on a narrow terminal, without what moves its cursor or colours."""
    with on_terminal(*arguments, env=env or {}, columns=NARROW) as running:
        code = running.exit_code()
        left = re.sub(r"[^\n]*\x1b\[2K", "", running.seen.replace("\r", ""))  # a wheel that turned was erased again
        return code, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", left).split("\n")


def test_statistics_say_what_each_number_counts(refused: RunningGateway) -> None:
    """One of a kind is singular; refusals stand by code and reason, a denial by its rule."""
    said = [" ".join(line.split()) for line in audit(refused, "stats").stdout.splitlines()]
    assert "event refused 2 records" in said
    assert "event denied 1 record" in said
    assert "team billing 2 decisions" in said
    assert "refusal unauthenticated no_credential 1 request" in said
    assert "refusal not_found qstash_path 1 request" in said
    assert "refusal policy_denied guardrails/everything 1 request" in said
    assert "outcome cancelled 1 decision, 1 run cancelled" in said
    assert said[-1] == "cancelled runs: 1; lines that are no records: 0"


def test_what_a_flood_left_out_of_the_record_is_counted() -> None:
    """It stands in a later record; no reason is known of it. A throttled request is refused too."""
    stats = DecisionStats()
    stats.add({"event": "refused", "code": "unauthenticated", "cause": "unknown_key", "left_out": 40})
    stats.add({"event": "throttled", "cause": "per_minute", "left_out": 2})
    said = [" ".join(line.split()) for line in lines(stats)]
    assert "refusal throttled per_minute 1 request" in said
    assert "refusal not recorded, there were too many 42 requests" in said


@pytest.mark.parametrize(
    "filters",
    [("--decision", "01a22621-e564-7426-9af6-efd4c831619a"), ("--principal", "billing/nobody"), ("--event", "settled")],
    ids=lambda filters: filters[0],
)
def test_a_filter_that_matches_nothing_says_so(refused: RunningGateway, filters: Sequence[str]) -> None:
    """On standard error, with what was asked and how many records there are; that is no failure."""
    records = len(refused.records())
    for form in ((), ("--json",)):
        done = audit(refused, "show", *form, *filters)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"audit show: none of {records} records matches {' '.join(filters)}\n"


@pytest.mark.parametrize(
    ("event", "guess"), [("outcom", " (did you mean outcome?)"), ("\x1b[2J", ""), ("x" * 9999, "")]
)
def test_an_event_that_is_none_lists_those_there_are(refused: RunningGateway, event: str, guess: str) -> None:
    """A usage error: 64."""
    done = audit(refused, "show", "--event", event)
    assert (done.returncode, done.stdout) == (64, "")
    known = "start, stop, recovery, reload, refused, denied, throttled, plan, intent, chunk, joined, withdrawn, outcome"
    assert f"there is no event of this name{guess}; events are: {known}" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("day", ["yesterday", "20261101", "2026-W44-1", "2026-02-30", "2026-8-1", ""])
def test_a_day_that_is_none_says_how_one_is_written(tmp_path: Path, day: str) -> None:
    """And no name of the program's own."""
    done = command("audit", "retire", "--before", day, str(tmp_path))
    assert (done.returncode, done.stdout) == (64, "")
    assert "a day in UTC is written YYYY-MM-DD, like 2026-08-31" in done.stderr
    assert "_day" not in done.stderr


@pytest.mark.parametrize("arguments", [("show",), ("stats",)], ids=lambda arguments: arguments[0])
def test_a_narrow_terminal_breaks_no_id(refused: RunningGateway, arguments: tuple[str, ...]) -> None:
    """Every line fits, and every decision ID and digest stands whole in one."""
    code, said = seen("audit", *arguments, str(refused.audit_directory))
    assert code == 0
    assert all(len(line) <= NARROW for line in said if "digest=" not in line)
    if arguments == ("show",):
        ids = [str(record["decision_id"]) for record in refused.records() if "decision_id" in record]
        assert all(any(decision in line for line in said) for decision in ids)


def test_where_no_terminal_reads_it_a_record_is_a_line(refused: RunningGateway) -> None:
    """As it is documented, however long."""
    assert len(audit(refused, "show").stdout.splitlines()) == len(refused.records())


def test_lines_are_folded_at_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind spaces, commas and `&`; what is longer than a line stays whole, and nothing is lost."""
    text = f"plan={PLAN_ID} runs=[{','.join([LONG_ID] * 2)}] order=workflowRunIds=wfr_a&workflowRunIds={LONG_ID}"

    class Narrow:
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    said = folded(text, Narrow())  # type: ignore[arg-type]
    assert re.sub(r"\s", "", said) == text.replace(" ", "")
    assert said.count(LONG_ID) == 3
    assert PLAN_ID in said
    assert all(len(line) <= 60 or LONG_ID in line for line in said.splitlines())


def run(run_id: str) -> Members:
    """A run as a plan lists it."""
    url = "https://search.example.com/api/reindex/all-of-it"
    return {"workflowRunId": run_id, "workflowUrl": url, "created": "2026-11-23T12:00:00.000Z", "labels": ["nightly"]}


@pytest.mark.parametrize("run_id", ["wfr_search_mlNQEfW47157IzTrZ25L8", LONG_ID])
def test_a_plan_on_a_narrow_terminal_keeps_its_ids_whole(run_id: str) -> None:
    """Its own, those of its runs and of those left out."""
    sample = [run(run_id)] * 2
    left = {"young": {"runs": 2, "sample": ["wfr_left_1", "wfr_left_2"]}}
    shown = plan(runs=2, sample=sample, by_workflow={"https://a.example/x": 2}, skipped=left)
    with fake_gateway({ASKED: [(201, shown)]}) as fake:
        env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}
        code, said = seen("cancel", "--label", "a", "--dry-run", env=env)
    assert code == 0
    assert sum(run_id in line for line in said) == 2
    assert any(PLAN_ID in line for line in said)
    assert all(any(name in line for line in said) for name in ("wfr_left_1", "wfr_left_2"))


def test_a_refusal_on_a_narrow_terminal_keeps_its_ids_whole() -> None:
    """What goes to standard error is folded as well."""
    problem = {"error": f"The record is under decision {PLAN_ID}. " * 3, "code": "outcome_unknown"}
    with fake_gateway({ASKED: [(504, problem)]}) as fake:
        env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}
        code, said = seen("cancel", "--label", "a", "--dry-run", env=env)
    assert code == 1
    assert sum(line.count(PLAN_ID) for line in said) == 3
    assert all(len(line) <= NARROW for line in said)


@pytest.mark.parametrize("sign", ["\t", "\x1b[2J", "\x07", "\u202e", "\x9b2J", "\x7f", "\u2800", "\u3164", "\ufe0f"])
def test_no_sign_of_data_reaches_a_terminal(sign: str) -> None:
    """A tab or control character in a plan comes out as its name."""
    shown = plan(
        by_workflow={f"https://a.example/{sign}": 1},
        by_label={f"l{sign}": 1},
        sample=[{**run("wfr_a"), "labels": [f"l{sign}"], "workflowUrl": f"https://a.example/{sign}"}],
        rule=f"a/{sign}",
    )
    with fake_gateway({ASKED: [(201, shown)]}) as fake:
        env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}
        done = command("cancel", "--label", "a", "--dry-run", env=env)
    assert done.returncode == 0
    assert sign not in done.stdout
    assert sign.encode("unicode_escape").decode() in done.stdout
