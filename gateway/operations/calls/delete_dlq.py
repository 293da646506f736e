"""`delete_dlq`: deletes failed runs from the dead letter queue, with `DELETE /v2/workflows/dlq[/{id}]`."""

from __future__ import annotations

from gateway.core.request import Action
from gateway.operations import entries
from gateway.operations.operation import Asked
from gateway.operations.overrides import no_overrides


def _no_headers(asked: Asked) -> tuple[tuple[str, str], ...]:
    no_overrides(asked.headers)
    return ()


OPERATION = entries.operation(
    Action.DELETE_DLQ,
    "DELETE",
    entries.DLQ,
    read=entries.reads(Action.DELETE_DLQ, entries.MOST_DELETED, _no_headers, takes_body=True),
    came_of=entries.deleted,
    answer=entries.answer_deleted,
    most=entries.MOST_DELETED,
)
