"""The `keys new` command, which shows a new key once, with the entry by which the gateway recognises it."""

from __future__ import annotations

import argparse
import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from gateway.callers.settings import ending
from gateway.core.errors import Problem
from gateway.files.nodes import Place, Scalar
from gateway.files.values import Text, date_field, is_text
from gateway.policy.format.keys import key_id, team_name

KEY_BYTES = 32

T = TypeVar("T")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    commands = subparsers.add_parser("keys", help="keys of callers").add_subparsers(required=True, metavar="COMMAND")
    parser = commands.add_parser("new", help="make a key, print it once, and the YAML to paste")
    parser.add_argument("--team", type=_argument(team_name()), required=True, help="the team that policies name")
    parser.add_argument("--id", type=_argument(key_id()), required=True, help="what the record calls the key")
    parser.add_argument("--expires", type=_argument(date_field()), metavar="DATE", help="the last UTC day, YYYY-MM-DD")
    parser.set_defaults(run=run, product=True)


def run(args: argparse.Namespace) -> int:
    """Print the key and its entry; return 0."""
    key = new_key(args.id)
    print(f"The key, shown this once. Give it to the caller and keep no copy:\n\n  {key}\n")
    print("Its entry below callers.keys (it takes the place of an empty list, []):\n")
    print(f"  - {entry(key, args.team, args.id, args.expires)}")
    ends = ending(args.expires, datetime.now(UTC).date())
    if ends is not None:
        print(f"\nwarning: this key {ends}")
    return 0


def new_key(key_id: str) -> str:
    """Return `qgk_<id>_` followed by 256 random bits as 43 base64url characters."""
    return f"qgk_{key_id}_{secrets.token_urlsafe(KEY_BYTES)}"


def entry(key: str, team: str, key_id: str, expires: object = None) -> str:
    """Return the YAML of a key's entry. It holds the digest of the whole key, never the key."""
    digest = hashlib.sha256(key.encode("ascii")).hexdigest()
    end = "" if expires is None else f", expires: {expires}"
    return f'{{id: {_quoted(key_id)}, team: {_quoted(team)}, sha256: "{digest}"{end}}}'


def _quoted(text: str) -> str:
    return text if is_text(text) else f'"{text}"'


def _argument(field: Text[T]) -> Callable[[str], T]:
    """Return a reader of the configuration as a type for argparse, so that both accept the same."""

    def parse(text: str) -> T:
        """Read one argument. Raises: ArgumentTypeError with the sentence that the configuration would get."""
        problems: list[Problem] = []
        value = field.read(Scalar(Place("", 1, 1), text, plain=False), problems)
        if value is None:
            raise argparse.ArgumentTypeError(problems[0].message)
        return value

    return parse
