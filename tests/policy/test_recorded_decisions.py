"""What was decided under rules without `resolve` before unmentioned filters, host and path came, is decided now."""

from __future__ import annotations

import json

import pytest

from tests.policy.recorded import RECORD, RULE_SETS, recorded_now


@pytest.fixture(scope="module")
def now() -> dict[str, object]:
    """All decisions of the corpus, made now."""
    return recorded_now()


@pytest.mark.parametrize("part", ["examples", "numbers", "digests"])
def test_every_decision_without_resolve_is_unchanged(now: dict[str, object], part: str) -> None:
    """Permit or deny, the rule, the count that is sent, the refusal's sentence, and the nearest that would be allowed.

    The examples come first, because they can be read; of a digest only the number of its rule set can.
    """
    assert now[part] == json.loads(RECORD.read_text(encoding="utf-8"))[part]


def test_the_record_holds_enough_of_both(now: dict[str, object]) -> None:
    """Some thousands of decisions, of which neither kind is rare."""
    numbers = now["numbers"]
    assert isinstance(numbers, dict)
    assert min(numbers.values()) >= RULE_SETS
    assert sum(numbers.values()) >= 4000
