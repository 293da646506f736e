"""How long upstream wants readings to wait; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_WAIT_S = 10.0
DEFAULT_WAIT_S = 1.0
_NUMBER = re.compile(r"[0-9]{1,15}")


def wait_s(status: int, headers: Mapping[str, str], *, now_ms: int) -> float | None:
    """Seconds to wait before the next reading, at most ten; None where upstream asks for none.

    It asks with a 429, or with an answer after which nothing remains of the burst.
    """
    if status != 429 and headers.get("burst-ratelimit-remaining") != "0":
        return None
    after, reset = (_number(headers.get(name, "")) for name in ("retry-after", "burst-ratelimit-reset"))
    if status == 429 and after is not None:
        return _bounded(after)
    return DEFAULT_WAIT_S if reset is None else _bounded(_until(reset, now_ms))


def _until(reset: int, now_ms: int) -> float:
    """A reset is seconds, or a Unix time in seconds or milliseconds; no one waits for thirty years."""
    if reset >= 10**12:
        return (reset - now_ms) / 1000
    return reset - now_ms / 1000 if reset >= 10**9 else reset


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_WAIT_S)


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
