"""`retry_message_dlq`: sends failed messages again, by ID, with `POST /v2/dlq/retry[/{id}]`.

Each becomes a new message, as the failed one was: no header that changes it is passed. A single retry is ordered as a
list of one ID.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.core import grammar
from gateway.core.outcome import Cancelled, Made
from gateway.core.plan import Order
from gateway.core.request import Action, ActionRequest
from gateway.operations.id_lists import MOST_IDS, IdList
from gateway.operations.operation import CallForm, Operation, Said

PATH = "/v2/dlq/retry"
"""The path of the call; behind it and a slash stands the ID of a single entry."""

_IDS = IdList(
    Action.RETRY_MESSAGE_DLQ,
    "dlqIds",
    "How QStash reads a filter of failed messages is not known, it knows no count here, and it may send more of them "
    "again than you mean.",
)


def _target(order: Order) -> tuple[str, str]:
    return "POST", f"{PATH}?{order.query}"


def _came_of(said: Said) -> Cancelled | None:
    match said.members:
        case {"responses": [*responses], **others} if "error" not in others:
            made = tuple(_made(responses))
            # One that cannot be read may be one that failed, so nobody knows how many were sent.
            is_known = len({one.made_id for one in made}) == len(responses)
            return Cancelled(said.status, len(made), made=made) if is_known else None
    return None


def _made(responses: list[object]) -> Iterator[Made]:
    """Yield the new messages, as far as they can be read."""
    for response in responses:
        match response:
            case {"messageId": str(message_id), **others} if "error" not in others and _is_id(message_id):
                yield Made(message_id)


def _is_id(text: str) -> bool:
    try:
        return grammar.item_id(text) == text
    except ValueError:
        return False


def _answer(asked: ActionRequest, done: Cancelled) -> Mapping[str, object]:
    responses = [{"messageId": one.made_id} for one in done.made]
    # The order named everything that was asked for, so there is nothing to go on with.
    return responses[0] if asked.in_path and len(responses) == 1 else {"cursor": "", "responses": responses}


OPERATION = Operation(
    action=Action.RETRY_MESSAGE_DLQ,
    forms=(CallForm("POST", PATH), CallForm("POST", f"{PATH}/{{id}}", _IDS.name)),
    fields=(_IDS.name,),
    filters=frozenset(),
    read=_IDS.read,
    target=_target,
    came_of=_came_of,
    answer=_answer,
    most_ids=MOST_IDS,
)
