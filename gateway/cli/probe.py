"""The `probe` command, which asks the running gateway whether it is ready, for health checks without curl."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import sys
from functools import partial
from pathlib import Path

import certifi

from gateway.cli.cancel.reached import CA_HELP, CA_OPTION, perhaps_tls, reached, shown, trusted, unreached
from gateway.cli.output import printable
from gateway.config import Config, load_config
from gateway.files.addresses import Origin, UnixListen
from gateway.process import client_context, unverified_context

TIMEOUT_S = 3
READY = ("ready", "degraded")
"""The states of a gateway that takes cancels."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("probe", help="exit 0 if the running gateway is ready")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", type=Path, metavar="FILE", help="the gateway of this configuration, on this machine")
    where.add_argument("--url", metavar="ADDRESS", help="the gateway at https://HOST or unix:PATH")
    parser.add_argument("--allow-http", action="store_true", help="with --url: also http://HOST beyond loopback")
    parser.add_argument(CA_OPTION, type=Path, metavar="PATH", help=f"with --url: {CA_HELP}")
    parser.set_defaults(run=partial(run, parser))


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Ask `/readyz`. Return 0 if the gateway is ready, else 1 with the reason on standard error."""
    try:
        where, connection = _connection(arguments)
    except ValueError as exc:
        parser.error(str(exc))
    fault = _asked(connection, where)
    if fault is not None:
        print(f"not ready: {printable(fault)}", file=sys.stderr)
        return 1
    return 0


def _asked(connection: http.client.HTTPConnection, where: str) -> str | None:
    """Ask the gateway; return why it is not ready, or None if it is."""
    try:
        connection.connect()
    except OSError as failure:
        return unreached(failure, there=f"at {where}", within_s=TIMEOUT_S)
    try:
        status, page = _page(connection)
    except TimeoutError:
        return f"what answers at {where} said nothing within {TIMEOUT_S} s"
    except (OSError, http.client.HTTPException, ValueError):
        return f"what answers at {where} is no gateway, no page of one came{perhaps_tls(where)}"
    reason = page.get("reason")
    if status == http.client.OK and page.get("state") in READY:
        return None
    if status != http.client.OK and isinstance(reason, str):
        return reason
    return f"what answers at {where} is no gateway: its /readyz is another page (status {status})"


def _page(connection: http.client.HTTPConnection) -> tuple[int, dict[str, object]]:
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        page = json.loads(answer.read(65_536))
    finally:
        connection.close()
    return answer.status, page if isinstance(page, dict) else {}


def _connection(arguments: argparse.Namespace) -> tuple[str, http.client.HTTPConnection]:
    """Return the place to ask, as people read it, and a connection to it.

    Raises: ValueError if the options do not name a valid place.
    """
    if arguments.url is None:
        if arguments.ca_file is not None:
            raise ValueError(f"{CA_OPTION} goes with --url: the gateway of a configuration is asked on this machine")
        connection = _configured(load_config(arguments.config))
        return _shown(connection), connection
    address = reached(arguments.url, name="--url", allow_http=arguments.allow_http)
    return shown(address), _named(address, arguments.ca_file)


def _shown(connection: http.client.HTTPConnection) -> str:
    if isinstance(connection, _UnixConnection):
        return shown(UnixListen(Path(connection.path)))
    scheme = "https" if isinstance(connection, http.client.HTTPSConnection) else "http"
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    return f"{scheme}://{host}:{connection.port}"


def _named(address: Origin | UnixListen, ca_file: Path | None) -> http.client.HTTPConnection:
    if isinstance(address, UnixListen):
        return _UnixConnection(str(address.path))
    if address.url.startswith("http:"):
        return http.client.HTTPConnection(address.host, timeout=TIMEOUT_S)
    context = client_context(trusted(ca_file, os.environ) or Path(certifi.where()))
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
    """An HTTP connection over a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket at the path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self.path)
