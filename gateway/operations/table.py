"""The table of all actions: what a method and a path ask for, and how an action is ordered and answered.

To add an action: a module in `calls`, its line here, its words in `words`, its tests, its page in docs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from gateway.core.request import Action
from gateway.operations.calls import (
    cancel_messages,
    cancel_runs,
    delete_dlq,
    delete_message_dlq,
    pause,
    restart_dlq,
    resume,
    resume_dlq,
    retry_message_dlq,
)
from gateway.operations.operation import CallForm, Operation

OPERATIONS: Mapping[Action, Operation] = {
    call.OPERATION.action: call.OPERATION
    for call in (
        cancel_runs,
        delete_dlq,
        resume_dlq,
        restart_dlq,
        cancel_messages,
        delete_message_dlq,
        retry_message_dlq,
        pause,
        resume,
    )
}
"""Every action that the gateway passes."""

_PLAIN = {
    (form.method, form.path): (operation, form)
    for operation in OPERATIONS.values()
    for form in operation.forms
    if form.field is None
}
_NAMING = tuple(
    (operation, form) for operation in OPERATIONS.values() for form in operation.forms if form.field is not None
)


def asked_by(method: str, path: str) -> tuple[Operation, CallForm] | None:
    """Return the action that a method and a raw path ask for, and the form of the call; None if they ask for none."""
    return _PLAIN.get((method, path)) or _named(method, path)


@lru_cache(maxsize=256)
def _named(method: str, path: str) -> tuple[Operation, CallForm] | None:
    for operation, form in _NAMING:
        if form.method == method and form.named(path) is not None:
            return operation, form
    return None
