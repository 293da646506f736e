"""Requests for different actions are never taken for one another: in flight, by key, by approval."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from gateway.core.request import Action, ActionRequest, ByIds, Principal
from gateway.state.approvals import cancel_sha256
from gateway.state.once import binding, request_sha256

DELETED = ActionRequest(ByIds(("dlq_1",), "dlqIds"), 1, action=Action.DELETE_DLQ)
RESTARTED = replace(DELETED, action=Action.RESTART_DLQ)
DELAYED = replace(RESTARTED, overrides=(("Upstash-Delay", "5m"),))
PAUSED = ActionRequest(ByIds(("gpu",), "flowControlKey"), 1, action=Action.PAUSE)
RESUMED = replace(PAUSED, action=Action.RESUME)
RUN = ActionRequest(ByIds(("dlq_1",)), 1)
ALL = (DELETED, RESTARTED, DELAYED, PAUSED, RESUMED, RUN)


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(ALL, 2)])
def test_what_differs_in_the_action_or_its_headers_is_another_request(one: ActionRequest, other: ActionRequest) -> None:
    """It does not join, is another request under the same Idempotency-Key, and needs an approval of its own."""
    who = Principal("a", "k")
    assert one != other
    assert binding(who, "key", one.identity()) != binding(who, "key", other.identity())
    assert cancel_sha256(one) != cancel_sha256(other)


def test_how_it_was_written_makes_no_difference() -> None:
    """An ID in the path or in the query asks for the same."""
    assert replace(RESTARTED, in_path=True) == RESTARTED
    assert replace(RESTARTED, in_path=True).identity() == RESTARTED.identity()


def test_a_cancel_of_runs_is_kept_as_it_always_was() -> None:
    """A key that was sent before an update is known after it."""
    assert RUN.identity() == RUN.wire() == {"workflowRunIds": ["dlq_1"], "count": 1}
    assert request_sha256(RUN.identity()) == request_sha256({"workflowRunIds": ["dlq_1"], "count": 1})
