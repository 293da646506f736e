"""Connections that go out, with nothing taken from the environment: no proxy, no .netrc, no key log, no other roots."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import httpx


def make_transport(*, max_connections: int, roots: Path | None = None) -> httpx.AsyncHTTPTransport:
    """A transport that verifies against certifi's roots, or the given ones, follows nothing and repeats nothing.

    No connection is kept: bytes that come behind an answer would stay in its parser, where no check of the socket sees
    them, and be read as the answer to the next request.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=roots or certifi.where())
    pool = httpx.Limits(max_connections=max_connections, max_keepalive_connections=0)
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0, limits=pool)
