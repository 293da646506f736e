"""Places and the bucket of a minute's requests: each principal its own, everyone together at most so many."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.callers.admission import COST_BYTES, MOST_WAITING_BYTES, Admission, Slot
from gateway.core.errors import Overloaded, Throttled
from gateway.core.request import Principal

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


def of_team(limits: Admission, number: int, team: str = "billing") -> Slot:
    """A place for one of ever new subjects of a team."""
    return limits.place(Principal(team, f"issuer#{number}"), 0.0)


def test_a_team_with_many_subjects_has_the_places_of_a_team() -> None:
    """However many keys or subjects it brings, another team finds its places free, and the sentence says why."""
    limits = Admission(max_in_flight=8, principal_in_flight=2, requests_per_minute=0, team_in_flight=4)
    with ExitStack() as held:
        for number in range(4):
            held.enter_context(of_team(limits, number))
        with pytest.raises(Throttled, match="limit of the team") as refused:
            of_team(limits, 4)
        assert (refused.value.cause, refused.value.limit) == ("team_in_flight", 4)
        for number in range(4):
            held.enter_context(of_team(limits, number, "search"))
    with of_team(limits, 4):
        pass


def test_waiting_for_a_cancel_under_way_is_bounded_like_being_in_flight() -> None:
    """For a principal, for a team and for all: who is above the limits holds no connections without end."""
    limits = Admission(max_in_flight=5, principal_in_flight=2, requests_per_minute=0, team_in_flight=3)
    search = [Principal("search", f"key{number}") for number in range(3)]
    with ExitStack() as held:
        for principal in (ONE, ONE, TWO):
            held.enter_context(limits.join(principal, 0.0))
        for principal, whose in ((ONE, "of you"), (TWO, "of your team")):
            with pytest.raises(Throttled, match=whose) as refused:
                limits.join(principal, 0.0)
            assert refused.value.cause == "joins"
        for principal in search[:2]:
            held.enter_context(limits.join(principal, 0.0))
        with pytest.raises(Throttled, match="of all callers"):
            limits.join(search[2], 0.0)
    with limits.join(ONE, 0.0), limits.join(ONE, 0.0):
        pass


@pytest.mark.parametrize("pieces", [(80_000,), (8_192,) * 10, (1,) * 100], ids=["at once", "in chunks", "bytes"])
def test_a_body_costs_what_was_read_of_it(pieces: tuple[int, ...]) -> None:
    """However it came: the bucket holds one request for each 8 KiB less, also where it broke off."""
    limits = admission(per_minute=100)
    place = limits.place(ONE, 0.0)
    with contextlib.suppress(ConnectionError), place, place.reading() as reading:
        for piece in pieces:
            reading.took(piece)
        raise ConnectionError
    left = sum(passes(limits, ONE, 0.0) for _ in range(100))
    assert left == 100 - 1 - sum(pieces) // COST_BYTES


def test_bytes_of_unfinished_bodies_are_bounded_for_one_for_a_team_and_for_all() -> None:
    """Large bodies that never end fill no memory; what ended is free again."""
    limits = Admission(max_in_flight=99, principal_in_flight=0, requests_per_minute=0, team_in_flight=50)
    quarter = MOST_WAITING_BYTES // 4
    with ExitStack() as held:

        def waits(principal: Principal, count: int) -> None:
            """A body of which so much has come."""
            place = limits.place(principal, 0.0)
            held.enter_context(place)
            held.enter_context(place.reading()).took(count)

        waits(ONE, quarter)
        with pytest.raises(Throttled) as refused:
            waits(ONE, 1)
        assert refused.value.cause == "waiting_bytes"
    with ExitStack() as held:
        waits(ONE, quarter)
        waits(TWO, quarter)
        with pytest.raises(Throttled, match="limit of the team"):
            waits(Principal("billing", "third"), 1)
    with ExitStack() as held:
        for team in "abcd":
            waits(Principal(team, "ci"), quarter)
        with pytest.raises(Overloaded):
            waits(Principal("e", "ci"), 1)
    with ExitStack() as held:
        waits(ONE, quarter)


def test_a_place_is_given_back_once() -> None:
    """Whoever leaves twice frees no other request's place."""
    limits = admission(most=2)
    first, _ = limits.place(ONE, 0.0), limits.place(TWO, 0.0)
    first.leave()
    first.leave()
    limits.place(ONE, 0.0)
    with pytest.raises(Overloaded):
        limits.place(ONE, 0.0)
