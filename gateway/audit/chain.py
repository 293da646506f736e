"""The record's format: a sequence number, a hash chain and an HMAC show any line changed, removed or reordered.

A line is the canonical JSON of its record: `v, seq, ts, event, instance`, then the event's members, then `prev, mac`.
`prev` is the SHA-256 of the line before, without its newline. `mac` is the HMAC-SHA256 of the line up to and including
the value of `prev`; without a key it is null. This module is pure: it does no I/O.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson
import structlog

from gateway.core.forms.times import RECORD_TIME, record_time

VERSION = 1
FIRST = ("v", "seq", "ts", "event", "instance")
LAST = ("prev", "mac")

_HEX = re.compile(r"[0-9a-f]{64}")
_NEEDS_DECISION = frozenset(
    ("intent", "outcome", "denied", "joined", "plan", "chunk", "settled", "withdrawn", "approval")
)

Members = dict[str, object]


class Record(NamedTuple):
    """One event before it is sealed. `ts_ns` is the time of the event in Unix nanoseconds."""

    ts_ns: int
    event: str
    members: Mapping[str, object]


class Head(NamedTuple):
    """The end of a chain: its last sequence number, and the SHA-256 (hex) of its last line, None if it has no line."""

    seq: int
    digest: str | None


GENESIS = Head(0, None)


@dataclass(frozen=True, slots=True)
class MacKey:
    """The secret of an HMAC chain. `key_id` may be shown; the secret may not."""

    secret: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """The first 8 hex digits of the key's SHA-256."""
        return hashlib.sha256(self.secret).hexdigest()[:8]


_rendered = structlog.processors.JSONRenderer(serializer=orjson.dumps, default=repr)
"""Renders members as bytes. It is called without a logger, so `structlog.configure` cannot change it."""


class Sealer:
    """The encoder of records into lines for one writer, `instance`. It keeps nothing from one batch to the next."""

    def __init__(self, instance: str, *, key: MacKey | None) -> None:
        self.instance = instance
        self.key = key

    @property
    def key_id(self) -> str | None:
        """The id of the key; None if there is none."""
        return self.key.key_id if self.key is not None else None

    def seal(self, head: Head, records: Iterable[Record]) -> tuple[list[bytes], Head]:
        """Return the lines (with newlines) that continue the chain after `head`, and the head after them."""
        seq, prev = head
        lines = []
        for record in records:
            seq += 1
            ts_ns, event, members = record
            first = {"v": VERSION, "seq": seq, "ts": record_time(ts_ns), "event": event, "instance": self.instance}
            line = self._close(self.render({**first, **members, "prev": prev}))
            prev = hashlib.sha256(line).hexdigest()
            lines.append(line + b"\n")
        return lines, Head(seq, prev)

    def checkpoint(self, chain: str, head: Head, ts_ns: int) -> dict[str, object]:
        """Return the head of the chain with the time, signed like a record."""
        members = {
            "event": "checkpoint",
            "chain": chain,
            "seq": head.seq,
            "head": head.digest,
            "ts": record_time(ts_ns),
        }
        sealed: dict[str, object] = orjson.loads(self._close(self.render(members)))
        return sealed

    def render(self, members: dict[str, object]) -> bytes:
        """Render canonical JSON of any members. A record that could not be rendered would be lost."""
        try:
            return _line(members)
        except TypeError:  # orjson refuses integers above 64 bits and lone surrogates
            return _line({str(name): _plain(value) for name, value in members.items()})

    def _close(self, body: bytes) -> bytes:
        if self.key is None:
            return body[:-1] + b',"mac":null}'
        mac = hmac.digest(self.key.secret, body[:-1], "sha256").hex()
        return b'%b,"mac":"%b"}' % (body[:-1], mac.encode())


def _line(members: dict[str, object]) -> bytes:
    rendered = _rendered(None, "", members)
    assert isinstance(rendered, bytes)
    return rendered


def _plain(value: object) -> object:
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if -(1 << 63) <= value < 1 << 63 else str(value)
        case Mapping():
            return {str(_plain(name)): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return str(value).encode("utf-8", "backslashreplace").decode()


def mac_holds(line: bytes, mac: str, keys: Iterable[MacKey]) -> bool:
    """Return whether one of the keys made the `mac` that ends this canonical line."""
    signed = line[: -len(',"mac":""}') - len(mac)]
    return any(hmac.compare_digest(hmac.digest(key.secret, signed, "sha256").hex(), mac) for key in keys)


def parse_line(raw: bytes) -> Members | str:
    """Return the members of a line (given without its newline), or a short text that says what is wrong with it.

    A record has exactly one spelling, so a line with a duplicate key, a space or another escape differs from it.
    """
    try:
        members = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "not JSON"
    if type(members) is not dict or orjson.dumps(members) != raw:
        return "not the canonical JSON of an object (a duplicate key, or another spelling)"
    names = tuple(members)
    if names[: len(FIRST)] != FIRST or names[-len(LAST) :] != LAST:
        return "members missing or out of order"
    return _shape_problem(members) or members


def _shape_problem(members: Members) -> str | None:
    seq, ts, event = members["seq"], members["ts"], members["event"]
    if members["v"] != VERSION or type(members["v"]) is not int:
        return "unknown version"
    if type(seq) is not int or seq < 1 or type(event) is not str or type(members["instance"]) is not str:
        return "seq, event or instance has the wrong type"
    if type(ts) is not str or not RECORD_TIME.fullmatch(ts):
        return "ts is not RFC 3339 in UTC with microseconds"
    if not all(members[name] is None or is_hex(members[name]) for name in LAST):
        return "prev or mac is not 64 hex digits or null"
    if event in _NEEDS_DECISION and type(members.get("decision_id")) is not str:
        return "no decision_id"
    return None


def is_hex(value: object) -> bool:
    """Return whether the value is a SHA-256 in lower-case hex."""
    return type(value) is str and _HEX.fullmatch(value) is not None
