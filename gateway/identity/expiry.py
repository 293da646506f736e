"""Which credentials end soon: one sentence each, the same in `keys new`, `check` and `/readyz`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from gateway.identity.settings import CallerKey

SOON = timedelta(days=14)


def ending(last: date | None, today: date) -> str | None:
    """`expired on …` or `expires on …` if the last UTC day is past or at most fourteen days away; else None."""
    if last is None or last - today > SOON:
        return None
    return f"expired on {last}" if last < today else f"expires on {last}"


def expiring(keys: Iterable[CallerKey], today: date) -> Iterator[str]:
    """A sentence for each key that ends soon."""
    for key in keys:
        ends = ending(key.expires, today)
        if ends is not None:
            yield f"key {key.team}/{key.id}: {ends}"
