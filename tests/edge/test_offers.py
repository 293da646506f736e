"""What HTTP lets a server leave out, or answer with a word that clients understand: offers, expectations, spaces."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.edge.wire import CHUNKED, JSON, PATH, RUN_IDS, TARGET, Edge, check_forbidden, check_problem, receive
from tests.support.gateway import Answer

OFFER = ["Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__", "Upgrade: h2c"]
CANCEL = f"DELETE {PATH} HTTP/1.1"
CHUNKS = b"5\r\n" + RUN_IDS[:5] + b"\r\n20;x=y\r\n" + RUN_IDS[5:] + b"\r\n0\r\n\r\n"
BY_ID = "workflowRunIds=wfr_billing_a1&count=1"

SPELLINGS = {
    "as the JVM writes it": OFFER,
    "lower case": ["connection: upgrade, http2-settings", "http2-settings: AAMAAABkAAQAAP__", "upgrade: h2c"],
    "upper case": ["CONNECTION: UPGRADE,HTTP2-SETTINGS", "HTTP2-SETTINGS: AAMAAABkAAQAAP__", "UPGRADE: H2C"],
    "spaces": ["Connection:\tHTTP2-Settings ,  Upgrade \t", "HTTP2-Settings: AAMAAABkAAQAAP__ ", "Upgrade: \th2c \t"],
    "two lines": ["Connection: HTTP2-Settings", "Connection: upgrade", "Upgrade: h2c"],
    "keep-alive too": ["Connection: keep-alive, Upgrade", "Upgrade: h2c"],
    "no Connection": ["Upgrade: h2c"],
}


def offering(edge: Edge, kind: str, headers: list[str]) -> tuple[bytes, str]:
    """A cancel of one kind with such headers, and the query that it becomes."""
    if kind == "query":
        return edge.request(*headers), TARGET.partition("?")[2]
    if kind == "length 0":
        return edge.request("Content-Length: 0", *headers), TARGET.partition("?")[2]
    if kind == "body":
        return edge.posted(RUN_IDS, *headers), BY_ID
    return edge.chunked(CHUNKS, *headers), BY_ID


@pytest.mark.parametrize("kind", ["query", "length 0", "body", "chunked"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_offer_of_http_2_is_left_out(edge: Edge, spelling: str, kind: str) -> None:
    """The request is answered in HTTP/1.1 as if nothing had been offered, then the connection ends."""
    data, query = offering(edge, kind, SPELLINGS[spelling])
    before = len(edge.reached)
    [answer] = edge.send(data)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert "upgrade" not in answer.headers
    assert [entry.call.query for entry in edge.reached[before:]] == [query]


@pytest.mark.parametrize("kind", ["query", "body", "chunked"])
def test_an_offer_loses_no_body_wherever_the_bytes_are_cut(edge: Edge, kind: str) -> None:
    """In two pieces cut anywhere, and byte by byte, it is the same request."""
    data, query = offering(edge, kind, OFFER)
    before = len(edge.reached)
    cuts = range(1, len(data))
    for cut in cuts:
        with edge.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(data[:cut])
            time.sleep(0.001)
            connection.sendall(data[cut:])
            assert [answer.status for answer in receive(connection)] == [200], f"cut at byte {cut}"
    assert [answer.status for answer in edge.send(*(data[at : at + 1] for at in range(len(data))))] == [200]
    assert [entry.call.query for entry in edge.reached[before:]] == [query] * (len(cuts) + 1)


@pytest.mark.parametrize("kind", ["query", "body", "chunked"])
def test_nothing_behind_an_offer_is_a_request(edge: Edge, kind: str) -> None:
    """The connection ends with the answer, so no byte behind the request can be one."""
    data, query = offering(edge, kind, OFFER)
    before = len(edge.reached)
    assert [answer.status for answer in edge.send(data + edge.request("X-Smuggled: 1"))] == [200]
    assert [entry.call.query for entry in edge.reached[before:]] == [query]


def test_an_offer_behind_another_request_waits_for_its_turn(edge: Edge) -> None:
    """Pipelined behind a cancel, it is answered second, with its body."""
    data, query = offering(edge, "chunked", OFFER)
    before = len(edge.reached)
    assert [answer.status for answer in edge.send(edge.request() + data)] == [200, 200]
    assert [entry.call.query for entry in edge.reached[before:]] == [TARGET.partition("?")[2], query]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([JSON, "Content-Length: 37", "Transfer-Encoding: chunked"], RUN_IDS),
        ([JSON, "Content-Length: 3 7"], RUN_IDS),
        ([JSON, "Transfer-Encoding: gzip, chunked"], RUN_IDS),
        ([JSON, CHUNKED], b"25\r\n" + RUN_IDS + b"XX0\r\n\r\n"),
        ([JSON, CHUNKED], b"25\r\n" + RUN_IDS + b"\r\n0\r\nContent-Length: 3\r\n\r\n"),
    ],
    ids=["both framings", "a length of two", "two codings", "broken chunks", "a trailer"],
)
def test_an_offer_loosens_no_framing(edge: Edge, headers: list[str], body: bytes) -> None:
    """The body behind it is read by the same rules."""
    check_forbidden(edge, edge.request(*headers, *OFFER, line=CANCEL, body=body))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_half_a_body_behind_an_offer_cancels_nothing(edge: Edge, framing: str) -> None:
    """A caller that stalls in the middle gets 408, and never everything."""
    whole = edge.posted(RUN_IDS, *OFFER) if framing == "length" else edge.chunked(b"25\r\n" + RUN_IDS, *OFFER)
    before = edge.reached
    [answer] = edge.send(whole[:-4])
    check_problem(edge, answer, 408, "receive_timeout")
    assert edge.reached == before


@pytest.mark.parametrize("expected", ["100-continue", "100-Continue ", "200-ok"])
def test_an_expectation_is_417_and_the_body_is_never_a_request(edge: Edge, expected: str) -> None:
    """Clients then send the same again without it; what follows on this connection is not read."""
    smuggled = edge.request()
    head = edge.request(JSON, f"Content-Length: {len(smuggled)}", f"Expect: {expected}", line=CANCEL)
    before = edge.reached
    for pieces in ([head], [head + smuggled], [head, smuggled]):
        [answer] = edge.send(*pieces, pause_s=0.02)
        assert answer.headers["connection"] == "close"
        check_problem(edge, answer, 417, "expectation_failed")
    assert edge.reached == before


def test_an_expectation_of_http_1_0_is_ignored(edge: Edge) -> None:
    """RFC 9110, 10.1.1; nor is it answered with a 100, which that version does not know."""
    line = f"DELETE {PATH} HTTP/1.0"
    request = edge.request(JSON, "Content-Length: 37", "Expect: 100-continue", line=line, body=RUN_IDS)
    [answer] = edge.send(request)
    assert (answer.status, answer.headers["connection"]) == (200, "close")


SPACED = {
    "behind": "{name}: {value}  ",
    "tab behind": "{name}: {value}\t",
    "both behind": "{name}: {value} \t ",
    "none before": "{name}:{value}",
    "tab before": "{name}:\t{value}",
    "many before": "{name}:  \t {value}",
}


@pytest.mark.parametrize("form", SPACED)
def test_whitespace_around_a_value_is_no_part_of_it(edge: Edge, form: str) -> None:
    """RFC 9110, 5.5: for every header that is read, the value is what stands between."""

    def spaced(name: str, value: str) -> str:
        return SPACED[form].format(name=name, value=value)

    lines = [CANCEL, spaced("Host", "gateway.example"), spaced("Authorization", f"Bearer {edge.gateway.key()}")]
    lines += [spaced("Content-Type", "application/json; charset=utf-8"), spaced("Content-Length", "37")]
    lines += [spaced("Gateway-Reason", "no space at the end")]
    before = len(edge.reached)
    [answer] = edge.send("\r\n".join([*lines, "", ""]).encode() + RUN_IDS, want=1)
    assert answer.status == 200
    assert [entry.call.query for entry in edge.reached[before:]] == [BY_ID]
    [intent] = [one for one in edge.records() if one.get("decision_id") == answer.headers["gateway-decision"]
                and one["event"] == "intent"]  # fmt: skip
    assert intent["reason"] == "no space at the end"


@pytest.mark.parametrize("coding", ["Chunked", "CHUNKED", "chunkeD ", "\tchunked", "  Chunked  "])
def test_the_name_of_a_coding_has_no_case(edge: Edge, coding: str) -> None:
    """RFC 9112, 7; with spaces around it, too."""
    data = edge.request(JSON, f"Transfer-Encoding:{coding}", line=CANCEL, body=CHUNKS)
    before = len(edge.reached)
    assert [answer.status for answer in edge.send(data, want=1)] == [200]
    assert [entry.call.query for entry in edge.reached[before:]] == [BY_ID]


@pytest.mark.parametrize("token", ["close", "Close", "CLOSE", "foo, Close", "close ,foo", "\tclose\t"])
def test_a_connection_ends_when_its_caller_says_so(edge: Edge, token: str) -> None:
    """The option has no case and stands in a list (RFC 9110, 7.6.1); nothing behind it is a request."""
    before = len(edge.reached)
    [answer] = edge.send(edge.request(f"Connection: {token}") + edge.request())
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert "keep-alive" not in answer.headers
    assert len(edge.reached) == before + 1


WRONG_PATHS = {
    "/v2//workflows/runs": "double slash",
    "/v2/workflows/runs/": "slash at its end",
    "/v2/workflows%2Fruns": "escape",
    "/v2/workflows%2fruns": "escape",
    "/%76%32/workflows/runs": "escape",
    "/V2/workflows/runs": "upper case",
    "/v2/workflows/Runs/": "upper case",
    "/Gateway/v1/whoami": "upper case",
    "/v2/./workflows/runs": "dot",
}


@pytest.mark.parametrize("path", WRONG_PATHS)
def test_a_path_that_is_nearly_one_of_ours_is_told_apart(edge: Edge, path: str) -> None:
    """It stays 404, and the sentence says what is wrong with it and how the path is written."""
    answer = _problem(edge, f"DELETE {path} HTTP/1.1")
    assert answer.status == 404
    sentence = str(answer.json()["error"])
    assert WRONG_PATHS[path] in sentence
    assert ("/gateway/v1/whoami" if "whoami" in path else PATH) in sentence


def test_a_path_that_begins_with_a_double_slash_is_told_so(edge: Edge) -> None:
    """A base URL that ends in a slash makes one."""
    answer = _problem(edge, f"DELETE /{TARGET} HTTP/1.1")
    assert answer.status == 400
    assert "double slash" in str(answer.json()["error"])


def _problem(edge: Edge, line: str) -> Answer:
    before = edge.reached
    [answer] = edge.send(edge.request(line=line), want=1)
    assert edge.reached == before
    assert json.loads(answer.body)["status"] == answer.status
    return answer
