"""One HTTP request on its way in: its headers and body as bounded values, and what can be asked of its caller later."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Message, Receive, Scope

from gateway.cancel import Principal
from gateway.errors import MalformedRequest, ReceiveTimeout, Refusal, TooLarge, Unauthenticated
from gateway.faults import Net
from gateway.framing import BROKEN_BODY
from gateway.live import Current, Live
from gateway.ports import Arrival, Clock, Standing
from gateway.read import Body

COST_BYTES = 8192


@dataclass(slots=True)
class Inbound:
    """One request, under `live` to its end; `principal` once it is known."""

    scope: Scope
    receive: Receive
    decision_id: str
    remote: str | None
    live: Live
    principal: Principal | None = None
    body_read: bool = False
    _headers: dict[bytes, tuple[bytes, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self._headers = {}
        for name, value in self.scope["headers"]:
            self._headers[name] = (*self._headers.get(name, ()), value)

    def header(self, name: bytes) -> tuple[bytes, ...]:
        """Every value of a header, in order; the name in lower case."""
        return self._headers.get(name, ())

    def has_body(self) -> bool:
        """Whether a body was announced."""
        return bool(self.header(b"transfer-encoding")) or self.header(b"content-length") not in ((), (b"0",))

    def check_body(self) -> None:
        """Raises: the refusal with which the protocol ended the body."""
        broken: Refusal | None = self.scope.get("state", {}).get(BROKEN_BODY)
        if broken is not None:
            raise broken

    def check_length(self) -> None:
        """Raises: TooLarge, before any of the body is held."""
        for length in self.header(b"content-length"):
            if not length.isdigit() or len(length) > 18 or int(length) > self.live.limits.max_body_bytes:
                raise self._too_long()

    def cost(self) -> int:
        """How many requests this one counts for: a large one takes as much of the record as many small ones."""
        lengths = [int(length) for length in self.header(b"content-length") if length.isdigit()]
        return 1 + (len(self.scope["query_string"]) + sum(lengths)) // COST_BYTES

    def credential(self) -> bytes | None:
        """The one Authorization header. Raises: MalformedRequest, if there are two."""
        credentials = self.header(b"authorization")
        if len(credentials) > 1:
            raise MalformedRequest("two_credentials", "Send one Authorization header.")
        return credentials[0] if credentials else None

    def arrival(self, current: Current, clock: Clock) -> Arrival:
        """What the pipeline may ask of it later."""

        def standing() -> Standing | None:
            """The caller as it is now; None where its credential is not accepted any more."""
            live = current.live
            try:
                principal = live.authenticator.authenticate(self.credential(), clock.now_ms())
            except Unauthenticated:
                return None
            return Standing(principal, live.policies) if principal == self.principal else None

        return Arrival(self.decision_id, self.remote, self.gone, standing)

    async def gone(self) -> bool:
        """Whether the caller has gone; one who cannot be asked counts as gone, and is still answered."""
        with Net():
            return _at_once(cast(Coroutine[None, None, Message], self.receive())) == "http.disconnect"
        # Whatever is wrong with the connection, the outcome has to reach the record.
        return True

    async def body(self) -> Body:
        """The whole body. Raises: ReceiveTimeout, TooLarge, MalformedRequest: it ended too early."""
        if not self.has_body():
            self.body_read = True
            return Body(content_encodings=self.header(b"content-encoding"))
        try:
            async with asyncio.timeout(self.live.limits.receive_timeout_s):
                content = await self._received()
        except TimeoutError:
            raise ReceiveTimeout("body", "The body did not arrive in time; nothing was sent.") from None
        self.body_read = True
        return Body(content, self.header(b"content-type"), self.header(b"content-encoding"))

    async def _received(self) -> bytes:
        content = bytearray()
        while True:
            message = await self.receive()
            self.check_body()
            # A caller that stops in the middle gives a disconnect, never the end of the body.
            if message["type"] != "http.request":
                raise MalformedRequest("incomplete", "The body ended before its announced length.")
            content += message.get("body", b"")
            if len(content) > self.live.limits.max_body_bytes:
                raise self._too_long()
            if not message.get("more_body", False):
                return bytes(content)

    def _too_long(self) -> TooLarge:
        return TooLarge("body", f"A body is at most {self.live.limits.max_body_bytes} bytes.")


def _at_once(receiving: Coroutine[None, None, Message]) -> str | None:
    """The type of the message that is there now; None where the server would wait for one.

    One step of the coroutine tells. To cancel a task or a scope around it costs more than to judge a request.
    """
    try:
        receiving.send(None)
    except StopIteration as done:
        message: Message = done.value
        return str(message["type"])
    finally:
        receiving.close()
    return None
