"""The console: a Starlette application on a listener of its own, made of pages; a client of the edge application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.console import reading
from gateway.console.acting import Acting
from gateway.console.calls import Calls
from gateway.console.guard import Guard, Refused, Served
from gateway.console.live import Live, events
from gateway.console.login import Login
from gateway.console.reading import Visit
from gateway.console.sessions import Session, Sessions
from gateway.console.shown import Files, Templates

Page = Callable[[Visit], Awaitable[Response | Live]]


def console(app: ASGIApp, sessions: Sessions, served: Served, of_state: frozenset[str]) -> ASGIApp:
    """Return the console over an edge application; `of_state` are the paths that this has only with shared state."""
    templates, files, acting = Templates(), Files(), Acting(served)
    login = Login(app, sessions, served, templates)

    def seen(page: Page) -> Callable[[Request], Awaitable[Response | Live]]:
        """Return an endpoint that only somebody who is logged in sees."""

        async def endpoint(request: Request) -> Response | Live:
            """Answer one request."""
            session = login.session(request)
            if session is None:
                return RedirectResponse("/login", 303)
            calls = Calls(app, request.scope, session.standing)
            return await page(Visit(request, session, sessions, calls, templates, of_state))

        return endpoint

    async def logout(request: Request) -> Response:
        """Answer `POST /logout`."""
        session = login.session(request)
        return RedirectResponse("/login", 303) if session is None else await login.logout(request, session)

    routes = [
        Route("/login", login.shown, methods=["GET"]),
        Route("/login", login.login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/static/{name}", files.file, methods=["GET"]),
        *(Route(path, seen(page), methods=[method]) for method, path, page in _pages(acting)),
    ]
    pages = Starlette(routes=routes, exception_handlers=_handlers(login, templates))
    pages.router.redirect_slashes = False
    return Guard(pages, served)


def _pages(acting: Acting) -> list[tuple[str, str, Page]]:
    """Return every page that needs a session: its method, its path, and what answers it."""
    return [
        ("GET", "/", reading.overview),
        ("GET", "/decisions", reading.decisions),
        ("GET", "/decisions/{decision}", reading.decision),
        ("GET", "/plans", reading.plans),
        ("GET", "/plans/{plan}", reading.plan),
        ("GET", "/policies", reading.policies),
        ("GET", "/freezes", reading.freezes),
        ("GET", "/me", reading.me),
        ("GET", "/events", events),
        ("GET", "/new", acting.new),
        ("POST", "/new", acting.preview),
        ("POST", "/plans/{plan}/apply", acting.apply),
        ("POST", "/plans/{plan}/stop", acting.stop),
        ("POST", "/plans/{plan}/approvals", acting.say),
        ("POST", "/freezes", acting.freeze),
        ("POST", "/freezes/{freeze}/thaw", acting.thaw),
        ("POST", "/policies/explain", acting.explain),
    ]


def _handlers(login: Login, templates: Templates) -> dict[object, Callable[[Request, Exception], Awaitable[Response]]]:
    """Return what answers a request that comes to no page of its own.

    None is a plain function: that would run on another thread, and sessions are of the loop's alone.
    """

    def told(request: Request, status: int, sentence: str) -> Response:
        """Return the page that says so, with the way back if somebody is logged in."""
        session: Session | None = login.session(request)
        csrf = None if session is None else session.csrf
        return templates.page("problem.html", status, session=session, csrf=csrf, path="", reply={}, sentence=sentence)

    async def refused(request: Request, fault: Exception) -> Response:
        """Answer what no page of ours sent."""
        assert isinstance(fault, Refused)
        return told(request, fault.status, fault.sentence)

    async def none(request: Request, fault: Exception) -> Response:
        """Answer a path or method that is none."""
        assert isinstance(fault, HTTPException)
        sentence = "The console has no such page." if fault.status_code == 404 else "This page is not used in this way."
        return told(request, fault.status_code, sentence)

    async def broken(request: Request, fault: Exception) -> Response:
        """Answer a fault of our own: its text may hold anything, so it is reported by its place only."""
        return told(request, 500, "The console failed. Tell the gateway's operators; their log says where.")

    return {Refused: refused, HTTPException: none, Exception: broken}
