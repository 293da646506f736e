"""A plan of another action comes back from the store as it was made: its filter, its headers, its entries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.plan import Permit
from gateway.core.request import Action, ActionRequest, ByIds, FailedFilter, Principal
from gateway.core.run import Resolved, Run
from gateway.execution.plans.draft import Draft, State, Times
from gateway.execution.plans.kept import draft_of, row_of
from gateway.execution.ports import Call
from gateway.policy.rules import Policies

URL = "https://a.example/x"
ENTRIES = (
    Run("1726154-0", URL, 1_794_000_000_000, failed_run_id="wfr_1"),
    Run("1726155-0", URL, 1_794_000_000_001, labels=("nightly",), failed_run_id="wfr_2"),
)
FILTER = FailedFilter(workflow_urls=(URL,), exact=True, labels=("nightly",), failed_run_ids=("wfr_1", "wfr_2"))


async def here() -> bool:
    return False


@pytest.mark.parametrize(
    "asked",
    [
        ActionRequest(FILTER, 100, action=Action.DELETE_DLQ),
        ActionRequest(FailedFilter(failed_run_ids=("wfr_1",)), 5, reason="stuck", action=Action.RESUME_DLQ),
        ActionRequest(
            ByIds(("1726154-0",), "dlqIds"), 1, action=Action.RESTART_DLQ, overrides=(("Upstash-Retries", "3"),)
        ),
        ActionRequest(ByIds(("msg_1",), "messageIds"), 1, action=Action.CANCEL_MESSAGES),
    ],
    ids=lambda asked: asked.action,
)
def test_what_is_read_is_what_was_kept(asked: ActionRequest) -> None:
    """Nothing of it widens on the way: neither the filter nor the list."""
    call = Call(Policies((), ""), Principal("a", "k"), asked, "d1", None, here, lambda: None)
    now_ms = 1_795_000_000_000
    times = Times(now_ms, now_ms + 1, now_ms + 600_000, now_ms + 1_200_000)
    permit = Permit("a/r", "permit", None, replace(asked))
    draft = Draft(call, permit, 0.0, State.READY, times=times, resolved=Resolved(ENTRIES), planned=1)
    read = draft_of(row_of(draft), now_ms=now_ms, monotonic_s=0.0)
    assert read.call.request == asked
    assert type(read.call.request.selection) is type(asked.selection)
    assert (read.call.request.overrides, read.call.request.reason) == (asked.overrides, asked.reason)
    assert read.resolved.runs == ENTRIES
