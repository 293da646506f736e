"""The table of principals is bounded, and forgets no one who has something in flight."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway.callers.admission import MAX_PRINCIPALS, Admission
from gateway.core.errors import Throttled
from gateway.core.request import Principal


def who(number: int) -> Principal:
    """A subject of a token; the next job has another."""
    return Principal("billing", f"https://issuer.example#job-{number}")


def once(admission: Admission, principal: Principal, at_s: float = 0) -> None:
    """One request that comes and goes."""
    with admission.place(principal, at_s):
        pass


def test_ever_new_subjects_do_not_fill_the_memory() -> None:
    """An issuer may name a new subject in each token; the table stays as large as it may be."""
    admission = Admission(max_in_flight=10, principal_in_flight=1, requests_per_minute=1)
    for number in range(MAX_PRINCIPALS + 100):
        once(admission, who(number))
    assert len(admission._uses) == MAX_PRINCIPALS
    with pytest.raises(Throttled):
        once(admission, who(MAX_PRINCIPALS + 99))


def test_who_came_lately_is_remembered() -> None:
    """The row asked for longest ago gives way; one that was asked for again does not."""
    admission = Admission(max_in_flight=10, principal_in_flight=1, requests_per_minute=2)
    for number in range(MAX_PRINCIPALS):
        once(admission, who(number))
    once(admission, who(0))
    once(admission, who(MAX_PRINCIPALS))
    with pytest.raises(Throttled):
        once(admission, who(0))
    once(admission, who(1))


def test_a_request_in_flight_keeps_its_place_in_the_table() -> None:
    """Its principal cannot get a second place by being forgotten, and leaving gives back what was taken."""
    admission = Admission(max_in_flight=10, principal_in_flight=1, requests_per_minute=0)
    with ExitStack() as flying:
        flying.enter_context(admission.place(who(0), 0))
        for number in range(1, MAX_PRINCIPALS + 100):
            once(admission, who(number))
        with pytest.raises(Throttled):
            once(admission, who(0))
    once(admission, who(0))


def test_two_tokens_of_one_subject_share_its_limits() -> None:
    """A new token is no new principal."""
    admission = Admission(max_in_flight=10, principal_in_flight=0, requests_per_minute=1)
    once(admission, Principal("billing", "i#ci", token_id="one", claims=(("sub", "ci"),), expires_ms=1))
    with pytest.raises(Throttled):
        once(admission, Principal("billing", "i#ci", token_id="two", expires_ms=2))
