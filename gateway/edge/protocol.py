"""A subclass of uvicorn's httptools protocol, for what the ASGI scope hides: raw target, headers, framing, deadlines.

A request that HTTP forbids never becomes an ASGI call. It is answered here, with a problem like every other refusal,
and the connection ends. While an earlier request of the same connection is in flight, the refusal is not written in its
place: the connection only stops reading, and ends after the answers that are due. If a body breaks off, the request
that waits for it is told, and answers. A peer that does not read its answers within the deadline loses the connection.

The parser does not read the body of a request that offers an upgrade; if the offer may be ignored, a second parser
reads it. An idle connection is kept for `keep_alive_s`, which is stated in every answer that keeps the connection.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, NoReturn, cast

import httptools
import uuid_utils
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.callers.forwarded import ip_address
from gateway.core.errors import MalformedRequest, ReceiveTimeout, Refusal, TooLarge
from gateway.core.forms.correlation import NOT_GIVEN
from gateway.edge import answers
from gateway.edge.connections import TEAM, Evictable, ProtocolSettings, unix_peer
from gateway.edge.head import (
    BROKEN_BODY,
    FRAMING_BYTES,
    MAX_HEADERS,
    MOST_FRAMING_BYTES,
    WHITESPACE,
    Checked,
    Head,
    check_head,
    headers_too_large,
    too_much_framing,
)
from gateway.edge.reply import Cycle

MAX_PIPELINED = 8
LINE_BYTES = 32
"""The bytes of a head that are neither target nor headers, at most."""
SEND_BUFFER_BYTES = 32_768
"""The most bytes of unread answers that the kernel holds. Without a bound they grow to megabytes; an answer is 2 kB."""

KEEP_ALIVE_MARGIN_S = 0.5
"""How much longer than stated a connection is kept: a request that was sent in time may still be on its way."""
LAST_LOOK_S = 0.001
"""The delay before an idle connection is closed, in which the loop reads bytes that have already arrived."""


class EdgeProtocol(HttpToolsProtocol):
    """The protocol of one connection."""

    team: str | None = None

    def __init__(self, *args: Any, settings: ProtocolSettings, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = settings.keep_alive_s + KEEP_ALIVE_MARGIN_S  # type: ignore[assignment]
        self.handshake: Evictable | None = None
        self.below: asyncio.Transport | None = None
        self._settings = settings
        self.url = b""
        self._refusal: Refusal | None = None
        self._ids = NOT_GIVEN
        self._ended = False
        self._in_head = True
        self._in_body = False
        self._checked: Checked | None = None
        self._is_chunked = False
        self._leaves_out_body = False
        self._head_bytes = 0
        self._header_bytes = 0
        self._framing_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._running: Cycle | None = None
        self._idle_since_s: float | None = None
        self._idle_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the first head; if too many connections are open, an idle one is closed."""
        super().connection_made(transport)
        if (peer := unix_peer(transport)) is not None:
            self.client = (peer, 0)
        elif self.client is not None and (address := ip_address(self.client[0])) is not None:
            self.client = (str(address), self.client[1])
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._settings.connections.opened(self, instead_of=self.handshake)
        self.handshake = None
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, stop its timers and tell the request that is being answered."""
        self._settings.connections.closed(self)
        self._stop_deadline()
        for timer in (self._taking, self._idle_check):
            if timer is not None:
                timer.cancel()
        self._ended = True
        # uvicorn tells only the newest request; with requests queued, the one being answered must know as well.
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # noqa: ANN401 - uvicorn's own types are private
        """Start a request's task, and note its end however it comes."""
        self._running = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Take a task off the server's list. One that was cancelled before it began leaves a request unanswered."""
        self.tasks.discard(task)
        if task.cancelled():  # a task that has begun catches its cancellation
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, within the size limit and the deadline of a head."""
        if self._ended or self.transport.is_closing():
            return
        self._idle_since_s = None
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        # The parser holds an unfinished header itself, so its memory is bounded here, before it is fed.
        self._head_bytes += len(data) if self._in_head else 0
        self._framing_bytes += len(data) if self._in_body else 0
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._end(self._refusal or MalformedRequest("http", "The bytes are not an HTTP/1.1 request."))
            return
        if self._in_head and self._head_bytes:
            self._check_unfinished_head()
        if self._in_body:
            self._check_unfinished_body()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            assert self._checked is not None
            self._leaves_out_body = False
            self.parser = _body_parser(self, self._checked.framing)
            self.parser.feed_data(data[stopped.args[0] :])

    def _check_unfinished_head(self) -> None:
        if self._head_bytes > self._settings.max_target_bytes + self._settings.max_header_bytes:
            self._end(headers_too_large(self._settings.max_header_bytes))
        elif self._deadline is None:
            self._start_deadline()

    def _note_framing(self) -> None:
        """Tell the request how much of its body was no content; it is charged for that as well."""
        if self._is_chunked:
            self.scope["state"][FRAMING_BYTES] = self._framing_bytes

    def _check_unfinished_body(self) -> None:
        self._note_framing()
        if self._framing_bytes > MOST_FRAMING_BYTES:
            self._end(too_much_framing())

    # Parser callbacks. Raising ends the parse; `data_received` then answers with `_refusal`.

    def on_message_begin(self) -> None:
        """Begin a new request on this connection."""
        super().on_message_begin()
        self._in_head, self._in_body, self._header_bytes, self._ids = True, False, 0, NOT_GIVEN
        # Non-zero even if the first bytes arrived together with an earlier request, so that the deadline starts.
        self._head_bytes = self._head_bytes or 1
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(MalformedRequest("pipelining", f"At most {MAX_PIPELINED} requests may be pipelined."))

    def on_url(self, url: bytes) -> None:
        """Take one piece of the request target; refuse a target that is too long."""
        super().on_url(url)
        if len(self.url) > self._settings.max_target_bytes:
            sentence = f"A request target is at most {self._settings.max_target_bytes} bytes: name fewer values."
            self._refuse(TooLarge("target", sentence, status=414))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header. After the head it is a trailer, which no reader may take for a header: it is refused."""
        if not self._in_head:
            self._refuse(MalformedRequest("trailer", "A request has no trailers here."))
        headers = self.headers
        self._header_bytes = size = self._header_bytes + len(name) + len(value) + 4
        if size > self._settings.max_header_bytes or len(headers) >= MAX_HEADERS:
            self._refuse(headers_too_large(self._settings.max_header_bytes))
        headers.append((name.lower(), value.strip(WHITESPACE)))

    def on_headers_complete(self) -> None:
        """Check the whole head as it was sent, then pass the request to ASGI with the raw path and query.

        This takes the place of uvicorn's own callback, which fails above 65,535 bytes of target; 1,000 run IDs need
        more. What an `Expect` or an upgrade asks for has been refused by then, or may be ignored.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head = Head(method, self.url, version, self.headers)
        try:
            checked = self._checked = check_head(head)
        except Refusal as refusal:
            self._ids = self._settings.ids_of(head.values)
            self._refuse(refusal)
        self._is_chunked = checked.is_chunked
        if self._deadline is not None:
            self._stop_deadline()
        self._leaves_out_body = self.parser.should_upgrade()
        # What came behind the head counts; if an earlier request came with it, only the next bytes do.
        self._framing_bytes = max(0, self._head_bytes - len(self.url) - self._header_bytes - LINE_BYTES)
        scope = self.scope
        scope["method"], scope["http_version"] = method.decode("ascii"), version
        scope["path"], scope["raw_path"] = checked.path.decode("ascii"), checked.path
        scope["query_string"] = checked.query
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        before = cast("Cycle | None", self.cycle)
        keeps = version != "1.0" and self.parser.should_keep_alive() and not checked.offers_h2c
        keep_alive_s, untaken_bytes = self._settings.keep_alive_s, self.untaken_bytes
        self.cycle = cycle = Cycle(self, keep_alive=keeps, keep_alive_s=keep_alive_s, untaken_bytes=untaken_bytes)
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Take one piece of the content."""
        self._framing_bytes = max(0, self._framing_bytes - len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the whole request has arrived: from now on the connection keeps its place.

        After a head with an upgrade offer the parser calls this too early, while the body is still to come.
        """
        if self._leaves_out_body:
            return
        self._note_framing()
        super().on_message_complete()
        self._in_head, self._in_body = True, False
        self._settings.connections.busy(self)

    def on_response_complete(self) -> None:
        """Note that an answer is written; the connection is idle unless a whole request is queued to be answered.

        This takes the place of uvicorn's own callback, which sets a new timer for each answer.
        """
        answered, cycle = self._running, self.cycle
        if answered is not None:
            self.team = answered.scope["state"].get(TEAM)
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            else:
                self._idle_since_s = self.loop.time()
                if self._idle_check is None:
                    self._idle_check = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        waiting = self._in_body and self._running is cycle
        if waiting or (not self.pipeline and self._running is answered) or self.transport.is_closing():
            self._settings.connections.idle(self)
        self._watch_taking()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has been idle for long enough, unless a request's bytes have arrived unread.

        One timer serves all requests of a connection: if there was one meanwhile, it is set again for what is left.
        """
        self._idle_check = None
        if self._idle_since_s is None or self._head_bytes or self.transport.is_closing():
            return
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._idle_check = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            self.timeout_keep_alive_task = self.loop.call_later(LAST_LOOK_S, self.transport.close)

    def pause_writing(self) -> None:
        """Start the deadline for a peer that reads its answers more slowly than they are written."""
        super().pause_writing()
        self._watch_taking()

    def _refuse(self, refusal: Refusal) -> NoReturn:
        self._refusal = refusal
        raise refusal

    def _end(self, refusal: Refusal) -> None:
        """End the connection: with the refusal if no earlier answer is due, else after the answers that are due."""
        self._ended = True
        self._stop_deadline()
        last = cast("Cycle | None", self.cycle)
        if last is None or last.response_complete:
            answer = answers.named(answers.refusal(refusal, self._record(refusal)), self._ids.request_id)
            # RFC 9110, 9.3.2: an answer to HEAD has no content; the method is known once the target has begun.
            self.transport.write(
                answers.on_the_wire(answer, bodiless=bool(self.url) and self.parser.get_method() == b"HEAD")
            )
            self.transport.close()
            self._watch_taking()
            return
        last.keep_alive = False
        if self._in_body:
            last.scope["state"][BROKEN_BODY] = refusal
            last.message_event.set()
        else:
            self._record(refusal)
            self.flow.pause_reading()

    def _record(self, refusal: Refusal) -> str:
        decision_id = str(uuid_utils.uuid7())
        remote = self.client[0] if self.client else None
        self._settings.refusals.record_soon(refusal, decision_id=decision_id, remote=remote, correlation=self._ids)
        return decision_id

    def _watch_taking(self) -> None:
        if not self.untaken_bytes():
            return
        self._settings.connections.untaken(self)
        if self._taking is None:
            self._taking = self.loop.call_later(self._settings.receive_timeout_s, self._not_taken)

    def _not_taken(self) -> None:
        self._taking = None
        if self.untaken_bytes():
            self.transport.abort()

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self._settings.receive_timeout_s, self._too_late)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self._ended:
            return
        if self._head_bytes:
            self._end(ReceiveTimeout("head", "The request's head did not arrive in time."))
        else:
            self.transport.close()

    def evict(self) -> None:
        """Close this connection at once, to make room for another."""
        self._ended = True
        self.transport.abort()

    def untaken_bytes(self) -> int:
        """Return how many bytes of written answers are still in this process; `below` has those that TLS has sealed."""
        size = self.transport.get_write_buffer_size()
        return size if self.below is None else size + self.below.get_write_buffer_size()


class _Body:
    """The callbacks of a parser that reads only a body; another parser has read its head."""

    def __init__(self, connection: EdgeProtocol) -> None:
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete
        self._connection = connection
        self.began = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Pass on a trailer. Before the body begins, ignore the headers that only tell this parser the framing."""
        if self.began:
            self._connection.on_header(name, value)


def _body_parser(connection: EdgeProtocol, framing: tuple[bytes, bytes] | None) -> httptools.HttpRequestParser:
    """Return a parser placed at the beginning of a body, which takes nothing after the body for a request."""
    body = _Body(connection)
    parser = httptools.HttpRequestParser(body)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    length = [b"%s: %s" % framing] if framing is not None else []
    parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", b"Connection: close", *length, b"", b""]))
    body.began = True
    return parser
