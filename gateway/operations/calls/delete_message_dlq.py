"""`delete_message_dlq`: deletes messages that could not be delivered, by ID, with `DELETE /v2/dlq[/{id}]`.

There is one dead letter queue, so an ID may be that of a failed run. A single delete is ordered as a list of one ID.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.outcome import Cancelled
from gateway.core.plan import Order
from gateway.core.request import Action, ActionRequest
from gateway.operations.id_lists import MOST_IDS, IdList
from gateway.operations.operation import CallForm, Operation, Said

PATH = "/v2/dlq"
"""The path of the call; behind it and a slash stands the ID of a single entry."""

_IDS = IdList(
    Action.DELETE_MESSAGE_DLQ,
    "dlqIds",
    "How QStash reads a filter of failed messages is not known, and it may delete more than you mean.",
)


def _target(order: Order) -> tuple[str, str]:
    return "DELETE", f"{PATH}?{order.query}"


def _came_of(said: Said) -> Cancelled | None:
    number = said.number("deleted")
    return None if number is None else Cancelled(said.status, number)


def _answer(asked: ActionRequest, done: Cancelled) -> Mapping[str, object] | None:
    # QStash answers a single delete without a body. One that deleted nothing says so.
    if asked.in_path and done.cancelled:
        return None
    # The order named everything that was asked for, so there is nothing to go on with.
    return {"cursor": "", "deleted": done.cancelled}


OPERATION = Operation(
    action=Action.DELETE_MESSAGE_DLQ,
    forms=(CallForm("DELETE", PATH), CallForm("DELETE", f"{PATH}/{{id}}", _IDS.name)),
    fields=(_IDS.name,),
    filters=frozenset(),
    read=_IDS.read,
    target=_target,
    came_of=_came_of,
    answer=_answer,
    most_ids=MOST_IDS,
)
