"""`probe`: asks the running gateway whether it is ready, for health checks without curl."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from pathlib import Path

from gateway.config import Config, load_config

TIMEOUT_S = 3


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("probe", help="exit 0 if the running gateway is ready")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if `/readyz` answers 200, else 1 with the reason on standard error."""
    try:
        status, page = _ask(load_config(arguments.config))
    except (OSError, http.client.HTTPException, ValueError) as failure:
        print(f"not ready: {type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    if status == http.client.OK:
        return 0
    print(f"not ready: {page.get('reason')}", file=sys.stderr)
    return 1


def _ask(config: Config) -> tuple[int, dict[str, object]]:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to ask, not to listen on
    host = anywhere.get(config.listen.host, config.listen.host)
    connection = http.client.HTTPConnection(host, config.listen.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        page = json.loads(answer.read(65_536))
    finally:
        connection.close()
    return answer.status, page if isinstance(page, dict) else {}
