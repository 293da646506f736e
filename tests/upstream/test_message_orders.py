"""Orders about messages over a real connection to an account that holds some: what is hit, and what comes of it."""

from __future__ import annotations

import json

import pytest

from gateway.core.outcome import Cancelled, Outcome, Unknown
from gateway.core.plan import Order
from gateway.core.request import Action, ByIds
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Entry, Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.support.holdings import NOW_MS, RUNS, small_holdings
from tests.upstream.raw import RECEIPT, TOKEN, connected

CANCEL, DELETE, RETRY = Action.CANCEL_MESSAGES, Action.DELETE_MESSAGE_DLQ, Action.RETRY_MESSAGE_DLQ
NAMES = {CANCEL: "messageIds", DELETE: "dlqIds", RETRY: "dlqIds"}
KINDS = {CANCEL: Kind.CANCEL_MESSAGES, DELETE: Kind.DELETE_MESSAGE_DLQ, RETRY: Kind.RETRY_MESSAGE_DLQ}


async def sent(action: Action, *ids: str, answered: Fault | None = None) -> tuple[Outcome, Entry]:
    """The outcome of one order, and what the account says of the call."""
    simulator = Simulator(RUNS, holdings=small_holdings())
    if answered is not None:
        simulator.script(answered)
    with SimulatorServer(simulator, token=TOKEN, clock=lambda: NOW_MS) as server:
        async with connected(server.url) as upstream:
            outcome = await upstream.send(Order(ByIds(ids, NAMES[action]), len(ids), action), RECEIPT)
        [entry] = server.ledger
    return outcome, entry


def answers(action: Action, members: object, status: int = 200) -> Fault:
    """A call that is answered with these members."""
    return Fault(on=KINDS[action], status=status, body=json.dumps(members))


@pytest.mark.parametrize("ids", [("m",), ("m", "m2")])
async def test_the_named_messages_are_cancelled_and_no_other(ids: tuple[str, ...]) -> None:
    """A single one by the call on many, too: an ID that were lost on the way could not widen it."""
    outcome, entry = await sent(CANCEL, *ids)
    assert (outcome, set(entry.hit), entry.call.path) == (Cancelled(200, len(ids)), set(ids), "/v2/messages")


async def test_what_is_missing_is_not_counted() -> None:
    """The answer says how many there were."""
    assert (await sent(CANCEL, "m", "gone"))[0] == Cancelled(200, 1)
    assert (await sent(DELETE, "gone"))[0] == Cancelled(200, 0)


async def test_the_named_entries_are_deleted_and_no_other() -> None:
    """Nothing stands beside the IDs."""
    outcome, entry = await sent(DELETE, "d", "e")
    assert (outcome, set(entry.hit)) == (Cancelled(200, 2), {"d", "e"})
    assert (entry.call.path, entry.call.query, entry.call.body) == ("/v2/dlq", "dlqIds=d&dlqIds=e", b"")


async def test_a_retry_says_which_messages_it_made() -> None:
    """Each entry becomes a new message; the call has no body, and says so."""
    outcome, entry = await sent(RETRY, "d", "e")
    assert isinstance(outcome, Cancelled)
    assert (outcome.upstream_status, outcome.cancelled, len(outcome.made)) == (201, 2, 2)
    assert set(entry.hit) == {"d", "e"}
    assert (entry.call.method, entry.call.path, entry.call.query) == ("POST", "/v2/dlq/retry", "dlqIds=d&dlqIds=e")
    assert dict(entry.call.headers).get("content-length") == "0"


async def test_a_retry_of_which_one_is_missing_is_unknown() -> None:
    """The answer is 404, and the others were sent."""
    outcome, entry = await sent(RETRY, "d", "gone")
    assert (outcome, entry.hit) == (Unknown("status", 404), ("d",))


async def test_a_single_cancel_may_be_answered_with_202() -> None:
    """One text has it so, and a total is a total."""
    assert (await sent(CANCEL, "m", answered=answers(CANCEL, {"cancelled": 1}, 202)))[0] == Cancelled(202, 1)


@pytest.mark.parametrize(
    ("action", "members"),
    [
        (CANCEL, {"cancelled": 1, "error": "partial"}),
        (CANCEL, {"actionId": "action_1"}),
        (DELETE, {"cancelled": 1}),
        (DELETE, {"cursor": "", "deleted": 1, "error": "partial"}),
        (RETRY, {"messageId": "msg_1"}),
        (RETRY, {"cursor": "", "responses": [{"messageId": f"msg_{TOKEN}"}]}),
    ],
)
async def test_an_answer_that_is_not_trusted_is_unknown(action: Action, members: object) -> None:
    """Another shape, an error beside a number, or anything of the token in what would be shown."""
    assert (await sent(action, "x", answered=answers(action, members)))[0] == Unknown("no_cancelled", 200)
