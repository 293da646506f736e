"""Callers of every kind over a few connections: most are allowed, some refused, some hang up, some send much."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.harness.machine import CannotMeasure
from benchmarks.harness.requests import EXACT, KEY, OVER_CAP, PATH, delete

_TIMEOUT_S = 60
_HANG_UP_EACH = 1000
"""Rarer than the others: an outcome that nobody waited for is kept for ten seconds, so that a repeat can join it."""


@dataclass(slots=True)
class Traffic:
    """All requests of a run: numbered on, so that no two ask for the same; answers are counted by status."""

    numbers: Iterator[int] = field(default_factory=itertools.count)
    answers: Counter[int] = field(default_factory=Counter)
    hung_up: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    data: bytes
    status: int
    hang_up: bool = False


async def send(traffic: Traffic, requests: int, *, port: int, connections: int) -> None:
    """Sends so many requests and closes every connection. Raises: CannotMeasure, if an answer is not the right one."""
    left = itertools.islice(traffic.numbers, requests)
    try:
        async with asyncio.TaskGroup() as callers:
            for _ in range(connections):
                callers.create_task(_call(traffic, left, port))
    except ExceptionGroup as group:
        first = group.exceptions[0]
        if isinstance(first, CannotMeasure):
            raise first from None
        if isinstance(first, (OSError, EOFError)):
            raise CannotMeasure(f"A caller lost its answer: {first!r}.") from first
        raise


async def _call(traffic: Traffic, left: Iterator[int], port: int) -> None:
    """One caller, until no number is left; after hanging up it connects anew."""
    while (number := next(left, None)) is not None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while number is not None:
                asked = _asked(number)
                writer.write(asked.data)
                if asked.hang_up:
                    await writer.drain()
                    traffic.hung_up += 1
                    break
                await _answered(traffic, asked, reader)
                number = next(left, None)
        finally:
            writer.close()
            await writer.wait_closed()


async def _answered(traffic: Traffic, asked: _Asked, reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
    status = int(head.split(b" ", 2)[1])
    traffic.answers[status] += 1
    if status != asked.status:
        raise CannotMeasure(f"An answer of {status}, where {asked.status} was expected, to {asked.data[:200]!r}.")


def _asked(number: int) -> _Asked:
    """Of every hundred requests one of each special kind; the others are allowed cancels of one URL."""
    if number % _HANG_UP_EACH == _HANG_UP_EACH - 1:
        return _Asked(delete(f"{EXACT}&label=s{number}"), 200, hang_up=True)
    special = _SPECIAL.get(number % 100)
    return special(number) if special is not None else _Asked(delete(f"{EXACT}&label=s{number}"), 200)


def _body(members: object) -> bytes:
    body = json.dumps(members)
    lines = [f"DELETE {PATH} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {KEY}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode("ascii")


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode("ascii")


def _run_ids(number: int) -> str:
    return "&".join(f"workflowRunIds=wfr_s{number}_{place}" for place in range(100))


_SPECIAL: dict[int, Callable[[int], _Asked]] = {
    10: lambda number: _Asked(delete(f"{EXACT}&label=s{number}", key="nobody"), 401),
    20: lambda number: _Asked(delete(f"{OVER_CAP}&label=s{number}"), 403),
    30: lambda number: _Asked(delete(f"{EXACT}&Label=s{number}"), 400),
    50: lambda number: _Asked(_body({"workflowRunIds": [f"wfr_s{number}"]}), 200),
    60: lambda number: _Asked(delete(_run_ids(number)), 200),
    70: lambda _: _Asked(_get("/nowhere"), 404),
}
