"""An answer that the process still has in its own memory when the caller disconnects was written to nobody."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from gateway.edge.described.document import document
from gateway.simulator.server import SimulatorServer
from tests.edge.wire import PATH, URL, Edge
from tests.serving.doors import CANCEL, ask, certified, over_tls, to_port
from tests.support.gateway import RunningGateway, Setup
from tests.support.waiting import until

TARGET = f"DELETE {PATH}?{URL}&count=3 HTTP/1.1"
PAGE = "GET /gateway/v1/openapi.json HTTP/1.1"
KERNEL_BYTES, PAUSING_BYTES = 60_000, 112_000
"""An answer that nobody reads and that is longer than the kernel holds for this caller (53 kB), and no reason to pause
writing (116 kB): what is answered behind it stays in the gateway's own memory."""
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(params=["plain", "tls"])
def edge(request: pytest.FixtureRequest, tmp_path: Path, simulator: SimulatorServer) -> Iterator[Edge]:
    """A gateway that speaks TLS, or does not."""
    tls = ""
    if request.param == "tls":
        certificate, key = certified(tmp_path)
        tls = f"tls: {{certificate: {certificate}, key: {key}}}\n"
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", more=tls)) as gateway:
        yield Edge(gateway, simulator)


def connected(edge: Edge, certificate: Path) -> socket.socket:
    """A caller for whom the kernel holds little."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.connect(("127.0.0.1", edge.gateway.port))
    if not certificate.exists():
        return caller
    context = ssl.create_default_context(cafile=str(certificate))
    return context.wrap_socket(caller, server_hostname="127.0.0.1")


def test_the_repeat_of_a_cancel_whose_answer_the_kernel_never_took_joins_it(edge: Edge, tmp_path: Path) -> None:
    """The gateway knows that nobody can have read the number: the repeat is told it, and cancels no further runs."""
    certificate = tmp_path / "server.pem"
    caller = connected(edge, certificate)
    before = len(edge.reached)
    assert KERNEL_BYTES < len(orjson.dumps(document())) < PAUSING_BYTES
    caller.sendall(edge.request(line=PAGE))
    caller.sendall(edge.request(line=TARGET))
    until(lambda: edge.records()[-1]["event"] == "outcome" and len(edge.reached) == before + 1)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    caller.close()
    again = over_tls(edge.gateway, certificate) if certificate.exists() else to_port(edge.gateway.port)
    repeated = ask(again, "DELETE", f"{PATH}?{URL}&count=3", edge.gateway.key())
    assert repeated.status == 200
    assert len(edge.reached) == before + 1


def test_the_repeat_of_a_cancel_whose_answer_was_taken_is_another_cancel(edge: Edge, tmp_path: Path) -> None:
    """The control: whoever has the number and asks again means it."""
    certificate = tmp_path / "server.pem"
    before = len(edge.reached)
    for _ in range(2):
        connection = over_tls(edge.gateway, certificate) if certificate.exists() else to_port(edge.gateway.port)
        assert ask(connection, "DELETE", CANCEL, edge.gateway.key()).status == 200
    assert len(edge.reached) == before + 2
