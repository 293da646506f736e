"""`resume_dlq`: goes on with failed runs where they failed, with `POST /v2/workflows/dlq/resume[/{id}]`."""

from __future__ import annotations

from gateway.core.request import Action
from gateway.operations import entries
from gateway.operations.overrides import overrides_in

OPERATION = entries.operation(
    Action.RESUME_DLQ,
    "POST",
    f"{entries.DLQ}/resume",
    read=entries.reads(Action.RESUME_DLQ, entries.MOST_STARTED, lambda asked: overrides_in(asked.headers)),
    came_of=entries.started,
    answer=entries.answer_started,
    most=entries.MOST_STARTED,
)
