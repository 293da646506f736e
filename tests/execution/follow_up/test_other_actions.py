"""Only runs are read back: what became of an entry, a message or a pause nothing says later."""

from __future__ import annotations

import pytest

from gateway.audit.decisions.left_open import Left
from gateway.audit.record import intent_members, outcome_members
from gateway.core.outcome import Accepted, Cancelled, Closing, Outcome, Unknown
from gateway.core.plan import Permit, Plan, order_of
from gateway.core.request import Action, ActionRequest, ByIds, Principal
from gateway.execution.follow_up import _subject
from gateway.execution.left_over import LeftOver, left_over

REQUESTS = [
    ActionRequest(ByIds(("dlq_1",), "dlqIds"), 1, action=Action.RESTART_DLQ),
    ActionRequest(ByIds(("msg_1",), "messageIds"), 1, action=Action.CANCEL_MESSAGES),
    ActionRequest(ByIds(("gpu",), "flowControlKey"), 1, action=Action.PAUSE),
]
OUTCOMES: list[Outcome] = [Unknown("timeout"), Accepted(202, "act_1"), Cancelled(200, 1, "act_2")]


def plan(asked: ActionRequest) -> Plan:
    """A request that is sent as it is."""
    permit = Permit("a/r", "permit", None, asked)
    return Plan("d1", Principal("a", "k"), asked, permit, (order_of(asked),), "0" * 64, None)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda one: one.name)
@pytest.mark.parametrize("asked", REQUESTS, ids=lambda one: one.action)
def test_nothing_of_another_action_is_followed(asked: ActionRequest, outcome: Outcome) -> None:
    """A run may have the ID of an entry; what became of that run says nothing of the entry."""
    sent = plan(asked)
    left = LeftOver("d1", sent.principal, sent.orders, {}, outcome)
    assert _subject(left, reads_back=True) is None


@pytest.mark.parametrize("action", ["restart_dlq", "pause", "melt_dlq", 7])
def test_what_an_earlier_process_left_open_of_it_is_not_followed_either(action: object) -> None:
    """Also of an action that this version does not know."""
    closing = Closing(Unknown("timeout"), 0, 5, caller_gone=False)
    intent = {**intent_members(plan(REQUESTS[0]), upstream="u"), "action": action}
    assert left_over(Left(intent, outcome_members("d1", closing), None)) is None
