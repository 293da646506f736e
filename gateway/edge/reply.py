"""The reply to one request on its way out: written once, with its place released, and then told to operators."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import Message, Send

from gateway.core.outcome import Cancelled, NotSent, Refused, Unknown
from gateway.core.ports import OperatorsLog
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound
from gateway.execution.pipeline import Done
from gateway.process import Net, place, report
from gateway.upstream.token import REFUSING, WRITING, refused


@dataclass(frozen=True, slots=True)
class Teller:
    """The writer of operators' log lines, used after the caller has its answer. A failing log fails no request."""

    log: OperatorsLog

    def tell(self, event: str, **members: object) -> None:
        """Write one line; if that fails, report it to the event loop's exception handler."""
        with Net() as net:
            self.log.error(event, **members)
            return
        report(net.caught, f"the operators' log failed to take {event}")

    def fault(self, fault: BaseException, decision_id: str) -> None:
        """Log a fault by its class and place only: its text may come from a caller or hold a secret."""
        self.tell("internal_error", decision_id=decision_id, error=type(fault).__name__, at=place(fault))

    def outcome(self, done: Done) -> None:
        """Log a cancel that upstream did not carry out as ordered. A plain success is only in the audit log."""
        outcome, decision_id = done.outcome, done.plan.decision_id
        if not isinstance(outcome, Cancelled):
            cause = outcome.cause if isinstance(outcome, (NotSent, Unknown)) else None
            status = outcome.upstream_status
            members: dict[str, object] = {"cause": cause, "upstream_status": status}
            if isinstance(outcome, Refused) and status in REFUSING:
                members["problem"] = refused(WRITING, status)
            self.tell(f"upstream_{outcome.name}", decision_id=decision_id, **members)
        elif over := done.result.over_cancelled:
            self.tell("over_cancelled", decision_id=decision_id, cancelled=outcome.cancelled, over_cancelled=over)


class ReleasingSend:
    """The ASGI `send` of one request, which releases the request's place when the answer begins.

    `begun` is true once the server has taken the beginning of the answer, `given_up` if it will not take one any more.
    """

    __slots__ = ("_inbound", "_send", "begun", "given_up")

    def __init__(self, inbound: Inbound, send: Send) -> None:
        self._inbound = inbound
        self._send = send
        self.begun = self.given_up = False

    async def __call__(self, message: Message) -> None:
        """Send one message of the answer, after releasing the place: a caller that reads slowly holds none.

        The server cancels requests whose answers wait behind earlier ones that are not read. A message that it has not
        taken waits once more, until the process ends: the caller may still read.
        """
        self._inbound.leave()
        try:
            try:
                await self._send(message)
            except asyncio.CancelledError:
                if _times_cancelled() > 1:
                    raise
                await self._send(message)
        except asyncio.CancelledError:
            self.given_up = True
            raise
        self.begun = True


def _times_cancelled() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def write(inbound: Inbound | None, answer: Answer, send: Send) -> None:
    """Write an answer, and close the connection if a body was left unread: its rest would read as the next request."""
    unread = inbound is None or (inbound.has_body() and not inbound.body_read)
    await answers.write(answer, send, more=[(b"connection", b"close")] if unread else None)


def if_broken(inbound: Inbound | None, decision_id: str) -> Answer:
    """Return the answer if our own code failed: after a cancel it refers the caller to the record."""
    settled = inbound is not None and inbound.settled
    return answers.not_shown(decision_id) if settled else answers.broken(decision_id)
