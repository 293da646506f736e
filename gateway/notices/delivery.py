"""The task that delivers the notices of one receiver, one after another: leased, sent, and given back if not taken.

Every notice is tried until the receiver takes it, at intervals that double up to five minutes. So is the receiver: one
that is away costs an attempt at such intervals, however much waits for it. A lease keeps other gateways away for longer
than an attempt takes; one whose holder died is free when it ends, and its notice is then sent again under its ID.
A receiver that is away keeps no other waiting: each has a task of its own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from gateway.core.errors import StateUnavailable
from gateway.core.ports import OperatorsLog
from gateway.notices.post import ATTEMPT_S, Failure
from gateway.process import Net, report
from gateway.state.notices import TakenNotice
from gateway.state.port import Notices

LEASE_MS = 20_000
"""How long a taken notice is this gateway's alone, in milliseconds: twice as long as an attempt."""
EVERY_S = 1.0
"""How often the store is asked for what is due, in seconds; what was written here is taken at once."""
FIRST_WAIT_S, MOST_WAIT_S = 2.0, 300.0
"""The waits before a notice, or a receiver, is tried again, in seconds: they double from the first to the last."""


class PostPort(Protocol):
    """The way to one receiver."""

    async def deliver(self, notice: TakenNotice) -> Failure | None:
        """Send a notice once; return why it was not taken. Never raises."""


class Delivery:
    """The notices of one receiver, which is `name` in the store and `shown` in messages; `holder` is this gateway."""

    def __init__(
        self,
        store: Notices,
        post: PostPort,
        *,
        name: str,
        shown: str,
        holder: str,
        log: OperatorsLog,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._post = post
        self._name, self._shown, self._holder = name, shown, holder
        self._log = log
        self._monotonic_s = monotonic_s
        self._woken = asyncio.Event()
        self._failing: tuple[str, float] | None = None
        self._misses = 0
        self._paused_until_s = 0.0

    def wake(self) -> None:
        """Have the store asked at once."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            more = False
            with Net() as net, suppress(StateUnavailable):
                more = await self.deliver()
            if net.fault is not None:
                report(net.fault, "notices were not delivered")
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await self._woken.wait()
            self._woken.clear()

    async def deliver(self) -> bool:
        """Try the first notice that is due, once; return whether there was one.

        While the receiver is left alone there is none. Raises: StateUnavailable: nothing can be taken.
        """
        asked_s = self._monotonic_s()
        if asked_s < self._paused_until_s:
            return False
        taken = await self._store.take_notices(self._name, self._holder, most=1, lease_ms=LEASE_MS)
        if not taken or self._monotonic_s() - asked_s > LEASE_MS / 1000 - ATTEMPT_S:
            return False  # nothing is due; or this process was held up, and the lease may end while it sends
        await self._try(taken[0])
        return True

    def notices(self) -> list[str]:
        """Return the notice for operators while the receiver takes none."""
        if self._failing is None:
            return []
        cause, since_s = self._failing
        for_s = round(self._monotonic_s() - since_s)
        return [
            f"the receiver {self._shown} has taken no notice for {for_s} s ({cause}): they are kept, and tried again"
        ]

    async def _try(self, notice: TakenNotice) -> None:
        failure = await self._post.deliver(notice)
        self._tell(failure)
        # If the store is away, the lease ends by itself and the notice is sent again.
        with suppress(StateUnavailable):
            if failure is None:
                self._misses = 0
                await self._store.notice_delivered(notice)
                return
            pause_s = max(failure.wait_s, wait_after(self._misses))
            self._misses, self._paused_until_s = self._misses + 1, self._monotonic_s() + pause_s
            wait_s = max(failure.wait_s, wait_after(notice.attempts))
            await self._store.notice_postponed(notice, self._holder, round(wait_s * 1000))

    def _tell(self, failure: Failure | None) -> None:
        """Log that the receiver begins to fail, fails for another cause, or takes notices again; no more than that."""
        if failure is None:
            if self._failing is not None:
                self._log.info("notices_taken_again", receiver=self._shown)
            self._failing = None
        elif self._failing is None or self._failing[0] != failure.cause:
            since_s = self._monotonic_s() if self._failing is None else self._failing[1]
            self._failing = failure.cause, since_s
            self._log.error("notice_not_taken", receiver=self._shown, cause=failure.cause)


def wait_after(attempts: int) -> float:
    """Return how many seconds to wait after so many attempts, and one, have failed: at random the last half of it.

    So what was refused at one moment does not come back at one moment.
    """
    longest_s: float = min(FIRST_WAIT_S * 2 ** min(attempts, 20), MOST_WAIT_S)
    return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
