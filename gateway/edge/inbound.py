"""One HTTP request on its way in: its headers and body as bounded values, and what is checked of every one.

Three values hold a request. `Inbound` is its bytes, its place among the limits and its settings; it stays in the edge.
An `ActionRequest` is what it asks, in one way. A `Call` joins the two for the pipeline, which knows no bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from starlette.types import Message, Receive, Scope

from gateway.callers.admission import COST_BYTES, Slot
from gateway.callers.authenticate import Standing
from gateway.callers.in_force import InForce, LiveSettings
from gateway.core.errors import MalformedRequest, ReceiveTimeout, Refusal, TooLarge, Unauthenticated
from gateway.core.forms.correlation import NOT_GIVEN, Correlation, correlation_of
from gateway.core.parse import Body, parse_idempotency_key
from gateway.core.ports import Clock
from gateway.core.request import Action, ActionRequest, ByIds, Principal
from gateway.edge.head import BROKEN_BODY, FRAMING_BYTES, GONE, TAKEN
from gateway.execution.gates.left import LeftPort, Under
from gateway.execution.ports import Call
from gateway.files.secrecy import holds_part, holds_text, holds_token
from gateway.operations.words import WORDS
from gateway.policy.rules import Policies
from gateway.process import fault_of
from gateway.state.once import binding, keeps_no_keys

_NO_BODY = Body()

INBOUND = "inbound"
"""The key in the scope's state under which the door puts the request."""

STANDING = "gateway.standing"
"""The key in the scope's state under which the console says whose session asks. No bytes of a request can set it."""

NO_ROUTE = "none"
"""The route of a request that ends before its path is looked at, or whose path does not exist."""

IDEMPOTENCY_KEY = b"idempotency-key"

LOOKS = 3
"""The turns of the loop after which a body that was sent directly after its head has been read from the socket."""


@dataclass(slots=True)
class Inbound:
    """One request and the settings it is handled under (`live`). `principal` and `place` are set once they exist.

    `has_ids` says that there are headers with ids of the caller's own; they are read into `correlation`. `has_key` says
    that there is an Idempotency-Key, `has_words` a header that says why, or until when. `cancel_begun` says that
    something was sent for it, or that it joined what was: it may not be told that nothing was. `route` is the template
    of its path, once it is found; `status` is that of its answer, 0 before one is begun. `action` is what it is to do,
    once that is read. `under` is the budget that it stands under, where some rule has one.
    """

    scope: Scope
    receive: Receive
    decision_id: str
    remote: str | None
    live: InForce
    principal: Principal | None = None
    place: Slot | None = None
    cancel_begun: bool = False
    body_read: bool = False
    read_bytes: int = 0
    correlation: Correlation = NOT_GIVEN
    has_ids: bool = field(init=False)
    has_key: bool = field(init=False)
    has_words: bool = field(init=False)
    route: str = NO_ROUTE
    status: int = 0
    under: Under | None = None
    action: Action | None = None
    state: dict[str, Any] = field(init=False)
    _headers: Mapping[bytes, bytes] = field(init=False)
    _repeats: bool = field(init=False)
    _announced: bool = field(init=False)

    def __post_init__(self) -> None:
        headers = self.scope["headers"]
        self.state = self.scope.setdefault("state", {})
        self._headers = last = dict(headers)
        self._repeats = len(last) != len(headers)
        has_length = b"content-length" in last and self.header(b"content-length") != (b"0",)
        self._announced = has_length or b"transfer-encoding" in last
        self.has_ids = b"traceparent" in last or b"x-request-id" in last
        self.has_key = IDEMPOTENCY_KEY in last
        self.has_words = b"gateway-reason" in last or b"gateway-until" in last

    def header(self, name: bytes) -> tuple[bytes, ...]:
        """Return every value of a header, in order; `name` is in lower case."""
        last = self._headers.get(name)
        if last is None:
            return ()
        return tuple(value for key, value in self.scope["headers"] if key == name) if self._repeats else (last,)

    def has_body(self) -> bool:
        """Return whether the head announces a body."""
        return self._announced

    def leave(self) -> None:
        """Give the place back, if the request still has one."""
        if self.place is not None:
            self.place.leave()
            self.place = None

    def check_body(self) -> None:
        """Raise the refusal with which the protocol ended the body, if it did."""
        broken: Refusal | None = self.state.get(BROKEN_BODY)
        if broken is not None:
            raise broken

    def check_length(self) -> None:
        """Raise TooLarge if the announced length is above the limit, before any of the body is in memory."""
        for length in self.header(b"content-length") if self._announced else ():
            if not length.isdigit() or len(length) > 18 or int(length) > self.live.limits.max_body_bytes:
                raise self._too_long()

    @property
    def framing_bytes(self) -> int:
        """How many bytes of the body so far were none of its content."""
        return int(self.state.get(FRAMING_BYTES, 0))

    def cost(self) -> int:
        """Return how many requests this one counts as, by its query; its body is charged later, as it is read."""
        return 1 + len(self.scope["query_string"]) // COST_BYTES

    def credential(self) -> bytes | None:
        """Return the Authorization header, if there is one. Raises: MalformedRequest: there are two."""
        credentials = self.header(b"authorization")
        if len(credentials) > 1:
            raise MalformedRequest("two_credentials", "Send one Authorization header.")
        return credentials[0] if credentials else None

    def authenticate(self, live: InForce, now_ms: int) -> Principal:
        """Return who asks, by these settings: by the credential, or in a session by what that stood for.

        Raises: Unauthenticated, MalformedRequest: it is nobody now, or there are two credentials.
        """
        standing: Standing | None = self.state.get(STANDING)
        if standing is None:
            return live.authenticator.authenticate(self.credential(), now_ms)
        return live.authenticator.still(standing, now_ms)

    def bearer(self) -> str:
        """Return the credential without its scheme; empty if there is none."""
        return (self.credential() or b"").decode("latin-1").partition(" ")[2].strip()

    def has_its_token(self, text: str) -> bool:
        """Return whether a text holds the token with which the caller came; true in doubt. A key is no token.

        In a session the token is not known any more, so there any signed token counts.
        """
        standing: Standing | None = self.state.get(STANDING)
        if standing is not None:
            return standing.accepted is not None and holds_token(text)
        credential = self.bearer()
        return not credential.startswith("qgk_") and holds_text(text, credential)

    async def gone(self) -> bool:
        """Return whether the caller has disconnected. If in doubt it counts as gone, and is answered all the same."""
        try:
            told = self.state.get(GONE)
            if told is not None:
                return bool(told())
            message = _at_once(cast(Coroutine[None, None, Message], self.receive()))
            return message is not None and message["type"] == "http.disconnect"
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            # Whatever is wrong with the connection, the outcome must still reach the record.
            fault_of(exc)
            return True

    def was_taken(self) -> bool:
        """Return whether the answer that was just written has left this process; another server says nothing of it."""
        told = self.state.get(TAKEN)
        return told is None or bool(told())

    async def body(self) -> Body:
        """Wait for the whole body and return it. The request must hold a place.

        Raises:
            ReceiveTimeout, TooLarge: the body came too slowly, or is too long.
            MalformedRequest: the body ended too early.
            Throttled, Overloaded: too many bytes of unfinished bodies are held already.
        """
        if not self._announced:
            return self.no_body()
        assert self.place is not None
        content = bytearray()
        try:
            with self.place.reading() as reading:
                try:
                    async with asyncio.timeout(self.live.limits.receive_timeout_s):
                        more = True
                        while more:
                            message = await self.receive()
                            reading.took(len(message.get("body", b"")))
                            more = self._add(content, message)
                finally:
                    reading.framing_bytes = self.framing_bytes
        except TimeoutError:
            raise ReceiveTimeout("body", "The body did not arrive in time; nothing was sent.") from None
        return self._whole(bytes(content))

    async def arrived(self) -> Body | None:
        """Return the body if all of it has already arrived, else None.

        Raises: TooLarge, MalformedRequest: as in `body`.
        """
        if not self._announced:
            return self.no_body()
        content = bytearray()
        for _ in range(LOOKS):
            while (message := _at_once(cast(Coroutine[None, None, Message], self.receive()))) is not None:
                if not self._add(content, message):
                    return self._whole(bytes(content))
            await asyncio.sleep(0)
        return None

    def _add(self, content: bytearray, message: Message) -> bool:
        """Add one message's piece of the body; return whether more is to come.

        This is not `upstream.direct.bounded`, which reads a stream to its end: a message of ASGI says itself whether
        it is the last, what is too long has already been charged to the caller, and `arrived` never waits for more.
        """
        self.check_body()
        # A caller that stops in the middle shows up as a disconnect, never as the end of the body.
        if message["type"] != "http.request":
            raise MalformedRequest("incomplete", "The body ended before its announced length.")
        piece = message.get("body", b"")
        content += piece
        self.read_bytes += len(piece)
        if len(content) > self.live.limits.max_body_bytes:
            raise self._too_long()
        return bool(message.get("more_body", False))

    def no_body(self) -> Body:
        """Return the body of a request whose head announces none."""
        self.body_read = True
        encodings = self.header(b"content-encoding")
        return Body(content_encodings=encodings) if encodings else _NO_BODY

    def _whole(self, content: bytes) -> Body:
        self.body_read = True
        return Body(content, self.header(b"content-type"), self.header(b"content-encoding"))

    def _too_long(self) -> TooLarge:
        return TooLarge("body", f"A body is at most {self.live.limits.max_body_bytes} bytes: name fewer runs.")


@dataclass(frozen=True, slots=True)
class Intake:
    """The checks of a request after its head; `is_secret` says whether a text holds a token of the account or a key.

    Only a gateway with `state` can keep what is to be done once; it is also asked what is left of budgets.
    """

    current: LiveSettings
    clock: Clock
    is_secret: Callable[[str], bool]
    state: LeftPort | None = None

    def correlate(self, inbound: Inbound) -> None:
        """Take in the ids that the caller gave the request, so that every answer and record has them; never raise."""
        inbound.correlation = self.ids_of(inbound.header)

    def ids_of(self, header: Callable[[bytes], Sequence[bytes]]) -> Correlation:
        """Return the ids that the caller gave; `header` returns every value of one."""
        credential = b" ".join(header(b"authorization")).decode("latin-1")

        def is_secret(text: str) -> bool:
            """Return whether an id holds a secret, or much of the caller's credential."""
            return self.is_secret(text) or holds_part(text, credential)

        return correlation_of(header(b"traceparent"), header(b"x-request-id"), is_secret=is_secret)

    async def own_body(self, inbound: Inbound) -> Body:
        """Read the body of one of the gateway's own calls, which take no query. Raises: Refusal."""
        no_query(inbound)
        body = await inbound.body()
        self.authenticate_again(inbound)
        return body

    async def no_content(self, inbound: Inbound) -> None:
        """Read the body of one of the gateway's own calls that says all in its path. Raises: Refusal."""
        if (await self.own_body(inbound)).content not in (b"", b"{}"):
            raise MalformedRequest("plan_body", "This call takes no body: the plan says what is cancelled.")

    def authenticate_again(self, inbound: Inbound) -> None:
        """Authenticate the caller under the settings now in force, if a body was waited for.

        Raises: Unauthenticated: the credential is no longer accepted.
        """
        if inbound.has_body():
            live = self.current.live
            if inbound.authenticate(live, self.clock.now_ms()) != inbound.principal:
                raise Unauthenticated("other_principal")
            inbound.live = live

    def checked(self, inbound: Inbound, request: ActionRequest) -> ActionRequest:
        """Return the request if it may be recorded. Raises: TooLarge, MalformedRequest: too many run IDs, a secret."""
        selection, most = request.selection, inbound.live.limits.max_run_ids
        if isinstance(selection, ByIds) and len(selection.ids) > most:
            thing = WORDS[request.action].thing
            raise TooLarge("run_ids", f"At most {most} {thing} IDs stand in one request: split the list.")
        self.refuse_secrets(inbound, request.texts())
        return request

    def call(self, inbound: Inbound, request: ActionRequest) -> Call:
        """Return the request as the pipeline knows it, under the policies of the settings it is handled under."""
        if self.state is not None and inbound.live.policies.budgets:
            inbound.under = Under(self.state)
        return Call(
            inbound.live.policies,
            caller_of(inbound),
            request,
            inbound.decision_id,
            inbound.remote,
            inbound.gone,
            partial(self._standing, inbound),
            inbound.correlation,
            under=inbound.under,
        )

    def once(self, inbound: Inbound, call: Call, *, applies: str | None = None) -> Call:
        """Return a call that sends, with what is kept of its Idempotency-Key. `applies` is the plan that it applies.

        Raises: MalformedRequest: the key is none, or this gateway cannot keep it.
        """
        inbound.action = call.request.action
        if not inbound.has_key:
            return call
        key = parse_idempotency_key(inbound.header(IDEMPOTENCY_KEY))
        if self.state is None:
            raise keeps_no_keys(WORDS[call.request.action].act)
        if key is not None:
            call.once = binding(call.principal, key, call.request.identity(), plan_id=applies)
        return call

    def _standing(self, inbound: Inbound) -> Policies | None:
        """Authenticate the caller again and return the policies now in force.

        Return None if the caller is refused, or is another principal now.
        """
        live = self.current.live
        try:
            principal = inbound.authenticate(live, self.clock.now_ms())
        except Unauthenticated:
            return None
        return live.policies if principal == inbound.principal else None

    def refuse_secrets(self, inbound: Inbound, values: Iterable[str]) -> None:
        """Refuse texts of a caller that hold a secret, before any of them is recorded or sent.

        Raises: MalformedRequest: a value holds a token of the account, a gateway key, or the caller's credential.
        """
        # A secret contains no line end, so one search of the joined values finds what searching each would.
        text = "\n".join(values)
        if self.is_secret(text) or inbound.has_its_token(text):
            raise MalformedRequest("secret_in_request", "The request holds a secret where a value should be.")


def inbound_of(scope: Scope) -> Inbound:
    """Return the request that the door put into the scope."""
    inbound = scope["state"][INBOUND]
    assert isinstance(inbound, Inbound)
    return inbound


def caller_of(inbound: Inbound) -> Principal:
    """Return the principal of an authenticated request; the door lets in no other (health pages aside)."""
    assert inbound.principal is not None
    return inbound.principal


def no_query(inbound: Inbound) -> None:
    """Raise MalformedRequest if there is a query, for a call that takes none."""
    if inbound.scope["query_string"]:
        raise MalformedRequest("query", "This call takes no query: leave it out.")


def _at_once(receiving: Coroutine[None, None, Message]) -> Message | None:
    """Return the message that is there now; None if the server would have to wait for one.

    Running the coroutine for one step shows that. Cancelling a task or scope around it costs more than a judgement.
    """
    try:
        receiving.send(None)
    except StopIteration as done:
        message: Message = done.value
        return message
    finally:
        receiving.close()
    return None
