"""A token bucket: so many at once, then so many a second. It has no clock; the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """What is left of a budget, and when that was counted, in seconds of a monotonic clock.

    The size and the rate are arguments, because limits can change while a bucket is in use.
    """

    tokens: float
    filled_at_s: float

    def spend(self, now_s: float, *, size: float, per_second: float, cost: float = 1) -> float | None:
        """Fill the bucket up to now, and take `cost` if it holds at least one token.

        Return None if they were taken, otherwise the seconds until one token is there. A cost above what is left is
        taken all the same: nothing is refused for its size, and the debt is paid off before anything else passes.
        """
        self.tokens = min(size, self.tokens + (now_s - self.filled_at_s) * per_second)
        self.filled_at_s = now_s
        if self.tokens < 1:
            return (1 - self.tokens) / per_second
        self.tokens -= cost
        return None
