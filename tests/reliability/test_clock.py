"""A clock that is set back while the gateway serves: nothing that had ended begins again, and order stays."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import date

import pytest

from gateway.authn import Authenticator
from gateway.cancel import ByFilter
from gateway.errors import Throttled, Unauthenticated
from gateway.identity.settings import CallerKey
from gateway.limits import Admission
from gateway.outcome import Cancelled
from gateway.pipeline import Pipeline
from gateway.policy.model import CreatedCondition
from gateway.ports import Arrival
from tests.pipeline.fakes import HeldUpstream, MemoryLog, StillClock
from tests.pipeline.test_pipeline import ANN, POLICIES, REQUEST

KEY = b"qgk_ci_" + b"k" * 43
HOUR_MS = 3_600_000
EXPIRY_MS = 1_795_046_400_000
"""2026-11-19T00:00Z, the end of the key's last day."""


def authenticator() -> Authenticator:
    """Knows one key, good until the end of 2026-11-18."""
    key = CallerKey("ci", "billing", hashlib.sha256(KEY).digest(), expires=date(2026, 11, 18))
    return Authenticator([key], is_upstream_token=lambda digest: False)


def test_an_expired_key_stays_expired_when_the_clock_is_set_back() -> None:
    """The last millisecond is good, the next is not, and two hours back it is still not."""
    known = authenticator()
    assert known.authenticate(b"Bearer " + KEY, EXPIRY_MS - 1).key_id == "ci"
    for now_ms in (EXPIRY_MS, EXPIRY_MS - 1, EXPIRY_MS - 2 * HOUR_MS):
        with pytest.raises(Unauthenticated) as refused:
            known.authenticate(b"Bearer " + KEY, now_ms)
        assert refused.value.cause == "expired_key"


def test_a_minutes_requests_are_counted_by_a_clock_that_is_not_set() -> None:
    """The bucket takes monotonic seconds: it fills with time that passed, and with nothing else."""
    admission = Admission(max_in_flight=9, principal_in_flight=9, requests_per_minute=1)
    with admission.place(ANN, 100.0):
        pass
    with pytest.raises(Throttled), admission.place(ANN, 100.0):
        pass
    with admission.place(ANN, 161.0):
        pass


async def test_a_duration_is_never_negative() -> None:
    """The wall clock steps back an hour between intent and outcome; the duration is what passed."""
    clock, log, upstream = StillClock(), MemoryLog(), HeldUpstream()
    pipeline = Pipeline(upstream=upstream, upstream_url="https://up.example", audit=log, clock=clock)

    async def there() -> bool:
        return False

    running = asyncio.ensure_future(
        pipeline.run(POLICIES, ANN, REQUEST, arrival=Arrival("d1", "127.0.0.1", there, lambda: None))
    )
    await upstream.called.wait()
    clock.wall_ms -= HOUR_MS
    clock.steady_s += 1.5
    upstream.answer.set_result(Cancelled(200, 1))
    await running
    assert [closing.duration_ms for closing in log.closings()] == [1500]


def test_a_clock_before_this_project_existed_opens_no_window() -> None:
    """With a clock in 1970 every date would lie within the last day: nothing is contained, everything overlaps."""
    last_day = CreatedCondition(within_last_ms=24 * HOUR_MS)
    since_ever, long_ago = ByFilter(labels=("x",), from_date=10**12), ByFilter(labels=("x",), to_date=10**12)
    assert not last_day.contains(since_ever, 60_000)
    assert last_day.overlaps(long_ago, 60_000)


def test_a_key_that_ended_before_this_project_existed_never_begins_again() -> None:
    """A start with the clock in 1970 revives no key."""
    key = CallerKey("ci", "billing", hashlib.sha256(KEY).digest(), expires=date(2025, 12, 31))
    with pytest.raises(Unauthenticated):
        Authenticator([key], is_upstream_token=lambda digest: False).authenticate(b"Bearer " + KEY, 60_000)
