"""Who is calling: a key that is known and not expired, and one answer for every other header."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.callers.authenticate import MAX_CREDENTIAL_BYTES, Authenticator
from gateway.callers.settings import CallerKey
from gateway.core.errors import Unauthenticated
from gateway.core.request import Principal
from gateway.upstream.token import TokenHolder, UpstreamToken

KEY = "qgk_ci_" + "k" * 43
OLD = "qgk_old_" + "o" * 43
TOKEN = "eyJ-the-real-token"
LAST_DAY = date(2027, 6, 30)


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def known() -> Authenticator:
    keys = [CallerKey("ci", "billing", digest(KEY)), CallerKey("old", "billing", digest(OLD), LAST_DAY)]
    return Authenticator(keys, is_upstream_token=TokenHolder(UpstreamToken(TOKEN), 0).is_upstream_token)


def at_ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc,arg-type]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    """RFC 9110, 11.1: the scheme is case-insensitive; one or more spaces follow it."""
    for spaces in (" ", "   "):
        assert known().authenticate(f"{scheme}{spaces}{KEY}".encode(), 0) == Principal("billing", "ci")


def test_a_key_expires_at_the_end_of_its_utc_day() -> None:
    """The last millisecond of the day passes, the first of the next does not."""
    midnight_ms = at_ms(2027, 7, 1)
    assert known().authenticate(f"Bearer {OLD}".encode(), midnight_ms - 1) == Principal("billing", "old")
    for now_ms in (midnight_ms, midnight_ms + 1, at_ms(2099, 1, 1)):
        with pytest.raises(Unauthenticated) as refused:
            known().authenticate(f"Bearer {OLD}".encode(), now_ms)
        assert refused.value.cause == "expired_key"


def test_a_key_may_expire_on_the_last_day_that_dates_know() -> None:
    """A file that says 9999-12-31 for never is usable."""
    keys = [CallerKey("ci", "billing", digest(KEY), date(9999, 12, 31))]
    authenticator = Authenticator(keys, is_upstream_token=lambda digest: False)
    caller = authenticator.authenticate(f"Bearer {KEY}".encode(), at_ms(2500, 1, 1))
    assert caller == Principal("billing", "ci")


CAUSES = [
    (None, "no_credential"),
    (b"", "not_bearer"), (b"Bearer", "not_bearer"), (b"Bearer ", "not_bearer"), (b"Basic YTpi", "not_bearer"),
    (KEY.encode(), "not_bearer"), (f"Bearer\t{KEY}".encode(), "not_bearer"), (f"Bearer {KEY} ".encode(), "not_bearer"),
    (f" Bearer {KEY}".encode(), "not_bearer"), (f"Bearer {KEY} {KEY}".encode(), "not_bearer"),
    (f"Bearer {KEY}\n".encode(), "not_bearer"), (b"Bearer \xff", "not_bearer"),
    (b"Bearer " + b"x" * MAX_CREDENTIAL_BYTES, "not_bearer"),
    (f"Bearer {KEY}x".encode(), "unknown_key"), (f"Bearer {KEY[:-1]}".encode(), "unknown_key"),
    (f"Bearer {KEY.upper()}".encode(), "unknown_key"), (f"Bearer {digest(KEY).hex()}".encode(), "unknown_key"),
    (f"Bearer {KEY},{OLD}".encode(), "unknown_key"),
    (f"Bearer {TOKEN}".encode(), "upstream_token"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "cause"), CAUSES)
def test_every_other_header_gets_one_text_and_its_cause_for_the_record(header: bytes | None, cause: str) -> None:
    """A caller learns nothing from the answer; the record says why, also that the real token was sent."""
    with pytest.raises(Unauthenticated) as refused:
        known().authenticate(header, 0)
    assert refused.value.cause == cause
    assert refused.value.sentence == Unauthenticated("x").sentence


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda text: b"Bearer " + text)))
def test_no_other_bytes_are_a_caller(header: bytes) -> None:
    """Authentication is total: a principal for its key, Unauthenticated for everything else."""
    with pytest.raises(Unauthenticated):
        known().authenticate(header, 0)
