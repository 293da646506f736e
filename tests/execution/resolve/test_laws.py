"""What the comparison of the record with upstream is for: every way in which they may differ is counted."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.execution.resolve import laws
from tests.execution.resolve.laws import violations

PLAN: dict[str, object] = {"event": "plan", "decision_id": "d1", "runs": [["a", "u", 1], ["b", "u", 2]]}
FIRST, SECOND = "workflowRunIds=a&count=1", "workflowRunIds=b&count=1"
INTENT: dict[str, object] = {"event": "intent", "decision_id": "d1", "plan": "d1", "orders": [FIRST, SECOND]}
CHUNKS: list[dict[str, object]] = [{"event": "chunk", "decision_id": "d1", "number": number} for number in (1, 2)]
SLOW: dict[str, object] = {**CHUNKS[0], "order": FIRST, "outcome": "refused", "upstream_status": 429, "attempt": 1}
LOST: dict[str, object] = {**CHUNKS[0], "outcome": "unknown", "upstream_status": None, "attempt": 2}
OUTCOME: dict[str, object] = {"event": "outcome", "decision_id": "d1"}
WHOLE: list[dict[str, object]] = [PLAN, INTENT, *CHUNKS, OUTCOME]


def test_a_whole_record_breaks_no_law() -> None:
    """Also where only a part of an order was sent, or nothing."""
    for sent in ((), (FIRST,), (FIRST, SECOND)):
        assert violations(WHOLE, sent) == Counter()


def test_an_order_that_was_refused_for_the_pace_may_arrive_once_more() -> None:
    """Once for each record that says so."""
    assert violations([PLAN, INTENT, SLOW, *CHUNKS, OUTCOME], [FIRST, FIRST, SECOND]) == Counter()
    assert violations([PLAN, INTENT, SLOW, SLOW, *CHUNKS, OUTCOME], [FIRST] * 3) == Counter()


@pytest.mark.parametrize(
    ("records", "sent", "law"),
    [
        ([PLAN, INTENT, SLOW, LOST, OUTCOME], [FIRST] * 3, laws.TWICE),
        ([PLAN, INTENT, {**SLOW, "upstream_status": 412}, OUTCOME], [FIRST] * 2, laws.TWICE),
        ([PLAN, INTENT, SLOW, *CHUNKS, OUTCOME], [SECOND] * 2, laws.TWICE),
        (WHOLE, [FIRST, SECOND, FIRST], laws.TWICE),
        (WHOLE, ["label=x&count=5"], laws.OUTSIDE),
        (WHOLE, ["workflowRunIds=c&count=1"], laws.OUTSIDE),
        (WHOLE, ["workflowRunIds=a&workflowRunIds=b&count=2"], laws.NOT_INTENDED),
        ([INTENT, *CHUNKS, OUTCOME], [FIRST], laws.NOT_PLANNED),
        ([INTENT, PLAN, *CHUNKS, OUTCOME], [FIRST], laws.NOT_PLANNED),
        ([PLAN, {**INTENT, "orders": ["workflowRunIds=c&count=1"]}, OUTCOME], [], laws.NOT_PLANNED),
        ([PLAN, INTENT], [], laws.NOT_CLOSED),
        ([*WHOLE, OUTCOME], [], laws.NOT_CLOSED),
        ([PLAN, INTENT, OUTCOME], [FIRST, SECOND], laws.NOT_NOTED),
    ],
)
def test_each_broken_law_is_seen(records: list[dict[str, object]], sent: list[str], law: str) -> None:
    """A run twice, a filter, a foreign run, two orders in one, no plan before, no closing, no record between orders."""
    assert violations(records, sent)[law] == 1
