"""The entries of upstream's dead letter queue as values: types checked strictly, values by the grammar of requests.

Of an entry only what identifies it and tells its state is kept: its payload is dropped where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from gateway.core import grammar
from gateway.core.run import Run
from gateway.upstream.runs.entries import (
    UNKNOWN_ID,
    Seen,
    caller_ip_of,
    key_of,
    labels_in,
    optional_in,
    text_in,
    texts_of,
    time_in,
    url_alone,
)

_STATE = re.compile(r"[A-Z][A-Z_]{0,39}")


def read_failed(entry: object) -> Run | None:
    """Return the failed run in one entry; None if a value is missing, has another type, or breaks the grammar.

    `run_id` is the entry's own ID, and `created_ms` the time at which it came into the queue. A message that is no
    workflow's has no run, so it is none.
    """
    if not isinstance(entry, dict):
        return None
    try:
        return Run(
            run_id=grammar.item_id(text_in(entry, "dlqId")),
            workflow_url=grammar.url(text_in(entry, "workflowUrl")),
            created_ms=time_in(entry, "createdAt"),
            caller_ip=caller_ip_of(optional_in(entry, "callerIP")),
            flow_control_key=key_of(optional_in(entry, "flowControlKey")),
            labels=labels_in(entry),
            failed_run_id=grammar.run_id(text_in(entry, "workflowRunId")),
        )
    except ValueError:
        return None


def seen_failed(entry: object, is_secret: Callable[[str], bool]) -> Seen:
    """Read one entry. `is_secret` tells whether a text holds a secret."""
    run = read_failed(entry)
    if run is not None and not is_secret(texts_of(run)):
        return Seen(run.run_id, run)
    entry_id = _id_alone(entry)
    return Seen(UNKNOWN_ID if is_secret(entry_id) else entry_id, None, url_alone(entry, is_secret))


def shown_of(run: Run, entry: Mapping[str, object]) -> dict[str, object]:
    """Return the members of an entry that are shown: what identifies it, and what tells how the run failed."""
    began_ms, state, status = (entry.get(name) for name in ("workflowCreatedAt", *_TOLD))
    return {
        "dlqId": run.run_id,
        "workflowRunId": run.failed_run_id,
        "workflowUrl": run.workflow_url,
        "createdAt": run.created_ms,
        **({"workflowCreatedAt": began_ms} if type(began_ms) is int else {}),
        **({"callerIP": run.caller_ip} if run.caller_ip is not None else {}),
        **({"flowControlKey": run.flow_control_key} if run.flow_control_key is not None else {}),
        **({"label": run.labels[0]} if run.labels else {}),
        "labels": list(run.labels),
        **({_TOLD[0]: state} if isinstance(state, str) and _STATE.fullmatch(state) else {}),
        **({_TOLD[1]: status} if type(status) is int else {}),
    }


_TOLD = ("failureFunctionState", "responseStatus")


def _id_alone(entry: object) -> str:
    """Return the ID of an entry, even if nothing else of it can be read; `?` if there is none."""
    try:
        return grammar.item_id(text_in(entry, "dlqId")) if isinstance(entry, dict) else UNKNOWN_ID
    except ValueError:
        return UNKNOWN_ID
