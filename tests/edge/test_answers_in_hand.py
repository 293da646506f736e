"""An answer that the process still has in its own memory when the caller disconnects was written to nobody."""

from __future__ import annotations

import socket
import struct
import time

from tests.edge.wire import PATH, URL, Edge
from tests.support.waiting import until

TARGET = f"DELETE {PATH}?{URL}&count=3 HTTP/1.1"
PAGE = "GET /gateway/v1/whoami HTTP/1.1"
AHEAD_BYTES = 84_000
"""More unread bytes than the kernel holds for this caller (53 kB), fewer than make writing pause (116 kB)."""
RESET = struct.pack("ii", 1, 0)


def test_the_repeat_of_a_cancel_whose_answer_the_kernel_never_took_joins_it(edge: Edge) -> None:
    """The gateway knows that nobody can have read the number: the repeat is told it, and cancels no further runs."""
    with edge.connect() as probe:
        probe.sendall(edge.request(line=PAGE))
        size = len(probe.recv(65_536))
    before = len(edge.reached)
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.connect(("127.0.0.1", edge.gateway.port))
    for _ in range(AHEAD_BYTES // size):
        caller.sendall(edge.request(line=PAGE))
        time.sleep(0.005)  # one after another: at most eight are held
    caller.sendall(edge.request(line=TARGET))
    until(lambda: edge.records()[-1]["event"] == "outcome" and len(edge.reached) == before + 1)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    caller.close()
    [repeated] = edge.send(edge.request(line=TARGET), want=1)
    assert repeated.status == 200
    assert len(edge.reached) == before + 1
