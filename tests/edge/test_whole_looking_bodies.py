"""A body that breaks off after what is a whole cancel in itself: the announced rest is missing, so it is none."""

from __future__ import annotations

import socket
import time

import pytest

from tests.edge.wire import CHUNKED, JSON, PATH, RUN_IDS, Edge

LINE = f"DELETE {PATH} HTTP/1.1"


@pytest.mark.parametrize("half_closed", [False, True])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_whole_cancel_in_a_body_that_never_ends_cancels_nothing(edge: Edge, framing: str, half_closed: bool) -> None:
    """The end of a connection is not the end of a body, also where what came before it can be read."""
    if framing == "length":
        sent = edge.request(JSON, f"Content-Length: {len(RUN_IDS) + 1}", line=LINE, body=RUN_IDS)
    else:
        sent = edge.request(JSON, CHUNKED, line=LINE, body=b"%x\r\n%b\r\n" % (len(RUN_IDS), RUN_IDS))
    before = edge.reached
    with edge.connect() as connection:
        connection.sendall(sent)
        time.sleep(0.05)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                continue
    assert edge.send(edge.request(line="GET /healthz HTTP/1.1", team=None), want=1)[0].status == 200
    time.sleep(0.2)
    assert edge.reached == before
