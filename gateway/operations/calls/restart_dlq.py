"""`restart_dlq`: starts failed runs again from their beginning, with `POST /v2/workflows/dlq/restart[/{id}]`."""

from __future__ import annotations

from gateway.core.request import Action
from gateway.operations import entries
from gateway.operations.overrides import overrides_in

OPERATION = entries.operation(
    Action.RESTART_DLQ,
    "POST",
    f"{entries.DLQ}/restart",
    read=entries.reads(Action.RESTART_DLQ, entries.MOST_STARTED, lambda asked: overrides_in(asked.headers)),
    came_of=entries.started,
    answer=entries.answer_started,
    most=entries.MOST_STARTED,
)
