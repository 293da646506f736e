"""Places and the bucket of a minute's requests: each principal its own, everyone together at most so many."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cancel import Principal
from gateway.errors import Overloaded, Throttled
from gateway.limits import Admission

ONE, TWO = Principal("billing", "ci"), Principal("billing", "laptop")


def admission(most: int = 10, each: int = 0, per_minute: int = 0) -> Admission:
    return Admission(max_in_flight=most, principal_in_flight=each, requests_per_minute=per_minute)


def passes(limits: Admission, principal: Principal, now_s: float) -> bool:
    try:
        with limits.place(principal, now_s):
            return True
    except Throttled:
        return False


def test_a_principal_holds_only_its_own_places() -> None:
    """One key's requests in flight never take the places of another."""
    limits = admission(each=2)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(limits.place(ONE, 0.0))
        with pytest.raises(Throttled) as refused, limits.place(ONE, 0.0):
            pytest.fail("a third place")
        assert (refused.value.cause, refused.value.limit, refused.value.retry_after_s) == ("in_flight", 2, 1)
        assert passes(limits, TWO, 0.0)


def test_all_principals_together_hold_the_places_of_the_gateway() -> None:
    """When every place is taken, anyone is told that the gateway is busy."""
    limits = admission(most=2)
    with ExitStack() as held:
        held.enter_context(limits.place(ONE, 0.0))
        held.enter_context(limits.place(TWO, 0.0))
        with pytest.raises(Overloaded), limits.place(Principal("search", "ci"), 0.0):
            pytest.fail("a third place")
    assert passes(limits, Principal("search", "ci"), 0.0)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_a_place_is_given_back_however_the_request_ends(error: type[BaseException]) -> None:
    """An error, or the caller going away, leaks no place."""
    limits = admission(most=1, each=1)
    for _ in range(3):
        with pytest.raises(error), limits.place(ONE, 0.0):
            raise error
    assert passes(limits, ONE, 0.0)


def test_a_refused_request_holds_no_place() -> None:
    """Being refused, for either reason, takes nothing from those who come next."""
    limits = admission(most=1)
    with limits.place(ONE, 0.0):
        for _ in range(3):
            with pytest.raises(Overloaded), limits.place(TWO, 0.0):
                pytest.fail("a second place")
    with limits.place(TWO, 0.0):
        pass


def test_the_bucket_holds_a_minute_and_refills_with_time() -> None:
    """A burst of a minute's requests passes, then one every 60 / n seconds; the wait that is told is long enough."""
    limits = admission(per_minute=6)
    assert [passes(limits, ONE, 100.0) for _ in range(7)] == [True] * 6 + [False]
    with pytest.raises(Throttled) as refused, limits.place(ONE, 100.0):
        pytest.fail("an eighth request")
    assert (refused.value.cause, refused.value.limit) == ("requests_per_minute", 6)
    assert refused.value.retry_after_s == 10
    assert passes(limits, TWO, 100.0)
    assert passes(limits, ONE, 100.0 + refused.value.retry_after_s)


@given(st.lists(st.integers(0, 240), min_size=1, max_size=60), st.integers(1, 20))
def test_no_minute_sees_more_than_two_buckets(quarters: list[int], per_minute: int) -> None:
    """Whenever requests come, a window of a minute admits at most the bucket and what flowed in meanwhile."""
    limits = admission(per_minute=per_minute)
    times = sorted(quarter / 4 for quarter in quarters)
    admitted = [now_s for now_s in times if passes(limits, ONE, now_s)]
    for start_s in admitted:
        assert sum(start_s <= now_s < start_s + 60 for now_s in admitted) <= 2 * per_minute


def test_zero_is_no_limit_for_a_principal() -> None:
    """Without per-principal limits only the gateway's own places count."""
    limits = admission()
    assert all(passes(limits, ONE, 0.0) for _ in range(1000))
