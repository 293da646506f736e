"""What the console shows: templates that escape every value, and the files that pages load, all from this package."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.core.errors import counted
from gateway.operations.words import words_of

AT_ONCE_S = 0.005
"""How long a page is rendered before other work has its turn, in seconds."""

_HERE = Path(__file__).parent
_KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")


def _time(value: object) -> str:
    """Return a time of the API for people, in UTC and to the second."""
    found = _TIME.fullmatch(str(value))
    return f"{found[1]} {found[2]} UTC" if found else str(value)


def _words(value: object) -> str:
    """Return a fixed word of the API as words."""
    return "" if value is None else str(value).replace("_", " ")


def _terms(value: object) -> str:
    """Return the members of a request as `name=value`, each in its own place of a line."""
    if not isinstance(value, Mapping):
        return str(value)
    pairs = [(name, one) for name, many in value.items() for one in (many if isinstance(many, list) else [many])]
    return " · ".join(f"{name}={str(one).lower() if isinstance(one, bool) else one}" for name, one in pairs)


def _shown_value(value: object) -> str:
    """Return a member of a record: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Page(HTMLResponse):
    """A page that is rendered when it is sent, a little at a time: a plan may have thousands of runs to show.

    Nothing of it is sent before all of it is there, so a fault in a template still gets an answer of its own.
    """

    def __init__(self, pieces: Iterator[str], status: int) -> None:
        super().__init__(b"", status)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Render the page, and send it."""
        made, until_s = [], time.monotonic() + AT_ONCE_S
        for piece in self._pieces:
            made.append(piece)
            if time.monotonic() >= until_s:
                await asyncio.sleep(0)
                until_s = time.monotonic() + AT_ONCE_S
        self.body = "".join(made).encode()
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


class Templates:
    """The templates, compiled when they are first used."""

    def __init__(self) -> None:
        self._environment = environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"time": _time, "words": _words, "terms": _terms, "value": _shown_value}
        environment.globals |= {"counted": counted, "words_of": words_of}

    def page(self, name: str, status: int = 200, **values: object) -> Response:
        """Return a page."""
        return Page(self._environment.get_template(name).generate(values), status)


class Files:
    """The files of `static/`, in memory: only these have an address, whatever a path says."""

    def __init__(self) -> None:
        paths = [path for path in (_HERE / "static").iterdir() if path.suffix in _KINDS]
        self._content = {path.name: path.read_bytes() for path in paths}
        self._tags = {name: f'"{hashlib.sha256(content).hexdigest()}"' for name, content in self._content.items()}

    async def file(self, request: Request) -> Response:
        """Answer `GET /static/{name}`."""
        name = request.path_params["name"]
        if name not in self._content:
            raise HTTPException(404)
        headers = {"etag": self._tags[name], "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(None, 304, headers)
        return Response(self._content[name], 200, {**headers, "content-type": _KINDS[Path(name).suffix]})
