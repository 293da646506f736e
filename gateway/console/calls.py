"""Calls of the gateway's own interface, made within the process: what a page shows is what its principal may ask for.

A call passes the same door as one from outside, with its limits, its judgement and its record. Instead of a credential
it brings what that stood for at the login, which the door checks anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.callers.authenticate import Standing
from gateway.edge.head import GONE
from gateway.edge.inbound import STANDING

_PASSED_ON = (b"x-forwarded-for", b"traceparent", b"x-request-id")
"""The headers of the browser's request that say where it comes from; the record names that."""

Members = Mapping[str, object]
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Reply:
    """The whole answer to a call; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the call did what was asked."""
        return self.status < 400

    @property
    def members(self) -> Members:
        """The members of the body; none if it is no object."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def sentence(self) -> str:
        """What a problem says to people."""
        return str(self.members.get("error", "The gateway gave no answer."))


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one page, as its principal. `scope` is that of the browser's request, `standing` of its session."""

    app: ASGIApp
    scope: Scope
    standing: Standing | None = None

    async def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Reply:
        """Read something."""
        return await self.ask("GET", path, query=query)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Members | None = None,
        credential: str | None = None,
    ) -> Reply:
        """Make a call and return the whole answer."""
        content = b"" if body is None else json.dumps(body).encode()
        unread = [content]
        started: Message = {"status": 500, "headers": []}
        parts: list[bytes] = []

        async def receive() -> Message:
            """Return the body once; nobody goes away before the answer is there."""
            if not unread:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": unread.pop(), "more_body": False}

        async def send(message: Message) -> None:
            """Take a message of the answer."""
            nonlocal started
            if message["type"] == "http.response.start":
                started = message
            else:
                parts.append(message.get("body", b""))

        headers = self._headers(content, credential)
        await self.app(self._scope(method, path, query, headers), receive, send)
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in started["headers"]}
        return Reply(started["status"], told, b"".join(parts))

    async def stream(self, path: str, receive: Receive, send: Send) -> None:
        """Make a call whose answer goes to the browser as it comes."""
        scope = self._scope("GET", path, (), self._headers(b"", None))
        if (gone := self.scope["state"].get(GONE)) is not None:
            scope["state"][GONE] = gone
        await self.app(scope, receive, send)

    def _headers(self, content: bytes, credential: str | None) -> Headers:
        headers = [(b"host", b"console")]
        headers += [(name, value) for name, value in self.scope["headers"] if name in _PASSED_ON]
        if content:
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        if credential is not None:
            headers.append((b"authorization", b"Bearer " + credential.encode("latin-1", "replace")))
        return headers

    def _scope(self, method: str, path: str, query: Sequence[tuple[str, str]], headers: Headers) -> Scope:
        return {
            "type": "http",
            "asgi": self.scope["asgi"],
            "http_version": "1.1",
            "method": method,
            "scheme": self.scope["scheme"],
            "path": path,
            "raw_path": path.encode("ascii", "replace"),
            "query_string": urlencode(query).encode(),
            "root_path": "",
            "headers": headers,
            "client": self.scope["client"],
            "server": self.scope["server"],
            "state": {} if self.standing is None else {STANDING: self.standing},
        }
