"""The notices of a gateway, joined: what happens here is put into the outbox, and each receiver has its delivery.

Freezes are noticed by whoever records them, as often as it takes until they are recorded; the rest as it happens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import uuid_utils

from gateway.audit.log import AuditState
from gateway.core.errors import StateUnavailable
from gateway.core.outcome import Excess
from gateway.core.ports import OperatorsLog
from gateway.fleet.recorded import What
from gateway.notices import events
from gateway.notices.delivery import Delivery
from gateway.notices.outbox import Outbox
from gateway.notices.post import Post
from gateway.notices.receivers import Receiver
from gateway.process import Net, report
from gateway.state.freezes import Freeze
from gateway.state.notices import ApprovalStep
from gateway.state.port import Notices
from gateway.upstream.shares import Desk

EVERY_S = 1.0
"""How often the state of the audit log is looked at, in seconds."""
LOOKS = 2
"""In how many looks in a row the audit log has to be unavailable, or available again, before that is told."""
OPENING = (None, "recovering", "stopped")
"""The causes that belong to the beginning and the end of a process, and are no fault."""
THREADS = 2


class AuditPort(Protocol):
    """The part of the audit log that is looked at."""

    @property
    def state(self) -> AuditState:
        """The state of the log now."""


class Noticed:
    """What this gateway, `gateway`, tells receivers. `now_ms` is the store's time as far as it is known."""

    def __init__(
        self,
        store: Notices,
        receivers: Sequence[Receiver],
        *,
        gateway: str,
        audit: AuditPort,
        now_ms: Callable[[], int],
        log: OperatorsLog,
        is_secret: Callable[[str], bool],
    ) -> None:
        self.outbox = Outbox(
            store,
            receivers,
            log=log,
            is_secret=lambda text: is_secret(text) or any(receiver.is_in(text) for receiver in receivers),
        )
        self._gateway, self._audit, self._now_ms = gateway, audit, now_ms
        self._desk = Desk("notices", THREADS)
        self._posts = [Post(receiver, self._desk) for receiver in receivers]
        self._deliveries = [
            Delivery(store, post, name=post.receiver.name, shown=post.receiver.url.origin, holder=gateway, log=log)
            for post in self._posts
        ]
        self.outbox.wakes = [delivery.wake for delivery in self._deliveries]
        self._tasks: list[asyncio.Task[None]] = []
        self._told_cause: str | None = None
        self._looks = 0

    def begin(self) -> None:
        """Begin to write and deliver notices, and to look at the audit log."""
        runs = [self.outbox.run(), self._look_for_ever(), *(delivery.run() for delivery in self._deliveries)]
        self._tasks = [asyncio.create_task(run) for run in runs]

    async def stop(self) -> None:
        """End; what is still held is written, if the store answers. What is on its way is sent again later."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StateUnavailable):
            await self.outbox.write()
        for post in self._posts:
            await post.aclose()
        self._desk.close()

    async def changed(self, freeze: Freeze, what: What) -> None:
        """Keep the notice of a freeze that began or was ended. Raises: StateUnavailable: to be called again."""
        await self.outbox.put([events.frozen(freeze) if what == "freeze" else events.thawed(freeze)])

    def exceeded(self, excess: Excess) -> None:
        """Note that QStash did more than was sent. Returns at once, never raises."""
        self.outbox.note(events.exceeded(excess, self._now_ms()))

    def reload_refused(self, why: str) -> None:
        """Note that changed files were refused. Returns at once, never raises."""
        self.outbox.note(events.reload_refused(_new_id("reload"), why, self._gateway, self._now_ms()))

    def approval(self, step: ApprovalStep) -> None:
        """Note a step of an approval. Returns at once, never raises."""
        self.outbox.note(events.approval(step))

    def look(self) -> None:
        """Note that the audit log has become unavailable, or available again, once several looks agree."""
        state = self._audit.state
        cause = None if state.ready else state.reason
        if not state.ready and (state.progress is not None or cause in OPENING):
            return
        if (cause is None) == (self._told_cause is None):
            self._looks = 0
            return
        self._looks += 1
        if self._looks == LOOKS:
            self._looks, self._told_cause = 0, cause
            self.outbox.note(events.audit_changed(_new_id("audit"), cause, self._gateway, self._now_ms()))

    def notices(self) -> list[str]:
        """Return the notices for operators: receivers that take none."""
        return [line for delivery in self._deliveries for line in delivery.notices()]

    async def _look_for_ever(self) -> None:
        while True:
            with Net() as net:
                self.look()
            if net.fault is not None:
                report(net.fault, "the audit log was not looked at")
            await asyncio.sleep(EVERY_S)


def _new_id(what: str) -> str:
    return f"{what}_{uuid_utils.uuid7()}"
