"""Announcements to operators of what changes while the gateway runs: its clock, its keys, its audit directory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

from gateway.audit.log import AuditLog
from gateway.callers.in_force import InForce
from gateway.core.errors import AuditFailure
from gateway.core.forms.times import utc
from gateway.core.ports import OperatorsLog
from gateway.files.watch import EVERY_S
from gateway.process import Net, keep_what_lasts, report
from gateway.serving.clock import SteadyClock
from gateway.serving.readiness import AuditStatePort, tell_damaged
from gateway.serving.server import StopSignals

QUIET_OPENING_S = 1.0
"""How long, in seconds, opening the audit log may take before operators are told."""

MOST_NAMED = 10

TAMPERED = {
    "lock_deleted": "the lock file of the audit chain was deleted, and made again",
    "lock_replaced": "the lock file of the audit chain was replaced, and made again",
    "segment_deleted": "a file of the audit log was deleted while it was written",
    "segment_replaced": "a file of the audit log was replaced while it was written",
    "segment_truncated": "a file of the audit log was cut while it was written",
    "segment_extended": "somebody else wrote to a file of the audit log",
}
"""The faults of the audit directory that somebody else caused, by the word in `audit.notice` of `/readyz`, in words."""


def tampering(audit: AuditStatePort) -> list[str]:
    """Return a notice if the last fault found in the audit directory was somebody else's doing."""
    said = TAMPERED.get(audit.state.reason or "")
    return [] if said is None else [f"{said}: find out what changes files in the audit directory"]


class Announcer:
    """The part that checks once a second and logs changes only. It names the keys, which `/readyz` does not."""

    def __init__(
        self, clock: SteadyClock, live: Callable[[], InForce], log: OperatorsLog, audit: AuditStatePort
    ) -> None:
        self._clock = clock
        self._live = live
        self._log = log
        self._audit = audit
        self._tampered: str | None = None
        self._ahead = False
        self._endings: tuple[int, int] = (0, 0)

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            with Net() as net:
                self.look()
            if net.fault is not None:
                report(net.fault, "what operators have to know was not looked at")
            await asyncio.sleep(EVERY_S)

    def look(self) -> None:
        """Log what has changed since the previous look."""
        reason = self._audit.state.reason
        if reason in TAMPERED and reason != self._tampered:
            self._log.error(reason, problem=tampering(self._audit)[0])
        # Another fault may take its place for a while.
        self._tampered = reason if reason in TAMPERED else self._tampered
        notices = self._clock.notices()
        if notices and not self._ahead:
            self._log.error("clock_behind", problem=notices[0])
        if self._ahead and not notices:
            self._log.info("clock_caught_up")
        self._ahead = bool(notices)
        today, endings = utc(self._clock.now_ms()).date(), self._live().endings
        counts = endings.counts(today)
        if counts not in (self._endings, (0, 0)):
            named, (expired, soon) = endings.named(today, MOST_NAMED), counts
            self._log.info("keys_end", keys=named, more=expired + soon - len(named))
        self._endings = counts


async def until_opened(
    audit: AuditLog,
    ready: Callable[[], None],
    signals: StopSignals,
    begin: Callable[[], Coroutine[None, None, None]],
    log: OperatorsLog,
    directory: Path,
) -> None:
    """Wait for the audit log, and `begin` what reads it; if it cannot be opened the process ends.

    Raises: AuditFailure.
    """
    opened = asyncio.ensure_future(audit.opened())
    try:
        if not (await asyncio.wait({opened}, timeout=QUIET_OPENING_S))[0]:
            log.info("recovering", directory=str(directory), progress=audit.state.progress)
        await opened
    except AuditFailure:
        signals.end()
        raise
    tell_damaged(audit.state.damaged, log)
    if not signals.count:
        keep_what_lasts()
        ready()
        await begin()
