"""`cancel_messages`: cancels messages that wait for their delivery, by ID, with `DELETE /v2/messages[/{id}]`.

A single cancel is ordered and answered as the cancel of this one ID in a list.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.outcome import Cancelled
from gateway.core.plan import Order
from gateway.core.request import Action, ActionRequest
from gateway.operations.id_lists import MOST_IDS, IdList
from gateway.operations.operation import CallForm, Operation, Said

PATH = "/v2/messages"
"""The path of the call; behind it and a slash stands the ID of a single message."""

_IDS = IdList(
    Action.CANCEL_MESSAGES,
    "messageIds",
    "How QStash reads a filter of messages is not known, and it may cancel more than you mean.",
)


def _target(order: Order) -> tuple[str, str]:
    return "DELETE", f"{PATH}?{order.query}"


def _came_of(said: Said) -> Cancelled | None:
    # The cancel of one ID in the path is answered with 202, of a list with 200; both say how many.
    number = said.number("cancelled")
    return None if number is None else Cancelled(said.status, number)


def _answer(_asked: ActionRequest, done: Cancelled) -> Mapping[str, object]:
    return {"cancelled": done.cancelled}


OPERATION = Operation(
    action=Action.CANCEL_MESSAGES,
    forms=(CallForm("DELETE", PATH), CallForm("DELETE", f"{PATH}/{{id}}", _IDS.name)),
    fields=(_IDS.name,),
    filters=frozenset(),
    read=_IDS.read,
    target=_target,
    came_of=_came_of,
    answer=_answer,
    most_ids=MOST_IDS,
)
