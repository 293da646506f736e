"""What the accidents of the other calls do to an account that nothing stands in front of.

A request line whose call is named is as recorded from the official client that has the call.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Call, Entry
from gateway.simulator.holdings.held import Holdings, Manner
from tests.support.holdings import FAILED_MESSAGES, FAILED_RUNS, MESSAGES, NOW_MS, RUNS, URL, failed_run, small_holdings

NEW, OLD = Contract.V2026_09, Contract.V2025
WHOLE_DLQ = FAILED_RUNS | FAILED_MESSAGES
DELETE, RESUME, RESTART = "DELETE /v2/workflows/dlq", "POST /v2/workflows/dlq/resume", "POST /v2/workflows/dlq/restart"
DELETE_FAILED, RETRY, CANCEL = "DELETE /v2/dlq", "POST /v2/dlq/retry", "DELETE /v2/messages"
LOST = {
    DELETE: FAILED_RUNS,
    RESUME: FAILED_RUNS,
    RESTART: FAILED_RUNS,
    DELETE_FAILED: WHOLE_DLQ,
    RETRY: WHOLE_DLQ,
    CANCEL: MESSAGES,
}
"""Every bulk call, and all that it can hit."""

Hit = Callable[..., frozenset[str]]


def account(contract: Contract = NEW, held: Holdings | None = None) -> Simulator:
    return Simulator(RUNS, contract=contract, holdings=held or small_holdings())


def made(simulator: Simulator, line: str, body: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Entry:
    """Sends one request line, and returns what the ledger says of it."""
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    simulator.answer(Call(method, path, query, body.encode(), headers=headers), NOW_MS)
    return simulator.ledger[-1]


@pytest.fixture
def hit(contract: Contract) -> Hit:
    """What a fresh account loses to one request."""

    def hit(line: str, body: str = "") -> frozenset[str]:
        return frozenset(made(account(contract), line, body).hit)

    return hit


# ---------------------------------------------------------------- everything


@pytest.mark.parametrize("line", LOST)
@pytest.mark.parametrize("call", ["{all:true}", "{all:false}", "{filter:{}}", "{filter:{label:undefined}}"])
def test_an_intent_that_got_lost_on_the_way_hits_everything(hit: Hit, line: str, call: str) -> None:
    """All four calls put `?count=100` on the wire, and nothing else."""
    assert hit(f"{line}?count=100") == LOST[line]


@pytest.mark.parametrize("line", LOST)
@pytest.mark.parametrize("body", ["", "{}", "null"])
def test_a_bare_call_hits_everything(hit: Hit, line: str, body: str) -> None:
    """As `messages.deleteAll()` of older clients sends it."""
    assert hit(line, body) == LOST[line]


@pytest.mark.parametrize(
    ("line", "body"),
    [
        pytest.param(DELETE_FAILED, '{"dlqIds": []}', id="dlq.delete_many([])"),
        pytest.param(CANCEL, '{"messageIds": []}', id="message.cancel_many([])"),
        pytest.param(DELETE, '{"dlqIds": []}', id="the same for failed runs"),
        pytest.param(RESTART, '{"dlqIds": null}', id="no list at all"),
        pytest.param(RESUME, '{"dlqIds": [""]}', id="an empty ID"),
    ],
)
def test_an_empty_list_hits_everything(hit: Hit, line: str, body: str) -> None:
    """A list that ran empty, as the Python client sends it."""
    assert hit(line, body) == LOST[line]


@pytest.mark.parametrize(
    ("line", "query"),
    [
        pytest.param(DELETE, "workflowUrlStartingWith=https%3A%2F%2Fa.example&count=100", id="workflowUrlStartingWith"),
        pytest.param(DELETE, "dlqId=d1", id="dlqId"),
        pytest.param(RESTART, "DlqIds=d1", id="another case"),
        pytest.param(RESUME, "dlqIds[]=d1", id="brackets"),
        pytest.param(RESUME, "workflowRunIds=wfr_of_d1", id="the name of another call"),
        pytest.param(RETRY, "workflowUrl=https%3A%2F%2Fa.example%2Fhook", id="a filter of failed runs"),
        pytest.param(CANCEL, "messageId=m", id="messageId"),
        pytest.param(CANCEL, "workflowRunId=wfr_1", id="workflowRunId"),
    ],
)
def test_an_unknown_name_is_ignored_and_the_call_hits_everything(hit: Hit, line: str, query: str) -> None:
    """There is no error for a filter that the endpoint does not have."""
    assert hit(f"{line}?{query}") == LOST[line]


@pytest.mark.parametrize("line", LOST)
@pytest.mark.parametrize("query", ["label=", "label=l;x", "label=%zz", "fromDate=", "fromDate=yesterday", "label"])
def test_a_value_that_cannot_be_read_is_no_filter(hit: Hit, line: str, query: str) -> None:
    """Empty, or dropped by the parser: the call is as wide as without it."""
    assert hit(f"{line}?{query}") == LOST[line]


@pytest.mark.parametrize(
    ("line", "query"),
    [(DELETE, "workflowCreatedAt=monday"), (DELETE_FAILED, "responseStatus=5xx"), (RETRY, "responseStatus=")],
)
def test_a_number_that_is_none_is_no_filter(hit: Hit, line: str, query: str) -> None:
    """Like a date that cannot be read."""
    assert hit(f"{line}?{query}") == LOST[line]


@pytest.mark.parametrize("line", LOST)
def test_a_date_in_seconds_hits_everything(hit: Hit, line: str) -> None:
    """It is a day in January 1970, and all that there is came later."""
    assert hit(f"{line}?fromDate={NOW_MS // 1000}") == LOST[line]


# ---------------------------------------------------------------- more than was meant


@pytest.mark.parametrize("line", [DELETE, RESUME, RESTART])
def test_a_workflow_url_reaches_its_neighbours(hit: Hit, line: str) -> None:
    """Read as in the cancel it is a prefix: the failed runs of the workflow whose name goes on are hit as well."""
    assert hit(f"{line}?workflowUrl=https%3A%2F%2Fa.example%2Fx&count=100") == {"d1", "d2"}
    assert hit(f"{line}?workflowUrl=https%3A%2F%2Fa.example&count=100") == FAILED_RUNS


@pytest.mark.parametrize("line", [DELETE, RESUME, RESTART])
def test_there_is_no_exact_match_to_ask_for(hit: Hit, line: str) -> None:
    """`workflowUrlExactMatch` is a name of the cancel only."""
    assert hit(f"{line}?workflowUrl={URL}&workflowUrlExactMatch=true") == {"d1", "d2"}


def test_a_url_of_messages_reaches_its_neighbours(hit: Hit) -> None:
    """The same reading for messages and for those that failed."""
    assert hit(f"{CANCEL}?url=https%3A%2F%2Fa.example%2Fhook&count=100") == {"m", "m1"}
    assert hit(f"{DELETE_FAILED}?url=https%3A%2F%2Fa.example%2Fhook&count=100") == FAILED_MESSAGES


@pytest.mark.parametrize("line", LOST)
@pytest.mark.parametrize("contract", [NEW], indirect=True)
def test_a_comma_ends_a_value_under_the_newer_contract(hit: Hit, line: str) -> None:
    """`label=no,l` is two labels."""
    assert hit(f"{line}?label=no,l") == {id_ for id_ in LOST[line] if id_ in ("d1", "d", "m")}


def test_ids_override_the_filter_beside_them(hit: Hit) -> None:
    """Whoever meant *of these, those with the label* loses all of these."""
    assert hit(f"{DELETE}?dlqIds=d1&dlqIds=d2&label=l") == {"d1", "d2"}
    assert hit(f"{CANCEL}?messageIds=m&messageIds=m1&label=l") == {"m", "m1"}


def test_the_calls_for_messages_reach_failed_runs(hit: Hit) -> None:
    """There is one DLQ: an ID of a failed run is as good at `DELETE /v2/dlq`, and so is no ID."""
    assert hit(f"{DELETE_FAILED}?dlqIds=d1") == {"d1"}
    assert hit(f"{DELETE_FAILED}/d1") == {"d1"}
    assert hit(f"{DELETE_FAILED}?label=l&count=100") == {"d1", "d"}


@pytest.mark.parametrize("contract", [NEW], indirect=True)
def test_count_bounds_no_cancel_of_messages(hit: Hit) -> None:
    """Under the newer contract it is ignored beside a filter, and beside none."""
    assert hit(f"{CANCEL}?count=1") == MESSAGES
    assert hit(f"{CANCEL}?url=https%3A%2F%2Fa.example%2Fhook&count=1") == {"m", "m1"}


def test_count_bounds_no_retry(hit: Hit) -> None:
    """The client sends it, and the call has no such parameter."""
    assert hit(f"{RETRY}?count=1") == WHOLE_DLQ


@pytest.mark.parametrize("line", [DELETE, RESUME, RESTART])
def test_without_a_count_there_is_no_bound(line: str) -> None:
    """Thousands of failed runs begin again by one call."""
    held = Holdings()
    held.add(failed_run(f"dlq_{number}", age_min=number) for number in range(3_000))
    simulator = account(held=held)
    assert len(made(simulator, line).hit) == 3_000
    assert len(simulator.runs) - len(RUNS) == (0 if line == DELETE else 3_000)


def test_cancelling_a_message_can_stop_a_run(contract: Contract) -> None:
    """A step of a workflow is a message like any other, and its run does not go on without it."""
    simulator = account(contract)
    assert made(simulator, f"{CANCEL}/step").run_ids == ("wfr_1",)
    assert [run.run_id for run in simulator.runs if run.running] == ["wfr_2"]


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        pytest.param("DELETE /v2/messages/../dlq", WHOLE_DLQ, id='messages.delete("../dlq")'),
        pytest.param("DELETE /v2/messages/..%2Fdlq", WHOLE_DLQ, id="the same, escaped"),
        pytest.param("DELETE /v2/messages/", MESSAGES, id='message.cancel("")'),
        pytest.param("DELETE /v2/dlq/", WHOLE_DLQ, id='dlq.delete("")'),
        pytest.param("DELETE /v2/workflows/dlq//", FAILED_RUNS, id="two slashes"),
        pytest.param("POST /v2/workflows/dlq/restart/", FAILED_RUNS, id="no ID to restart"),
        pytest.param("POST /v2/flowControl/a/../b/pause", {"flowControl/b"}, id='flowControl.pause("a/../b")'),
        pytest.param("POST /v2/flowControl/a%2F..%2Fb/pause", {"flowControl/b"}, id="the same, escaped"),
        pytest.param("POST /v2/queues/x/../../flowControl/k/pause", {"flowControl/k"}, id="a queue that is a key"),
    ],
)
def test_an_id_in_a_path_can_lead_to_another_call(hit: Hit, line: str, lost: frozenset[str]) -> None:
    """Clients splice IDs and keys into paths as they are."""
    assert hit(line) == lost


@pytest.mark.parametrize("query", ["", "?cancel=", "?cancel=true", "?cancel=0", "?cancel=False", "?Cancel=false"])
def test_a_run_in_the_path_is_cancelled_unless_it_says_false(contract: Contract, query: str) -> None:
    """Only `cancel=false` is a report that the run has ended."""
    simulator = account(contract)
    assert made(simulator, f"DELETE /v2/workflows/runs/wfr_1{query}").run_ids == ("wfr_1",)


def test_no_run_in_the_path_cancels_every_run(contract: Contract) -> None:
    """An empty ID makes the single cancel the bulk one."""
    assert set(made(account(contract), "DELETE /v2/workflows/runs/?cancel=true").run_ids) == {"wfr_1", "wfr_2"}


# ---------------------------------------------------------------- twice


@pytest.mark.parametrize("line", [RESUME, RESTART])
def test_a_repeat_starts_the_same_failed_run_again(line: str) -> None:
    """Where the entry stays in the DLQ, a call whose answer was lost and that the client repeats starts two runs."""
    simulator = account()
    for _ in range(2):
        assert made(simulator, f"{line}?dlqIds=d1").hit == ("d1",)
    assert len([run for run in simulator.runs if run.run_id not in {each.run_id for each in RUNS}]) == 2


@pytest.mark.parametrize(("line", "pages"), [(RESUME, [100, 20]), (RESTART, [50, 50, 20])])
def test_a_documented_loop_that_is_run_again_starts_all_of_it_again(line: str, pages: list[int]) -> None:
    """`do … while (cursor)` goes by pages; after the last, the same call begins everything anew."""
    held = Holdings()
    held.add(failed_run(f"dlq_{number}", age_min=number) for number in range(120))
    simulator = account(held=held)
    method, _, path = line.partition(" ")
    sizes, cursor = [], ""
    for _ in range(2 * len(pages)):
        answer = json.loads(simulator.answer(Call(method, path, f"count=100&cursor={cursor}"), NOW_MS).body)
        sizes.append(len(answer["workflowRuns"]))
        cursor = answer["cursor"]
    assert sizes == [*pages, *pages]


def test_a_missing_id_hides_that_the_others_were_started(contract: Contract) -> None:
    """The answer is an error, and a repeat without the missing one starts the others twice."""
    simulator = account(contract)
    entry = made(simulator, f"{RESTART}?dlqIds=d1&dlqIds=gone")
    assert (entry.status, entry.hit) == (404, ("d1",))


def test_a_repeated_retry_sends_the_next_messages() -> None:
    """A filter finds what is left, or what failed meanwhile; the first were sent already."""
    simulator = account()
    assert set(made(simulator, f"{RETRY}?label=l").hit) == {"d1", "d"}
    simulator.holdings.add([failed_run("later", labels=("l",))])
    assert made(simulator, f"{RETRY}?label=l").hit == ("later",)


# ---------------------------------------------------------------- the whole account


def test_a_rotation_that_is_repeated_breaks_every_signature_check() -> None:
    """Whoever verifies with the current and the next key of before has neither key of now."""
    simulator = account()
    before = simulator.holdings.signing_keys
    made(simulator, "POST /v2/keys/rotate")
    assert simulator.holdings.signing_keys[0] == before[1]
    made(simulator, "POST /v2/keys/rotate")
    assert set(simulator.holdings.signing_keys).isdisjoint(before)


def test_an_event_wakes_the_runs_of_everybody() -> None:
    """A global `notify` knows no team and no run."""
    simulator = account()
    assert set(made(simulator, "POST /v2/notify/e1").hit) == {"wfr_1", "wfr_2"}
    assert simulator.holdings.waiters == []


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_pause_holds_up_whoever_uses_the_name(method: str) -> None:
    """A schedule, queue or key has no owner; by both methods a schedule is paused."""
    simulator = account()
    made(simulator, f"{method} /v2/schedules/s/pause")
    made(simulator, "POST /v2/queues/qn/pause")
    made(simulator, "POST /v2/flowControl/never-used/pause")
    paused = {name for name, is_paused in simulator.holdings.switches.items() if is_paused}
    assert paused == {"schedules/s", "queues/qn", "flowControl/never-used"}


def test_a_header_sends_the_payload_of_a_failed_run_to_any_address() -> None:
    """`Upstash-Failure-Callback` on a resume is taken as it is; so are a label and a key of another team."""
    simulator = account()
    headers = (
        ("upstash-failure-callback", "https://evil.example/"),
        ("upstash-label", "theirs"),
        ("upstash-flow-control-key", "their-key"),
    )
    made(simulator, f"{RESUME}?dlqIds=d1", headers=headers)
    run = simulator.runs[-1]
    assert simulator.holdings.callbacks == {run.run_id: "https://evil.example/"}
    assert (run.labels, run.flow_control_key) == (("theirs",), "their-key")


# ---------------------------------------------------------------- the other reading


def test_each_danger_that_is_not_known_can_be_turned_off() -> None:
    """A gateway has to be right under both readings, so a test can have the harmless one."""
    mild: dict[str, Any] = {"prefixes": False, "keeps_started": False, "stops_runs": False}
    simulator = account(held=small_holdings(Manner(**mild)))
    assert made(simulator, f"{DELETE}?workflowUrl={URL}").hit == ("d1",)
    assert made(simulator, f"{RESTART}/d2").hit == ("d2",)
    assert made(simulator, f"{RESTART}/d2").status == 404
    assert made(simulator, f"{CANCEL}/step").run_ids == ()
