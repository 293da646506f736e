"""Orders about failed runs over a real connection: what is hit, with which headers, and what comes of it."""

from __future__ import annotations

import json

import pytest

from gateway.core.outcome import Cancelled, Outcome, Refused, Unknown
from gateway.core.plan import Order
from gateway.core.request import Action, ByIds
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Entry, Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.support.holdings import NOW_MS, RUNS, small_holdings
from tests.upstream.raw import RECEIPT, TOKEN, connected

DELETE, RESUME, RESTART = Action.DELETE_DLQ, Action.RESUME_DLQ, Action.RESTART_DLQ
KINDS = {DELETE: Kind.DELETE_DLQ, RESUME: Kind.RESUME_DLQ, RESTART: Kind.RESTART_DLQ}
PATHS = {DELETE: "/v2/workflows/dlq", RESUME: "/v2/workflows/dlq/resume", RESTART: "/v2/workflows/dlq/restart"}
OURS = {"host", "authorization", "accept", "accept-encoding", "user-agent"}
OVERRIDES = (("Upstash-Retries", "2"), ("Upstash-Flow-Control-Key", "k"))


def order(action: Action, *ids: str, headers: tuple[tuple[str, str], ...] = ()) -> Order:
    return Order(ByIds(ids, "dlqIds"), len(ids), action, headers)


async def sent(*orders: Order, answered: Fault | None = None) -> tuple[list[Outcome], list[Entry]]:
    """The outcome of each order, and what the account says of the calls."""
    simulator = Simulator(RUNS, holdings=small_holdings())
    if answered is not None:
        simulator.script(answered)
    with SimulatorServer(simulator, token=TOKEN, clock=lambda: NOW_MS) as server:
        async with connected(server.url) as upstream:
            outcomes = [await upstream.send(one, RECEIPT) for one in orders]
        return outcomes, list(server.ledger)


def answers(action: Action, members: object, status: int = 200) -> Fault:
    """A call that is answered with these members."""
    return Fault(on=KINDS[action], status=status, body=json.dumps(members))


@pytest.mark.parametrize("action", KINDS)
@pytest.mark.parametrize("ids", [("d1",), ("d1", "d3")])
async def test_the_named_entries_are_hit_and_no_other(action: Action, ids: tuple[str, ...]) -> None:
    """A single one by the call on many, too: an ID that were lost on the way could not widen it."""
    [outcome], [entry] = await sent(order(action, *ids))
    assert isinstance(outcome, Cancelled)
    assert (outcome.cancelled, set(entry.hit)) == (len(ids), set(ids))
    assert (entry.call.path, entry.call.query) == (PATHS[action], "&".join(f"dlqIds={one}" for one in ids))
    assert entry.call.body == b""
    assert len(outcome.made) == (0 if action is DELETE else len(ids))


@pytest.mark.parametrize("action", [RESUME, RESTART])
async def test_overrides_go_with_their_own_order_and_no_later_one(action: Action) -> None:
    """Beside the gateway's headers nothing else is sent, and what is kept of those stays as it is."""
    _, entries = await sent(order(action, "d1", headers=OVERRIDES), order(action, "d2"), order(DELETE, "d3"))
    first, *others = [{name.lower(): value for name, value in entry.call.headers} for entry in entries]
    assert {name: first[name] for name in ("upstash-retries", "upstash-flow-control-key")} == {
        "upstash-retries": "2",
        "upstash-flow-control-key": "k",
    }
    assert first.keys() - OURS <= {"upstash-retries", "upstash-flow-control-key", "content-length"}
    assert all(headers.keys() - OURS <= {"content-length"} for headers in others)


@pytest.mark.parametrize("action", [RESUME, RESTART])
async def test_an_id_that_is_missing_makes_the_outcome_unknown(action: Action) -> None:
    """QStash says 404, and may have started the others."""
    [outcome], [entry] = await sent(order(action, "d1", "gone"))
    assert (outcome, entry.hit) == (Unknown("status", 404), ("d1",))


@pytest.mark.parametrize("action", KINDS)
async def test_an_answer_that_is_lost_is_unknown_and_nothing_is_sent_again(action: Action) -> None:
    """The connection is cut after the call took effect."""
    fault = Fault(on=KINDS[action], acts=True, ending=Ending.CLOSE)
    [outcome], entries = await sent(order(action, "d1"), answered=fault)
    assert isinstance(outcome, Unknown)
    assert len(entries) == 1


@pytest.mark.parametrize("status", [401, 403, 412, 429])
async def test_a_call_that_is_turned_away_has_done_nothing(status: int) -> None:
    """As for a cancel."""
    [outcome], _ = await sent(order(RESTART, "d1"), answered=answers(RESTART, {"error": "no"}, status))
    assert isinstance(outcome, Refused)


async def test_a_run_whose_id_holds_the_token_is_not_told() -> None:
    """What was made is recorded and shown as it is, so such an answer counts as unreadable."""
    made = {"workflowRuns": [{"workflowRunId": TOKEN, "workflowCreatedAt": NOW_MS}]}
    [outcome], _ = await sent(order(RESTART, "d1"), answered=answers(RESTART, made))
    assert outcome == Unknown("no_cancelled", 200)
