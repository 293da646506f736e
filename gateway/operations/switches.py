"""The calls that pause and resume: what both say of a flow-control key, a queue or a schedule.

Each names one thing in its path and says nothing else, but for how long a pause lasts, in a header that is never sent.
The path that is sent is made anew of the checked name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from gateway.core.errors import MalformedRequest
from gateway.core.outcome import Accepted, Cancelled
from gateway.core.parse import parse_until
from gateway.core.plan import Order
from gateway.core.request import UNTIL, Action, ActionRequest, ByIds
from gateway.operations.operation import Asked, CallForm, Operation, Said
from gateway.operations.overrides import no_overrides

_UNTIL = UNTIL.lower().encode("ascii")

_NO_PAUSE = "Only a pause ends by itself: leave the header Gateway-Until out of this call."

_PLACES = (
    ("POST", "/v2/flowControl/{id}", "flowControlKey"),
    ("POST", "/v2/queues/{id}", "queue"),
    # Clients send this method, the documents have the other; of two with one field the first is sent.
    ("PATCH", "/v2/schedules/{id}", "schedule"),
    ("POST", "/v2/schedules/{id}", "schedule"),
)


def refuse_until(header: Callable[[bytes], Sequence[bytes]]) -> None:
    """Raise MalformedRequest if a call that is no pause says how long it lasts; `header` looks a header up."""
    if header(_UNTIL):
        raise MalformedRequest("until", _NO_PAUSE)


def switching(action: Literal[Action.PAUSE, Action.RESUME]) -> Operation:
    """Return the operation that pauses, or the one that resumes."""
    forms = tuple(CallForm(method, f"{path}/{action.value}", field) for method, path, field in _PLACES)

    def read(form: CallForm, asked: Asked) -> ActionRequest:
        """Read one call. Raises: MalformedRequest: it says more than its path."""
        assert form.field is not None
        assert asked.named is not None
        if asked.query or asked.body.content or asked.body.content_encodings:
            sentence = f"The path says what to {action.value}: send no query, no body and no Content-Encoding."
            raise MalformedRequest("beside_the_path", sentence)
        no_overrides(asked.headers)
        until = parse_until(asked.header(_UNTIL)) if action is Action.PAUSE else None
        overrides = () if until is None else ((UNTIL, until),)
        return ActionRequest(ByIds((asked.named,), form.field), 1, action=action, overrides=overrides, in_path=True)

    def target(order: Order) -> tuple[str, str]:
        """Return method and path of an order's call."""
        assert isinstance(order.selection, ByIds)
        [name] = order.selection.ids
        form = next(form for form in forms if form.field == order.selection.name)
        return form.method, form.at(name)

    return Operation(
        action=action,
        forms=forms,
        fields=tuple(dict.fromkeys(field for _, _, field in _PLACES)),
        filters=frozenset(),
        read=read,
        target=target,
        came_of=_came_of,
        answer=_answer,
        most_ids=1,
    )


def _came_of(said: Said) -> Cancelled | Accepted | None:
    return Cancelled(said.status, 1) if said.is_empty else None


def _answer(_asked: ActionRequest, _done: Cancelled) -> Mapping[str, object] | None:
    return None
