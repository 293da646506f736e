"""Upstream says how long to wait; nothing that it says makes the gateway wait long, or not at all where it must."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.runs.pages import DEFAULT_WAIT_S, MAX_WAIT_S, wait_s

NOW_MS = 1_795_000_000_000


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {}, None),
        (200, {"burst-ratelimit-remaining": "1", "burst-ratelimit-reset": "3"}, None),
        (200, {"burst-ratelimit-remaining": "0", "burst-ratelimit-reset": "3"}, 3),
        (200, {"burst-ratelimit-remaining": "0"}, DEFAULT_WAIT_S),
        (429, {"retry-after": "2", "burst-ratelimit-reset": "5"}, 2),
        (429, {"burst-ratelimit-reset": str(NOW_MS + 2500)}, 2.5),
        (429, {"burst-ratelimit-reset": str(NOW_MS // 1000 + 4)}, 4),
        (429, {"burst-ratelimit-reset": str(NOW_MS - 5000)}, 0),
        (429, {"retry-after": "3600"}, MAX_WAIT_S),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, DEFAULT_WAIT_S),
        (429, {"retry-after": "-1"}, DEFAULT_WAIT_S),
        (429, {}, DEFAULT_WAIT_S),
    ],
)
def test_a_wait_is_read_as_seconds_or_as_a_time(status: int, headers: dict[str, str], seconds: float | None) -> None:
    """A reset is seconds, a Unix time in seconds, or one in milliseconds; a 429 always means a wait."""
    assert wait_s(status, headers, now_ms=NOW_MS) == seconds


@given(
    st.sampled_from([200, 429, 500]),
    st.fixed_dictionaries(
        {},
        optional={
            name: st.text(max_size=20) | st.integers(0, 10**16).map(str)
            for name in ("retry-after", "burst-ratelimit-remaining", "burst-ratelimit-reset")
        },
    ),
)
def test_no_header_makes_the_gateway_wait_long(status: int, headers: dict[str, str]) -> None:
    """A wait lies between nothing and ten seconds; every 429 has one."""
    found = wait_s(status, headers, now_ms=NOW_MS)
    assert found is None or 0 <= found <= MAX_WAIT_S
    assert found is not None or status != 429
