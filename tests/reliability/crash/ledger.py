"""An upstream that writes down what arrives, in the process of the test, and answers when it is let."""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from dataclasses import dataclass
from typing import Self

TARGET = re.compile(rb"DELETE /v2/workflows/runs\?(\S+) HTTP/1\.1\r\n")


@dataclass(slots=True)
class Sent:
    """One cancel that arrived: its query string as sent, and how many runs the answer says; `answered` once it left."""

    query: str
    cancelled: int
    answered: bool = False


class Ledger:
    """Every cancel that arrived. While `open` is not set, answers are held."""

    def __init__(self, rng: random.Random, *, most_latency_s: float = 0.004) -> None:
        self.sent: list[Sent] = []
        self.open = asyncio.Event()
        self.open.set()
        self._arrived = asyncio.Condition()
        self._lives = 0
        self._rng = rng
        self._most_latency_s = most_latency_s

    async def start(self) -> Self:
        """Listens on a free port of 127.0.0.1."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def hang_up(self) -> None:
        """Answers nobody who waits now, and everybody from now on."""
        self._lives += 1
        self.open.set()

    def stop(self) -> None:
        """Takes no more connections."""
        self._server.close()

    async def until_arrived(self, number: int, *, since: int) -> None:
        """Returns when `number` cancels more than `since` have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.sent) >= since + number)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._exchange(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the gateway is gone
        finally:
            writer.close()

    async def _exchange(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        await self._answer(await self._write_down(head), writer)

    async def _write_down(self, head: bytes) -> Sent:
        asked = TARGET.match(head)
        assert asked is not None, head[:200]
        query = asked[1].decode("ascii")
        sent = Sent(query, cancelled=self._carried_out(query))
        self.sent.append(sent)
        async with self._arrived:
            self._arrived.notify_all()
        return sent

    def _carried_out(self, query: str) -> int:
        """How many runs the cancel is said to hit."""
        return zlib.crc32(query.encode()) % (query.count("workflowRunIds=") + 1)

    async def _answer(self, sent: Sent, writer: asyncio.StreamWriter) -> None:
        life = self._lives
        await asyncio.sleep(self._rng.uniform(0, self._most_latency_s))
        await self.open.wait()
        if life != self._lives:
            return
        sent.answered = True
        await write_json(writer, b'{"cancelled":%d}' % sent.cancelled)


async def write_json(writer: asyncio.StreamWriter, body: bytes) -> None:
    """Answers with 200."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
    writer.write(body)
    await writer.drain()
