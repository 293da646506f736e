"""The account changes between two calls, pages shift, and readings are limited, as in the real service."""

from __future__ import annotations

import http.client
import json

import pytest

from gateway.simulator.account import LogManner
from gateway.simulator.changes import Change, change_of
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Answer, Call, Kind, Token
from gateway.simulator.runs import Run, make_runs
from gateway.simulator.server import SimulatorServer

NOW_MS = 1_790_000_000_000
LOGS, EVENTS, CANCEL = "/v2/workflows/logs", "/v2/workflows/events", "/v2/workflows/runs"


def read(simulator: Simulator, query: str = "", *, path: str = LOGS, at_ms: int = NOW_MS) -> Answer:
    return simulator.answer(Call("GET", path, query, token=Token.READ_ONLY), at_ms)


def ids(answer: Answer) -> list[str]:
    return [entry["workflowRunId"] for entry in json.loads(answer.body)["runs"]]


def test_the_clients_own_path_shows_the_log_where_it_is_grouped_by_run(account: tuple[Run, ...]) -> None:
    """Without the grouping it is another call, which this simulator does not know."""
    simulator = Simulator(account)
    assert read(simulator, "groupBy=workflowRunId&count=3", path=EVENTS) == read(simulator, "count=3")
    assert read(simulator, path=EVENTS).status == 404


def test_a_change_happens_before_the_call_that_it_waits_for(account: tuple[Run, ...]) -> None:
    """It counts calls of its kind alone, and happens once."""
    simulator = Simulator(account)
    new = Run("wfr_new", "https://a.example/x", NOW_MS)
    simulator.change(Change(after=1, end=("wfr_evil",), restart=("wfr_reindex",), start=(new,)))
    simulator.answer(Call("DELETE", CANCEL, "workflowRunIds=wfr_none"), NOW_MS)
    before = {run.run_id: run for run in account}
    seen = []
    for _ in range(3):
        read(simulator)
        seen.append({run.run_id: run for run in simulator.runs})
    assert seen[0] == before
    assert seen[1] == seen[2]
    assert not seen[1]["wfr_evil"].running
    assert (seen[1]["wfr_reindex"].created_ms, seen[1]["wfr_reindex"].running) == (NOW_MS, True)
    assert seen[1]["wfr_new"] == new


def test_a_run_can_end_between_its_listing_and_its_cancel(account: tuple[Run, ...]) -> None:
    """The cancel hits nothing then."""
    simulator = Simulator(account)
    simulator.change(Change(on=Kind.CANCEL, end=("wfr_evil",)))
    answer = simulator.answer(Call("DELETE", CANCEL, "workflowRunIds=wfr_evil"), NOW_MS)
    assert json.loads(answer.body)["cancelled"] == 0
    assert simulator.cancelled == ()


@pytest.mark.parametrize("shifting", [False, True])
def test_pages_shift_where_cursors_count_runs(shifting: bool) -> None:
    """A run that appears pushes the last of the first page onto the second, which shows it again."""
    simulator = Simulator(make_runs(15, NOW_MS, seed=1), log=LogManner(shifting=shifting))
    first = read(simulator)
    simulator.add_runs([Run("wfr_new", "https://a.example/x", NOW_MS)])
    second = read(simulator, f"cursor={json.loads(first.body)['cursor']}")
    assert len(set(ids(first)) & set(ids(second))) == shifting


def test_a_log_with_shifting_pages_refuses_a_cursor_that_is_no_number(account: tuple[Run, ...]) -> None:
    """A cursor that was never given out is answered 400."""
    assert read(Simulator(account, log=LogManner(shifting=True)), "cursor=next").status == 400


def test_readings_are_limited_in_each_window(account: tuple[Run, ...]) -> None:
    """Each answer says how many are left and until which second; one too many is a 429, and no cancel is counted."""
    simulator = Simulator(account, log=LogManner(burst=2, burst_ms=500))
    answers = [read(simulator, at_ms=NOW_MS + at) for at in (0, 100, 200, 500)]
    assert [answer.status for answer in answers] == [200, 200, 429, 200]
    said = [dict(answer.headers) for answer in answers]
    assert [each["Burst-RateLimit-Remaining"] for each in said] == ["1", "0", "0", "1"]
    assert [int(each["Burst-RateLimit-Reset"]) for each in said] == [
        -(-ends_ms // 1000) for ends_ms in (NOW_MS + 500, NOW_MS + 500, NOW_MS + 500, NOW_MS + 1000)
    ]
    assert simulator.answer(Call("DELETE", CANCEL, "label=none"), NOW_MS + 200).status == 200
    assert [entry.status for entry in simulator.readings] == [200, 200, 429, 200]


def test_the_log_takes_several_labels_under_both_contracts(simulator: Simulator) -> None:
    """Any of them is enough, unlike in the cancel of 2025."""
    answer = simulator.answer(Call("GET", LOGS, "label=nightly&label=batch"), NOW_MS)
    assert set(ids(answer)) == {"wfr_invoice_1", "wfr_invoice_2", "wfr_reminder"}


def test_changes_are_scripted_over_the_control_endpoint(account: tuple[Run, ...]) -> None:
    """As faults are; and the readings can be looked at."""
    change = {
        "on": "logs",
        "end": ["wfr_evil"],
        "start": [{"workflowRunId": "wfr_x", "workflowUrl": "https://a.example/x", "workflowRunCreatedAt": 1}],
    }
    with SimulatorServer(Simulator(account)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        text = b""
        for method, path, body, status in (
            ("POST", "/_simulator/changes", json.dumps({"changes": [change]}), 200),
            ("POST", "/_simulator/changes", '{"changes": [{"after": -1}]}', 400),
            ("GET", f"{LOGS}?label=none", None, 200),
            ("GET", "/_simulator/readings", None, 200),
        ):
            connection.request(method, path, body, {"Authorization": f"Bearer {server.read_token}"})
            response = connection.getresponse()
            text = response.read()
            assert response.status == status
        connection.close()
        runs = {run.run_id: run.running for run in server.simulator.runs}
    assert (runs["wfr_evil"], runs["wfr_x"]) == (False, True)
    [reading] = json.loads(text)["readings"]
    assert (reading["query"], reading["token"]) == ("label=none", "read-only")


@pytest.mark.parametrize(
    "wire",
    [{"afterwards": 1}, {"after": True}, {"after": -1}, {"end": "wfr_1"}, {"start": {}}, {"start": [{}]}, {"on": "x"}],
)
def test_a_change_that_cannot_be_one_is_refused(wire: dict[str, object]) -> None:
    """A test that scripts nothing would prove nothing."""
    with pytest.raises(ValueError, match=r"."):
        change_of(wire)
