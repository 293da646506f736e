"""Where a body ends: one framing, no trailers, no half bodies, the same reading however the bytes arrive."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from tests.edge.wire import CHUNKED, JSON, PATH, RUN_IDS, TARGET, Edge, check_forbidden, check_problem, receive

LENGTHS = {
    "two lengths": ["Content-Length: 2", "Content-Length: 37"],
    "the same length twice": ["Content-Length: 37", "Content-Length: 37"],
    "a list of lengths": ["Content-Length: 37, 37"],
    "plus": ["Content-Length: +37"],
    "minus": ["Content-Length: -37"],
    "hex": ["Content-Length: 0x25"],
    "underscore": ["Content-Length: 3_7"],
    "point": ["Content-Length: 37.0"],
    "exponent": ["Content-Length: 37e0"],
    "empty": ["Content-Length:"],
    "space inside": ["Content-Length: 3 7"],
    "other digits": ["Content-Length: \xd9\xa3\xd9\xa7"],
    "over 2^64": ["Content-Length: 18446744073709551653"],
    "nineteen digits": ["Content-Length: 0000000000000000037"],
    "space before the colon": ["Content-Length : 37"],
    "length and chunked": ["Content-Length: 37", "Transfer-Encoding: chunked"],
    "chunked and length": ["Transfer-Encoding: chunked", "Content-Length: 37"],
    "chunked twice": ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    "chunked twice in a list": ["Transfer-Encoding: chunked, chunked"],
    "identity": ["Transfer-Encoding: identity"],
    "gzip before chunked": ["Transfer-Encoding: gzip, chunked"],
    "chunked not last": ["Transfer-Encoding: chunked, identity"],
    "unknown coding": ["Transfer-Encoding: xchunked"],
    "quoted": ['Transfer-Encoding: "chunked"'],
    "vertical tab": ["Transfer-Encoding: \x0bchunked"],
    "parameter": ["Transfer-Encoding: chunked;a=b"],
    "empty coding": ["Transfer-Encoding:"],
    "folded coding": ["Transfer-Encoding:", " chunked"],
}

CHUNKS = {
    "no CRLF behind the data": b"25\r\n" + RUN_IDS + b"XX0\r\n\r\n",
    "more data than announced": b"24\r\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "size over 2^64": b"FFFFFFFFFFFFFFFFF\r\n" + RUN_IDS,
    "negative size": b"-1\r\n" + RUN_IDS,
    "size with 0x": b"0x25\r\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "size with a plus": b"+25\r\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "size with a space": b"25 \r\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "size with an underscore": b"2_5\r\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "no size": b"\r\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "bare LF behind the size": b"25\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "bare CR behind the size": b"25\r" + RUN_IDS + b"\r\n0\r\n\r\n",
    "bare LF behind the data": b"25\r\n" + RUN_IDS + b"\n0\r\n\r\n",
    "bare LF in an extension": b"25;a\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "no chunks at all": RUN_IDS,
    "a trailer": b"25\r\n" + RUN_IDS + b"\r\n0\r\nX-A: 1\r\n\r\n",
    "a second credential as trailer": b"25\r\n" + RUN_IDS + b"\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
    "a length as trailer": b"25\r\n" + RUN_IDS + b"\r\n0\r\nContent-Length: 3\r\n\r\n",
    "a broken trailer": b"25\r\n" + RUN_IDS + b"\r\n0\r\nX A: 1\r\n\r\n",
    "garbage behind the last chunk": b"25\r\n" + RUN_IDS + b"\r\n0\r\nX\r\n\r\n",
}

VALID = {
    "one chunk": b"25\r\n" + RUN_IDS + b"\r\n0\r\n\r\n",
    "two chunks": b"5\r\n" + RUN_IDS[:5] + b"\r\n20\r\n" + RUN_IDS[5:] + b"\r\n0\r\n\r\n",
    "a chunk for each byte": b"".join(b"1\r\n%c\r\n" % byte for byte in RUN_IDS) + b"0\r\n\r\n",
    "upper-case size and leading zeros": b"00000025\r\n" + RUN_IDS + b"\r\n000\r\n\r\n",
    "an extension": b'25;name="value"\r\n' + RUN_IDS + b"\r\n0;last\r\n\r\n",
}
SENT = "workflowRunIds=wfr_billing_a1&count=1"
CANCEL = f"DELETE {PATH} HTTP/1.1"


@pytest.mark.parametrize("name", LENGTHS)
def test_two_readings_of_the_length(edge: Edge, name: str) -> None:
    """Where a body ends is said in exactly one way, and no 100 Continue asks for it before it is judged."""
    check_forbidden(edge, edge.request(JSON, *LENGTHS[name], line=CANCEL, body=RUN_IDS))


@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_that_are_none(edge: Edge, name: str) -> None:
    """A chunked body that breaks off its own grammar is refused whole, under one decision, on one record."""
    check_forbidden(edge, edge.chunked(CHUNKS[name]))


@pytest.mark.parametrize("name", ["no CRLF behind the data", "a trailer", "negative size"])
def test_chunks_that_break_while_the_body_is_awaited(edge: Edge, name: str) -> None:
    """The exchange that already waits for the body gives the answer, so there are not two."""
    head, end, body = edge.chunked(CHUNKS[name]).partition(b"\r\n\r\n")
    before = edge.reached
    [answer] = edge.send(head + end, body, pause_s=0.1)
    check_problem(edge, answer, 400, "malformed_request")
    assert edge.record(answer.headers["gateway-decision"])["principal"] == "billing/billing-key"
    assert edge.reached == before


@pytest.mark.parametrize("name", VALID)
def test_chunked_bodies_work(edge: Edge, name: str) -> None:
    """However it is cut into chunks, the body is the same request, and goes upstream without a body."""
    before = len(edge.reached)
    [answer] = edge.send(edge.chunked(VALID[name]), want=1)
    [entry] = edge.reached[before:]
    assert answer.status == 200
    assert (entry.call.query, entry.call.body) == (SENT, b"")


@pytest.mark.parametrize("dialect", ["query", "body", "chunked"])
def test_requests_split_at_every_byte_are_read_the_same(edge: Edge, dialect: str) -> None:
    """TCP has no messages: two pieces, cut anywhere, are one request."""
    data = {
        "query": edge.request("X-A: 1"),
        "body": edge.posted(RUN_IDS),
        "chunked": edge.chunked(VALID["two chunks"]),
    }[dialect]
    before = len(edge.reached)
    with edge.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(1, len(data)):
            connection.sendall(data[:cut])
            time.sleep(0.001)
            connection.sendall(data[cut:])
            [answer] = receive(connection, want=1)
            assert answer.status == 200, f"cut at byte {cut}"
    sent = {entry.call.query for entry in edge.reached[before:]}
    assert sent == {TARGET.partition("?")[2]} if dialect == "query" else {SENT}
    assert len(edge.reached) == before + len(data) - 1


def test_requests_sent_byte_by_byte_are_read_the_same(edge: Edge) -> None:
    """One byte a packet changes nothing."""
    data = edge.posted(RUN_IDS)
    before = len(edge.reached)
    with edge.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            connection.sendall(bytes([byte]))
        [answer] = receive(connection, want=1)
    assert answer.status == 200
    assert [entry.call.query for entry in edge.reached[before:]] == [SENT]


@pytest.mark.parametrize("cut", [0, 1, len(RUN_IDS) // 2, len(RUN_IDS) - 1])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_callers_that_go_away_inside_a_body_cancel_nothing(edge: Edge, framing: str, reset: bool, cut: int) -> None:
    """The end of a connection is never taken for the end of a body: an empty rest would mean every run."""
    whole = edge.posted(RUN_IDS) if framing == "length" else edge.chunked(b"25\r\n" + RUN_IDS)
    before = edge.reached
    with edge.connect() as connection:
        connection.sendall(whole[: len(whole) - len(RUN_IDS) + cut])
        time.sleep(0.02)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert edge.send(edge.request(line="GET /healthz HTTP/1.1", team=None), want=1)[0].status == 200
    time.sleep(0.05)
    assert edge.reached == before


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bodies_that_stall_are_given_up(edge: Edge, framing: str) -> None:
    """A body that does not arrive in time is 408 on record, and ends the connection."""
    whole = edge.posted(RUN_IDS) if framing == "length" else edge.chunked(b"25\r\n" + RUN_IDS)
    before = edge.reached
    [answer] = edge.send(whole[:-4])
    check_problem(edge, answer, 408, "receive_timeout")
    assert answer.headers["connection"] == "close"
    assert edge.reached == before


@pytest.mark.parametrize("sent", [b"D", b"DELETE /v2", b"\r\n", b"DELETE / HTTP/1.1\r\nHost: x\r\nX-A"])
def test_heads_that_stall_are_given_up(edge: Edge, sent: bytes) -> None:
    """A head that does not arrive in time is 408 on record."""
    [answer] = edge.send(sent)
    check_problem(edge, answer, 408, "receive_timeout")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bodies_for_other_paths_end_the_connection_unread(edge: Edge, framing: str) -> None:
    """A body that nobody reads cannot become the next request of the connection."""
    smuggled = edge.request()
    if framing == "length":
        headers, body = [JSON, f"Content-Length: {len(smuggled)}"], smuggled
    else:
        headers, body = [JSON, CHUNKED], b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    before = edge.reached
    for line, team, status in (
        ("GET /healthz HTTP/1.1", None, 200),
        (CANCEL, None, 401),
        (f"POST {PATH} HTTP/1.1", "billing", 405),
        ("DELETE /v2/topics/t HTTP/1.1", "billing", 404),
    ):
        [answer] = edge.send(edge.request(*headers, line=line, team=team, body=body))
        assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert edge.reached == before
