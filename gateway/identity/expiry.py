"""Which credentials end soon: one sentence each, the same in `keys new` and `check`; how many, in `/readyz`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from datetime import date, timedelta

from gateway.identity.settings import CallerKey

SOON = timedelta(days=14)


def ending(last: date | None, today: date) -> str | None:
    """`expired on …` or `expires on …` if the last UTC day is past or at most fourteen days away; else None."""
    if last is None or last - today > SOON:
        return None
    return f"expired on {last}" if last < today else f"expires on {last}"


class Endings:
    """The keys that have a last day, in its order: a look at them costs the same for ten and for ten thousand."""

    def __init__(self, keys: Iterable[CallerKey]) -> None:
        found = sorted((key.expires, f"{key.team}/{key.id}") for key in keys if key.expires is not None)
        self._days = [day for day, _ in found]
        self._names = [name for _, name in found]

    def counts(self, today: date) -> tuple[int, int]:
        """How many have expired, and how many expire within fourteen days."""
        expired = bisect_left(self._days, today)
        return expired, bisect_right(self._days, today + SOON) - expired

    def notices(self, today: date) -> list[str]:
        """At most two sentences, without a name: they are for a page that needs no key."""
        expired, soon = self.counts(today)
        sentences = []
        if expired:
            last = self._days[expired - 1]
            sentences.append(
                f"1 key expired on {last}" if expired == 1 else f"{expired} keys expired, the last on {last}"
            )
        if soon:
            first = self._days[expired]
            several = f"{soon} keys expire within {SOON.days} days, the first on {first}"
            sentences.append(f"1 key expires on {first}" if soon == 1 else several)
        return [f"{sentence}: check and the operators' log name keys" for sentence in sentences]

    def named(self, today: date, most: int) -> list[str]:
        """Of those that end soon or have, `most` by name and day: those that expire next, then those that just have."""
        expired, soon = self.counts(today)
        places = [*range(expired, expired + soon), *reversed(range(max(0, expired - most), expired))]
        return [f"key {self._names[at]}: {ending(self._days[at], today)}" for at in places[:most]]
