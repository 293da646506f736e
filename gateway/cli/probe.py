"""`probe`: asks the running gateway whether it is ready, for health checks without curl."""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
from functools import partial
from pathlib import Path

import certifi

from gateway.config import Config, load_config
from gateway.endpoints import Origin, UnixListen, reached
from gateway.tls import client_context, unverified_context

TIMEOUT_S = 3


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("probe", help="exit 0 if the running gateway is ready")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE", help="the gateway of this configuration, on this machine")
    where.add_argument("--url", metavar="ADDRESS", help="the gateway at https://HOST or unix:PATH")
    parser.add_argument("--allow-http", action="store_true", help="with --url: also http://HOST beyond loopback")
    parser.set_defaults(run=partial(run, parser))


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Returns 0 if `/readyz` answers 200, else 1 with the reason on standard error."""
    try:
        if arguments.url is None:
            connection = _configured(load_config(arguments.config))
        else:
            connection = _named(reached(arguments.url, allow_http=arguments.allow_http))
    except ValueError as exc:
        parser.error(f"--url: {exc}")
    try:
        status, page = _ask(connection)
    except (OSError, http.client.HTTPException, ValueError) as failure:
        print(f"not ready: {type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    if status == http.client.OK:
        return 0
    print(f"not ready: {page.get('reason')}", file=sys.stderr)
    return 1


def _ask(connection: http.client.HTTPConnection) -> tuple[int, dict[str, object]]:
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        page = json.loads(answer.read(65_536))
    finally:
        connection.close()
    return answer.status, page if isinstance(page, dict) else {}


def _named(address: Origin | UnixListen) -> http.client.HTTPConnection:
    if isinstance(address, UnixListen):
        return _UnixConnection(str(address.path))
    if address.url.startswith("http:"):
        return http.client.HTTPConnection(address.host, timeout=TIMEOUT_S)
    context = client_context(Path(certifi.where()))
    return http.client.HTTPSConnection(address.host, timeout=TIMEOUT_S, context=context)


def _configured(config: Config) -> http.client.HTTPConnection:
    listen = (config.health.listen if config.health is not None else config.listen)[0]
    if isinstance(listen, UnixListen):
        return _UnixConnection(str(listen.path))
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to ask, not to listen on
    host = anywhere.get(listen.host, listen.host)
    if config.tls is None or config.health is not None:
        return http.client.HTTPConnection(host, listen.port, timeout=TIMEOUT_S)
    return http.client.HTTPSConnection(host, listen.port, timeout=TIMEOUT_S, context=unverified_context())


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connects to the path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)
