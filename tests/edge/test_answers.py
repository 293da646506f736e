"""The answer to a cancel that was not sent names who is to blame; to one that may have been, where to look."""

from __future__ import annotations

import json

import pytest

from gateway.core.outcome import Accepted, NotSent, Progress, Unknown
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.execution.in_flight import Result
from tests.audit.samples import ASKED, PERMIT, plan


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        ("refused", "QStash could not be reached"),
        ("pool_timeout", "QStash could not be reached"),
        ("internal_OverflowError", "The gateway ended it itself (internal_OverflowError)"),
        ("too_large", "The gateway ended it itself (too_large)"),
    ],
)
def test_only_a_cause_on_the_way_to_qstash_is_blamed_on_it(cause: str, why: str) -> None:
    """An operator who reads that QStash could not be reached looks at the network; a fault of ours is not there."""
    answer = answers.outcome(Result(plan(PERMIT, ASKED), NotSent(cause)), "d1")
    assert json.loads(answer.body)["error"] == f"{why}; nothing was sent and nothing was cancelled. Try again later."


UNKNOWN = (
    answers.outcome(Result(plan(PERMIT, ASKED), Unknown("timeout")), "d1"),
    answers.outcome(Result(plan(PERMIT, ASKED), Unknown("status", 500)), "d1"),
    answers.outcome(Result(plan(PERMIT, ASKED), Accepted(202, "act_1")), "d1"),
    answers.outcome(Result(plan(PERMIT, ASKED), Unknown("partial_audit", None, Progress(3, ("a",), ("b",)))), "d1"),
    answers.outcome(Result(plan(PERMIT, ASKED), Unknown("timeout"), over_cancelled=2), "d1"),
    answers.not_shown("d1"),
    answers.not_awaited("d1"),
)


@pytest.mark.parametrize("answer", UNKNOWN)
def test_every_unknown_outcome_says_where_it_will_be_known(answer: Answer) -> None:
    """A member for programs, and the sentence for people; neither sends a caller to the operators' record."""
    members = json.loads(answer.body)
    assert (answer.status, members["code"]) == (504, "outcome_unknown")
    assert members["status_url"] == "/gateway/v1/decisions/d1"
    assert "GET /gateway/v1/decisions/d1" in members["error"]
    assert "record" not in members["error"]
