"""The calls on messages that wait for their delivery: look at one, and cancel."""

from __future__ import annotations

from gateway.simulator.exchange import answer_of, error_of
from gateway.simulator.holdings.held import Done, Holdings, Turn
from gateway.simulator.holdings.selection import MESSAGES, page_of, read_selection
from gateway.simulator.holdings.things import Message

PATH = "/v2/messages"
MISSING = "message not found"


def shown(held: Holdings, turn: Turn) -> Done:
    """Show one message. No call lists them."""
    message = held.messages.get(turn.named(PATH))
    return Done(answer_of(200, message.wire()) if message else error_of(404, MISSING))


def cancelled(held: Holdings, turn: Turn) -> Done:
    """Cancel messages, and the runs whose steps they are. An ID in the path is answered with 202 or 404."""
    named = turn.named(PATH)
    if named:
        one = held.messages.get(named)
        return _cancel(held, [one], 202) if one else Done(error_of(404, MISSING))
    asked = read_selection(turn.call.query, turn.call.body, MESSAGES, turn.contract, prefixes=held.manner.prefixes)
    page, _ = page_of(held.messages.values(), asked, size=asked.count if turn.caps and not asked.ids else 0)
    return _cancel(held, page[: turn.at_most], 200)


def _cancel(held: Holdings, messages: list[Message], status: int) -> Done:
    for message in messages:
        del held.messages[message.message_id]
    stopped = tuple(message.run_id for message in messages if message.run_id) if held.manner.stops_runs else ()
    hit = tuple(message.message_id for message in messages)
    return Done(answer_of(status, {"cancelled": len(hit)}), hit, stopped=stopped)
