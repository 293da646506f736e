"""Login and logout: a key or token is checked by a call of the gateway's own, and only what it stood for is kept."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from gateway.console.calls import Calls
from gateway.console.guard import COOKIE, LOGIN_COOKIE, Served, check_token, cookie, cookie_header, form, over_tls
from gateway.console.sessions import Session, Sessions
from gateway.console.shown import Templates
from gateway.core.errors import Unauthenticated

REFUSED = (
    "This key or token is not accepted. The gateway does not know it, or it has ended: ask the gateway's operators."
)


@dataclass(frozen=True, slots=True)
class Login:
    """The pages that need no session, and the end of one."""

    app: ASGIApp
    sessions: Sessions
    served: Served
    templates: Templates

    async def shown(self, request: Request) -> Response:
        """Answer `GET /login`."""
        return self._page(request)

    async def login(self, request: Request) -> Response:
        """Answer `POST /login`: begin a session under a new id, whatever the browser had before. Raises: Refused."""
        fields = await self._form(request)
        before = cookie(request, LOGIN_COOKIE)
        check_token(fields, self.sessions.form_token(before[0] if before else secrets.token_urlsafe()))
        key = fields.get("key", "").strip() or _brought(request) or ""
        reply = await Calls(self.app, request.scope).ask("GET", "/gateway/v1/whoami", credential=key)
        if not reply.ok:
            return self._page(request, REFUSED if reply.status in (400, 401) else reply.sentence, reply.status)
        secure = over_tls(request, self.served)
        self._end(request)
        try:
            session_id = self.sessions.begin(key, secure=secure)
        except Unauthenticated:
            return self._page(request, REFUSED, 401)
        answer = RedirectResponse("/", 303)
        answer.headers.append("set-cookie", cookie_header(COOKIE, session_id, secure=secure))
        answer.headers.append("set-cookie", cookie_header(LOGIN_COOKIE, "", secure=self.served.tls))
        return answer

    async def logout(self, request: Request, session: Session) -> Response:
        """Answer `POST /logout`: end the session. Raises: Refused."""
        check_token(await self._form(request), session.csrf)
        self.sessions.end(session)
        answer = RedirectResponse("/login", 303)
        answer.headers.append("set-cookie", cookie_header(COOKIE, "", secure=session.secure))
        return answer

    def session(self, request: Request) -> Session | None:
        """Return the session of a request, if it has one that goes on."""
        found = cookie(request, COOKIE)
        return None if found is None else self.sessions.find(found[0], secure=found[1])

    async def _form(self, request: Request) -> Mapping[str, str]:
        return await form(request, self.served, within_s=self.sessions.receive_timeout_s)

    def _end(self, request: Request) -> None:
        if (session := self.session(request)) is not None:
            self.sessions.end(session)

    def _page(self, request: Request, problem: str | None = None, status: int = 200) -> Response:
        found = cookie(request, LOGIN_COOKIE)
        value = found[0] if found else secrets.token_urlsafe(32)
        token = self.sessions.form_token(value)
        brought = _brought(request) is not None
        answer = self.templates.page("login.html", status, csrf=token, problem=problem, brought=brought, session=None)
        if found is None:
            answer.headers.append("set-cookie", cookie_header(LOGIN_COOKIE, value, secure=self.served.tls))
        return answer


def _brought(request: Request) -> str | None:
    """Return the token that a proxy before the console has put on a request, if there is exactly one."""
    found = request.headers.getlist("authorization")
    scheme, _, token = found[0].partition(" ") if len(found) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None
