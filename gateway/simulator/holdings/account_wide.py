"""The calls that reach the whole account: signing keys, and events that runs wait for."""

from __future__ import annotations

import json

from gateway.simulator.exchange import Answer, answer_of
from gateway.simulator.holdings.held import Done, Holdings, Turn, Waiter


def rotated(held: Holdings, turn: Turn) -> Done:
    """Make the next signing key the current one. Whoever verifies with the former current key verifies nothing now."""
    _, following = held.signing_keys
    held.signing_keys = (following, held.new_id("sig_"))
    return Done(_keys(held), held.signing_keys)


def keys_shown(held: Holdings, turn: Turn) -> Done:
    """Show the signing keys."""
    return Done(_keys(held))


def notified(held: Holdings, turn: Turn) -> Done:
    """Wake every run that waits for the event or, if the path names a run, that one."""
    first, _, second = turn.named("/v2/notify").partition("/")
    run_id, event_id = (first, second) if second else ("", first)
    woken = [each for each in held.waiters if each.event_id == event_id and run_id in ("", each.run_id)][: turn.at_most]
    held.waiters = [each for each in held.waiters if each not in woken]
    told = [{"waiter": _wire(each), "messageId": held.new_id("msg_"), "workflowRunId": each.run_id} for each in woken]
    # An event for one run is kept until the run waits for it.
    one = told[0] if told else {"messageId": "", "workflowRunId": run_id}
    return Done(Answer(201, json.dumps(one if run_id else told)), tuple(each.run_id for each in woken))


def waiters_shown(held: Holdings, turn: Turn) -> Done:
    """Show who waits for an event."""
    event_id = turn.named("/v2/waiters")
    return Done(Answer(200, json.dumps([_wire(each) for each in held.waiters if each.event_id == event_id])))


def _keys(held: Holdings) -> Answer:
    current, following = held.signing_keys
    return answer_of(200, {"current": current, "next": following})


def _wire(waiter: Waiter) -> dict[str, object]:
    return {"url": waiter.url, "headers": {"Upstash-Workflow-RunId": [waiter.run_id]}, "deadline": 0}
