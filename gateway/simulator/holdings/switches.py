"""What can be paused and resumed: flow-control keys, queues and schedules. They, and URL groups, can be removed."""

from __future__ import annotations

import json

from gateway.simulator.exchange import Answer, Kind, error_of
from gateway.simulator.holdings.held import Done, Holdings, Turn

_OK = Answer(200, "")


def switched(held: Holdings, turn: Turn) -> Done:
    """Pause or resume what the path names. A schedule must exist; a key or queue can be paused."""
    name = turn.named("/v2").rpartition("/")[0]
    if name.startswith("schedules/") and name not in held.switches:
        return Done(error_of(404, "schedule not found"))
    held.switches[name] = turn.kind is Kind.PAUSE
    return Done(_OK, (name,))


def retuned(held: Holdings, turn: Turn) -> Done:
    """Pin or unpin the rate of a flow-control key, or reset its count. Only the ledger shows it."""
    return Done(_OK, (turn.named("/v2").rpartition("/")[0],))


def removed(held: Holdings, turn: Turn) -> Done:
    """Remove a queue, a schedule or a URL group."""
    name = turn.named("/v2")
    sort, _, own = name.partition("/")
    if sort == "topics" and own in held.topics:
        held.topics.remove(own)
    elif held.switches.pop(name, None) is None:
        return Done(error_of(404, f"{name} not found"))
    return Done(_OK, (name,))


def shown(held: Holdings, turn: Turn) -> Done:
    """Show one key, queue or schedule, or all of a sort."""
    sort, _, own = turn.named("/v2").partition("/")
    found = [
        _wire(sort, name.partition("/")[2], paused=paused)
        for name, paused in sorted(held.switches.items())
        if name.startswith(f"{sort}/") and own in ("", name.partition("/")[2])
    ]
    if own and not found:
        return Done(error_of(404, f"{sort}/{own} not found"))
    return Done(Answer(200, json.dumps(found[0] if own else found)))


def _wire(sort: str, name: str, *, paused: bool) -> dict[str, object]:
    match sort:
        case "flowControl":
            return {"flowControlKey": name, "waitListSize": 0, "isPaused": paused}
        case "queues":
            return {"name": name, "parallelism": 1, "lag": 0, "paused": paused}
        case _:
            return {"scheduleId": name, "cron": "0 3 * * *", "isPaused": paused}
