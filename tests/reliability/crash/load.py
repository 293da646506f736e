"""Callers that never ask for the same runs twice, so that each cancel at upstream names its intent."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Told:
    """What callers were told: the status and body of each answer, by the query that asked for it."""

    answers: dict[str, tuple[int, dict]] = field(default_factory=dict)


def queries(round_name: str, rng: random.Random) -> Iterator[str]:
    """Query strings as upstream will get them, each of one to four runs of its own."""
    for number in itertools.count():
        names = [f"wfr_{round_name}_{number}_{part}" for part in range(rng.randint(1, 4))]
        yield "&".join(f"workflowRunIds={name}" for name in names) + f"&count={len(names)}"


async def call(
    port: int,
    key: str,
    asked: Iterator[str],
    told: Told,
    *,
    most: int | None = None,
    headers: Callable[[str], tuple[str, ...]] = lambda _: (),
) -> None:
    """One caller on one connection, one request after the other, until the gateway is gone or `most` were answered."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return
    try:
        for query in itertools.islice(asked, most):
            writer.write(request(query, port, key, *headers(query)))
            told.answers[query] = await answer(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


def request(query: str, port: int, key: str, *headers: str) -> bytes:
    """The bytes of one cancel, with more headers."""
    # Beside run IDs the gateway takes no count; it adds theirs.
    asked = query.partition("&count=")[0] if query.startswith("workflowRunIds=") else query
    lines = [f"DELETE /v2/workflows/runs?{asked} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {key}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict]:
    """The status and the body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(int(length.split(b":")[1]))
    return int(head.split(b" ")[1]), json.loads(body)


async def ready(port: int) -> bool:
    """Whether the gateway answers that it is ready; False once it is gone."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        status, _ = await answer(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    finally:
        writer.close()
    return status == 200
