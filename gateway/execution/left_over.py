"""What an earlier process followed when it ended, as values of this one: an outcome and its orders, from the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway.audit.decisions.left_open import Left
from gateway.core.errors import Refusal
from gateway.core.forms.query import COUNT, filter_in, query_values
from gateway.core.outcome import Accepted, Cancelled, Outcome, Progress, Unknown
from gateway.core.plan import Order
from gateway.core.request import CANCEL_RUNS, ByFilter, ByIds, Principal
from gateway.operations.calls.cancel_runs import EXACT, PARAMETERS, RUN_IDS

Members = Mapping[str, object]


class LeftOver(NamedTuple):
    """An outcome whose orders were sent by another process. `created_ms` holds what is known of the runs' creation.

    `rule` is the one that admitted it, as far as it is on record.
    """

    decision_id: str
    principal: Principal
    orders: tuple[Order, ...]
    created_ms: Mapping[str, int]
    outcome: Outcome
    rule: str | None = None


def left_over(left: Left) -> LeftOver | None:
    """Return what the records say; None if they do not say it in the form of this version.

    Only runs are read back, so there is nothing to follow of another action.
    """
    if left.intent.get("action", CANCEL_RUNS) != CANCEL_RUNS:
        return None
    intent, team, outcome = left.intent, left.intent.get("team"), _outcome(left.outcome)
    subject = str(intent.get("principal")).removeprefix(f"{team}/")
    queries = intent.get("orders")
    if outcome is None or not isinstance(team, str) or not isinstance(queries, list):
        return None
    try:
        orders = tuple(order_in(str(query)) for query in queries)
    except (Refusal, ValueError, TypeError):
        return None
    rule = intent.get("rule")
    principal, created_ms = Principal(team, subject), _created(left.plan)
    named = rule if isinstance(rule, str) else None
    return LeftOver(str(intent["decision_id"]), principal, orders, created_ms, outcome, named)


def order_in(query: str) -> Order:
    """Return the order of a canonical query, as an intent records it. Raises: Refusal, ValueError: it is none."""
    values = query_values(query.encode("latin-1"), PARAMETERS)
    count = COUNT.of(values)
    if count is None:
        raise ValueError("an order has a count")
    if RUN_IDS.name in values:
        return Order(ByIds(RUN_IDS.of(values)), count)
    selection = filter_in(values, exact=EXACT.of(values) or False)
    if not isinstance(selection, ByFilter):
        raise ValueError("an order names nothing that upstream does not know for certain")  # noqa: TRY004 - a text
    return Order(selection, count)


def _created(plan: Members | None) -> dict[str, int]:
    runs = plan.get("runs") if plan is not None else None
    found = {}
    for run in runs if isinstance(runs, list) else ():
        match run:
            case [str(run_id), _, int(created_ms)]:
                found[run_id] = created_ms
    return found


def _outcome(members: Members) -> Outcome | None:
    match members:
        case {"outcome": "accepted", "action_id": str(action_id), "upstream_status": int(status)}:
            return Accepted(status, action_id)
        case {"outcome": "cancelled", "action_id": str(action_id), "cancelled": int(cancelled)}:
            return Cancelled(None, cancelled, action_id)
        case {"outcome": "unknown"}:
            return Unknown(str(members.get("cause")), None, _progress(members.get("progress")))
    return None


def _progress(shown: object) -> Progress | None:
    match shown:
        case {"cancelled": int(cancelled), "unsent": list(unsent), "unknown": list(unknown)}:
            return Progress(cancelled, _texts(unsent), _texts(unknown))
    return None


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
