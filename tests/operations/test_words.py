"""Every action is spoken of in its own words, and a cancel of runs in those that it always had."""

from __future__ import annotations

import pytest

from gateway.core.request import Action
from gateway.operations.table import OPERATIONS
from gateway.operations.words import OTHER, WORDS, words_of


def test_every_action_has_words() -> None:
    """Also one that this version does not pass."""
    assert set(WORDS) == set(Action) >= set(OPERATIONS)


@pytest.mark.parametrize("action", Action)
def test_words_are_plain(action: Action) -> None:
    """Small letters without a sign, as they stand in the middle of a sentence; what to do is a sentence."""
    *parts, repeat = WORDS[action]
    assert all(one.isalpha() and one.islower() for one in parts)
    assert repeat.endswith(".")


def test_a_number_of_things_is_said_as_people_say_it() -> None:
    """One of them, or several."""
    entries, runs = WORDS[Action.DELETE_DLQ], WORDS[Action.CANCEL_RUNS]
    assert (entries.number(1), entries.number(2), runs.number(1000)) == ("1 entry", "2 entries", "1000 runs")
    assert (runs.were(1), entries.were(3)) == ("1 run was", "3 entries were")
    assert (runs.number(1, before="more "), entries.number(2, before="more ")) == ("1 more run", "2 more entries")


def test_what_is_on_record_of_another_version_has_words_too() -> None:
    """A record without an action is of a version that only cancelled runs."""
    assert words_of(None) == words_of("cancel_runs") == WORDS[Action.CANCEL_RUNS]
    assert words_of("restart_dlq") == WORDS[Action.RESTART_DLQ]
    assert words_of("melt_dlq") == words_of(["restart_dlq"]) == OTHER
