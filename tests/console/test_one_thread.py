"""Sessions are of the loop's thread alone: no request, whatever becomes of it, looks at them from another."""

from __future__ import annotations

import threading

import httpx
from starlette.types import Receive, Scope, Send

from gateway.callers.in_force import LiveSettings
from gateway.console.app import console
from gateway.console.guard import Served
from gateway.console.sessions import Session, Sessions
from gateway.files.addresses import ConsoleAt, Listen
from tests.console.people import forms
from tests.console.standing import Held, live
from tests.support.gateway import Answer

BASE = "http://127.0.0.1:82"


class Watched(Sessions):
    """Sessions that note on which threads they are looked for."""

    def __init__(self, current: LiveSettings, clock: Held) -> None:
        super().__init__(current, clock)
        self.threads: set[int] = set()

    def find(self, session_id: str, *, secure: bool) -> Session | None:
        """Notes the thread."""
        self.threads.add(threading.get_ident())
        return super().find(session_id, secure=secure)


async def edge(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what no template can show, so that pages fail as well."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def test_no_page_and_no_refusal_looks_at_sessions_from_another_thread() -> None:
    """Pages that are not there, methods they have not, forms of nobody's, and faults of our own."""
    served = Served.at(ConsoleAt(Listen("127.0.0.1", 82)), 82, tls=False)
    sessions = Watched(LiveSettings(live("key")), Held())
    transport = httpx.ASGITransport(console(edge, sessions, served, frozenset()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        page = await client.get("/login")
        token = forms(Answer(200, {}, page.content))["/login"]
        await client.post("/login", data={**token, "key": "key"}, headers={"Origin": BASE})
        asked = (("GET", "/none"), ("PUT", "/me"), ("POST", "/logout"), ("GET", "/me"), ("GET", "/new"))
        statuses = [(await client.request(method, path)).status_code for method, path in asked]
    assert statuses == [404, 405, 403, 500, 200]
    assert sessions.threads == {threading.get_ident()}
