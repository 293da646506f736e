"""An upstream in Python, for where there is no nginx: as a program it says its port, and at its end its count."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import httptools
import uvloop

from benchmarks.harness.instance import wait_until
from benchmarks.harness.machine import CannotMeasure, Cores
from benchmarks.harness.process import Process
from benchmarks.harness.requests import TOKEN

_BODY = b'{"cancelled":1}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
_STRANGER = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
_REAL = b"Bearer " + TOKEN.encode("ascii")


class _Count:
    """How many cancels arrived."""

    def __init__(self) -> None:
        self.cancels = 0


class _Connection(asyncio.Protocol):
    def __init__(self, count: _Count) -> None:
        self._count = count
        self._parser = httptools.HttpRequestParser(self)
        self._authorization = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._authorization = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._authorization = value

    def on_message_complete(self) -> None:
        self._count.cancels += 1
        self._transport.write(_ANSWER if self._authorization == _REAL else _STRANGER)


async def serve() -> None:
    """Answers until SIGTERM."""
    count, ended, loop = _Count(), asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: _Connection(count), "127.0.0.1", 0, backlog=4096)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()
    server.close()
    print(f"cancels {count.cancels}", flush=True)


class PythonStub:
    """The same in a process of its own, as the upstream of an instance."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        command = (sys.executable, "-m", "benchmarks.soak.upstream")
        environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = Process(command, core=cores.load, directory=directory, environment=environment)
        try:
            wait_until(self._process, lambda: self._said("port") is not None)
        except BaseException:
            self._process.stop()
            raise
        self._port = self._said("port") or 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def stop(self) -> int:
        """Ends it; how many cancels reached it. Raises: CannotMeasure, if it did not say."""
        self._process.stop()
        cancels = self._said("cancels")
        if cancels is None:
            raise CannotMeasure(f"The upstream did not say what reached it: {self._process.said()}")
        return cancels

    def _said(self, word: str) -> int | None:
        found = re.search(rf"^{word} (\d+)$", self._process.log.read_text(), re.MULTILINE)
        return int(found[1]) if found else None


if __name__ == "__main__":
    uvloop.run(serve())
