"""The reply to one request on its way out: written once, with its place released, and then told to operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway.core.outcome import Cancelled, NotSent, Refused, Unknown
from gateway.core.ports import OperatorsLog
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.head import GONE, TAKEN, WHOLE
from gateway.edge.inbound import Inbound
from gateway.execution.in_flight import Done
from gateway.operations.words import words_of
from gateway.process import Net, fault_of, place, report
from gateway.upstream.settings import REFUSING, WRITING, refused


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


Headers = list[tuple[bytes, bytes]]

_CONTROLS = bytes((byte < 0x20 or byte == 0x7F) and byte != ord("\t") for byte in range(256))
"""By byte: 1 if no value of a header may have it (RFC 9110, 5.5)."""


@lru_cache(maxsize=8)
def _kept_for(seconds: int) -> tuple[Headers, bytes]:
    """Return the headers that say how long a connection is kept after an answer, as pairs and as lines."""
    headers = [(b"connection", b"keep-alive"), (b"keep-alive", b"timeout=%d" % seconds)]
    return headers, _lines(headers)


def _lines(headers: Headers) -> bytes:
    return b"\r\n".join([*map(b": ".join, headers), b""])


class Cycle(RequestResponseCycle):
    """uvicorn's ASGI call of one request. An answer that has a length is written at once, its head with its body.

    An answer that keeps the connection says for how long, `keep_alive_s`. A request without a whole answer ends its
    connection: uvicorn would add an answer of its own, with no decision id.
    """

    def __init__(
        self, protocol: HttpToolsProtocol, *, keep_alive: bool, keep_alive_s: int, untaken_bytes: Callable[[], int]
    ) -> None:
        super().__init__(
            protocol.scope,
            protocol.transport,
            protocol.flow,
            protocol.logger,
            protocol.access_logger,
            protocol.access_log,
            protocol.server_state.default_headers,
            asyncio.Event(),
            # RFC 9110, 10.1.1: in HTTP/1.1 the expectation was refused, in HTTP/1.0 it is ignored.
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=protocol.on_response_complete,
        )
        self._kept, self._kept_lines = _kept_for(keep_alive_s)
        self._head: bytes | None = None
        self._untaken_bytes = untaken_bytes
        self._taken = False
        state = self.scope["state"]
        state[GONE], state[WHOLE], state[TAKEN] = self.gone, self.take, self.was_taken

    def gone(self) -> bool:
        """Return what `receive` would say at once: whether the caller has disconnected."""
        self.flow.resume_reading()
        return self.disconnected or self.response_complete

    def was_taken(self) -> bool:
        """Return whether all of the answer had left this process when its end was written.

        What the kernel has may be lost on its way. What it had not taken counts as written to nobody, although it may
        still be read.
        """
        return self._taken

    async def run_asgi(self, app: Any) -> None:  # noqa: ANN401 - uvicorn's own types are private
        """Call the application, and end the connection if it gave no whole answer."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            pass  # the end of its task is no fault
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            report(fault_of(exc), "a request was not answered")
        if not self.response_complete and not self.disconnected:
            # Earlier answers are still passed on. A part of this one is too short for its length, so nobody takes it
            # for whole.
            self.disconnected = True
            self.transport.close()
        # Nothing of the request may lead back to it, so that it is freed at once.
        self.on_response = _nothing
        self._untaken_bytes = int
        self.scope["state"].clear()

    def take(self, answer: Answer) -> bool:
        """Write a whole answer and return true, if none is begun and the connection takes it at once.

        It says in one step what the two messages of `answers.write` say, and leaves to them what is not as usual.
        Raises: RuntimeError: the answer is not valid; nothing is written.
        """
        if self.response_started or self.disconnected or self.flow.write_paused:
            return False
        head = self._bounded(answer.status, answer.headers)
        if head is None or len(answer.body) != self.expected_content_length:
            return False
        self.response_started = True
        self._whole(head, answer.body)
        return True

    async def send(self, message: Any) -> None:  # noqa: ANN401 - as above
        """Take one message of the answer. Raises: RuntimeError: it is not the one that is due."""
        # Whether the connection is kept may change while an earlier answer waits to be read.
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self._head is not None and message["type"] == "http.response.body" and not message.get("more_body"):
            self._whole(self._head, message.get("body", b""))
            return
        if self._head is not None:
            head, self._head = self._head, None
            self.transport.write(head)
        elif not self.response_started and message["type"] == "http.response.start":
            headers: Headers = list(message.get("headers", ()))
            self._head = self._bounded(message["status"], headers)
            if self._head is not None:
                self.response_started = True
                return
            if self.keep_alive and not any(name == b"connection" for name, _ in headers):
                message = {**message, "headers": headers + self._kept}
        await super().send(message)
        self._taken = self.response_complete and not self._untaken_bytes()

    def _bounded(self, status: int, headers: Headers) -> bytes | None:
        """Return the head of an answer that has a length and keeps the connection; None for any other, or to HEAD."""
        headers = [*self.default_headers, *headers]
        found = dict(headers)
        names = tuple(found)
        if not self.keep_alive or len(names) != len(headers) or self.scope["method"] == "HEAD" or not _bounds(names):
            return None
        # Joined with a sign that each of them may have, all are checked at once.
        values = b"\t".join(found.values())
        if b"\x01" in values.translate(_CONTROLS):
            raise RuntimeError("the value of a header is not valid")
        self.expected_content_length, self.chunked_encoding = int(found[b"content-length"]), False
        return b"%b%b%b\r\n" % (STATUS_LINE[status], _lines(headers), self._kept_lines)

    def _whole(self, head: bytes, body: bytes) -> None:
        if len(body) != self.expected_content_length:
            raise RuntimeError("the body has another length than its header says")
        self.expected_content_length = 0
        self.transport.write(head + body)
        # A write that fails closes the transport.
        self._taken = not self.transport.is_closing() and not self._untaken_bytes()
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


@lru_cache(maxsize=64)
def _bounds(names: tuple[bytes, ...]) -> bool:
    """Return whether headers of these names give an answer its length, and nothing else about its framing."""
    if any(HEADER_RE.search(name) or not name.islower() for name in names):
        return False
    return b"content-length" in names and b"transfer-encoding" not in names and b"connection" not in names


def _nothing() -> None:
    """Do nothing, once the request has ended."""


class ReleasingSend:
    """The ASGI `send` of one request, which releases the request's place when the answer begins.

    `begun` is true once the server has taken the beginning of the answer, `given_up` if it will not take one any more.
    """

    __slots__ = ("_inbound", "_send", "_take", "begun", "given_up")

    def __init__(self, inbound: Inbound, send: Send) -> None:
        self._inbound = inbound
        self._send = send
        self._take: Callable[[Answer], bool] | None = inbound.state.get(WHOLE)
        self.begun = self.given_up = False

    def whole(self, answer: Answer) -> bool:
        """Write a whole answer after releasing the place, if the server takes one at once; return whether it did."""
        self._inbound.leave()
        self.begun = taken = self._take is not None and self._take(answer)
        if taken:
            self._inbound.status = answer.status
        return taken

    async def __call__(self, message: Message) -> None:
        """Send one message of the answer, after releasing the place: a caller that reads slowly holds none.

        The server cancels requests whose answers wait behind earlier ones that are not read. A message that it has not
        taken waits once more, until the process ends: the caller may still read.
        """
        self._inbound.leave()
        self._inbound.status = message.get("status", self._inbound.status)
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
    if inbound is not None:
        answers.named(answer, inbound.correlation.request_id)
        answers.budgeted(answer, None if inbound.under is None else inbound.under.said)
    if inbound is None or (inbound.has_body() and not inbound.body_read):
        await answers.write(answer, send, more=[(b"connection", b"close")])
    elif not (isinstance(send, ReleasingSend) and send.whole(answer)):
        await answers.write(answer, send)


def if_broken(inbound: Inbound | None, decision_id: str) -> Answer:
    """Return the answer if our own code failed: after a cancel it refers the caller to the record."""
    if inbound is None or not inbound.cancel_begun:
        return answers.broken(decision_id)
    return answers.not_shown(decision_id, words_of(inbound.action))
