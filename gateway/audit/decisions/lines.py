"""What a line of the log says at its beginning: enough to know which decision it belongs to, without parsing it.

The members come in one order in every line, so what is found here is where the log's own writer put it. It is a hint:
what is shown of a decision comes from lines that were parsed whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import orjson

from gateway.audit.chain import parse_line
from gateway.audit.decisions.joined import RecordedDecision

SHOWN = frozenset((b"intent", b"denied", b"joined", b"chunk", b"outcome", b"settled"))
"""The events of which a decision is joined. A plan that was only looked at, and a question, are no decisions."""

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_BEGINNING = re.compile(
    rb'\{"v":1,"seq":([0-9]{1,18}),"ts":"[^"]{27}","event":"([a-z_]{1,64})","instance":"([A-Za-z0-9_-]{1,128})"'
    rb'(?:,"decision_id":"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"'
    rb'(?:,"team":("(?:[^"\\]|\\.){0,1024}"))?)?'
)


class Seen(NamedTuple):
    """The beginning of a line; `decision_id` is None if it names none, `team` is JSON, and only where it comes next."""

    seq: int
    event: bytes
    instance: bytes
    decision_id: bytes | None
    team: bytes | None

    @property
    def begins(self) -> bool:
        """Whether a decision begins with this record."""
        return self.event in (b"intent", b"denied")


def seen(line: bytes) -> Seen | None:
    """Return what stands at the beginning of a line; None if it is no record."""
    found = _BEGINNING.match(line)
    if found is None:
        return None
    seq, event, instance, decision_id, team = found.groups()
    return Seen(int(seq), event, instance, decision_id, team)


def team_named(team: bytes) -> str | None:
    """Return the team in a `Seen`; None if it is not JSON."""
    try:
        name = orjson.loads(team)
    except orjson.JSONDecodeError:
        return None
    return str(name)


def key_of(decision_id: str) -> bytes:
    """Return a decision ID as 16 bytes, which sort as the IDs do: by the time at which the request came."""
    return bytes.fromhex(decision_id.replace("-", ""))


def id_of(key: bytes) -> str:
    """Return the decision ID of 16 bytes."""
    digits = key.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def at_ms_of(decision_id: str) -> int:
    """Return when the request of a decision came, in Unix milliseconds: a UUID of version 7 begins with it."""
    return int.from_bytes(key_of(decision_id)[:6], "big")


def take_all(decision: RecordedDecision, lines: Iterable[bytes]) -> None:
    """Take the records in lines, whole or without their newline; what is no record, or another's, is passed over."""
    for line in lines:
        members = parse_line(line.removesuffix(b"\n"))
        if isinstance(members, Mapping):
            decision.take(members)
