"""The door of the console: which host a request is for, which page sent it, and the headers of every answer.

A page of another origin can make a browser send requests here, and can name this address by a host of its own. So the
host has to be ours; what changes something needs our origin and the session's token as well, and no form of another
page has that.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.files.addresses import ConsoleAt

COOKIE, LOGIN_COOKIE = "gateway_session", "gateway_login"
OVER_TLS = "__Host-"

MOST_BODY_BYTES = 65_536
MOST_FIELDS = 32
FORM = "application/x-www-form-urlencoded"

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action "
        "'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # A page without a referrer would send its forms with the origin null.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_COOKIE = re.compile(r"(?:^|;[ \t]*)({})=([A-Za-z0-9_-]{{16,128}})(?=;|$)".format(f"(?:{OVER_TLS})?[a-z_]+"))


class Refused(Exception):
    """Raised for a request that no page of ours sent; `status` and the sentence go to the browser."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status, self.sentence = status, sentence
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Served:
    """The hosts under which the console is served, as browsers name them, and the origins of its own pages."""

    hosts: frozenset[str]
    origins: frozenset[str]
    address: str
    tls: bool

    @classmethod
    def at(cls, place: ConsoleAt, port: int, *, tls: bool) -> Served:
        """Return what a configuration and the port that the kernel chose come to.

        Where the gateway itself ends TLS every origin has https. Else a proxy may end it, but only for `host`.
        """
        scheme, usual = ("https", 443) if tls else ("http", 80)
        name = f"[{place.listen.host}]" if ":" in place.listen.host else place.listen.host
        names = {f"{name}:{port}"} | ({name} if port == usual else set())
        own = set() if place.listen.is_every else names
        given = {place.host} if place.host is not None else set()
        origins = {f"{scheme}://{one}" for one in own | given} | {f"https://{one}" for one in given}
        address = f"{scheme}://{min(own or given, key=len)}"
        return cls(frozenset(own | given), frozenset(origins), address, tls)


class Guard:
    """ASGI middleware around all pages: a request for another host is refused, and every answer has the headers."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self._app = app
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            """Add the headers to the beginning of the answer."""
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0].lower() not in self._served.hosts:
            text = f"This is not the address of the console. Open {self._served.address}/ instead.\n"
            await PlainTextResponse(text, 421)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def over_tls(request: Request, served: Served) -> bool:
    """Return whether the browser speaks TLS: the gateway ends it, or the browser says so in its own header."""
    return served.tls or request.headers.get("origin", "").startswith("https://")


def cookie(request: Request, name: str) -> tuple[str, bool] | None:
    """Return the value of a cookie and whether it has the prefix that only TLS gives; None if it is missing or twice.

    A cookie with the prefix goes first: nobody but this host can have set it.
    """
    found = _COOKIE.findall("; ".join(request.headers.getlist("cookie")))
    for full in (OVER_TLS + name, name):
        values = [value for one, value in found if one == full]
        if len(values) == 1:
            return values[0], full != name
        if values:
            return None
    return None


async def form(request: Request, served: Served, *, within_s: float) -> Mapping[str, str]:
    """Return the fields of a form that a page of ours sent, if it arrives in time; an empty field is left out.

    Raises: Refused.
    """
    if request.headers.getlist("origin") not in [[origin] for origin in served.origins]:
        raise Refused(403, "This form was not sent by a page of the console: open the page again.")
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM:
        raise Refused(415, "The console reads forms only.")
    content = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for part in request.stream():
                content += part
                if len(content) > MOST_BODY_BYTES:
                    raise Refused(413, "The form is too long.")
    except TimeoutError:
        raise Refused(408, "The form did not arrive in time; nothing was done.") from None
    except ClientDisconnect:
        raise Refused(400, "The form did not arrive whole.") from None
    return _fields(bytes(content))


def _fields(content: bytes) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(content.decode("ascii"), strict_parsing=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Refused(400, "The form cannot be read.") from None
    if len(dict(pairs)) != len(pairs):
        raise Refused(400, "A field is given twice.")
    return {name: value for name, value in pairs if value}


def check_token(fields: Mapping[str, str], expected: str) -> None:
    """Raise Refused unless a form has the token of the page that it was on."""
    if not hmac.compare_digest(fields.get("csrf", "").encode(), expected.encode()):
        raise Refused(403, "The page was open for too long, or another login came in between. Open it again.")


def cookie_header(name: str, value: str, *, secure: bool) -> str:
    """Return the header that sets a cookie for this host alone; an empty value removes it."""
    parts = [f"{OVER_TLS if secure else ''}{name}={value}", "Path=/", "HttpOnly", "SameSite=Strict"]
    return "; ".join([*parts, *(["Secure"] if secure else []), *([] if value else ["Max-Age=0"])])
