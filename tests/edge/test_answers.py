"""The answer to a cancel that was not sent names who is to blame."""

from __future__ import annotations

import json

import pytest

from gateway.core.outcome import NotSent
from gateway.edge import answers
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
