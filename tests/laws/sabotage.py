"""Runs the gateway's command with a transport whose every call fails, saying all it knows in the error's text.

    python sabotage.py WHERE PYTHON -m gateway ARGUMENTS…

WHERE is `transport` (a call fails) or `edge` (telling who calls fails, before any receipt).
"""

from __future__ import annotations

import sys
from typing import NoReturn

import httpx

import gateway.app
from gateway.callers.authenticate import Authenticator
from gateway.cli.main import main


class _Telltale(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> NoReturn:
        secret = request.headers["authorization"]
        raise RuntimeError(f"{request.url} {secret}", request.headers.raw)


def _telling(self: Authenticator, credential: bytes | None, now_ms: int) -> NoReturn:
    raise RuntimeError(credential)


if sys.argv[1] == "transport":
    vars(gateway.app)["PooledTransport"] = lambda **settings: _Telltale()
else:
    Authenticator.authenticate = _telling  # type: ignore[method-assign]
sys.exit(main(sys.argv[5:]))
