"""Request heads that two HTTP readers could take differently end before ASGI, as a problem, on record."""

from __future__ import annotations

import pytest

from tests.edge.wire import PATH, TARGET, Edge, check_forbidden

LINES = {
    "absolute form": f"DELETE http://gateway.example{TARGET} HTTP/1.1",
    "absolute form to another host": f"DELETE https://evil.example{TARGET} HTTP/1.1",
    "authority form": "DELETE evil.example:443 HTTP/1.1",
    "asterisk form": "OPTIONS * HTTP/1.1",
    "CONNECT": "CONNECT evil.example:443 HTTP/1.1",
    "network-path reference": f"DELETE //evil.example{TARGET} HTTP/1.1",
    "fragment": f"DELETE {TARGET}#x HTTP/1.1",
    "empty fragment": f"DELETE {PATH}# HTTP/1.1",
    "fragment before the query": f"DELETE {PATH}#?count=1 HTTP/1.1",
    "raw UTF-8": f"DELETE {TARGET}&label=\xc3\xa9 HTTP/1.1",
    "control character": f"DELETE {TARGET}\x01 HTTP/1.1",
    "NUL": f"DELETE {TARGET}\x00 HTTP/1.1",
    "DEL": f"DELETE {TARGET}\x7f HTTP/1.1",
    "space in the target": f"DELETE {TARGET} x HTTP/1.1",
    "tab in the target": f"DELETE {TARGET}\tx HTTP/1.1",
    "tabs between the parts": f"DELETE\t{TARGET}\tHTTP/1.1",
    "no slash": f"DELETE {TARGET[1:]} HTTP/1.1",
    "userinfo": f"DELETE @evil.example{TARGET} HTTP/1.1",
    "no target": "DELETE HTTP/1.1",
    "no version": f"DELETE {TARGET}",
    "HTTP/2.0 in text": f"DELETE {TARGET} HTTP/2.0",
    "HTTP/0.9 in text": f"DELETE {TARGET} HTTP/0.9",
    "HTTP/1.2": f"DELETE {TARGET} HTTP/1.2",
    "HTTP/1.10": f"DELETE {TARGET} HTTP/1.10",
    "lower-case version": f"DELETE {TARGET} http/1.1",
    "space behind the version": f"DELETE {TARGET} HTTP/1.1 ",
    "HTTP/2 with prior knowledge": "PRI * HTTP/2.0",
    "HTTP/2 with prior knowledge and a path": "PRI / HTTP/2.0",
    "another protocol": f"DELETE {TARGET} ICE/1.0",
    "lower-case method": f"delete {TARGET} HTTP/1.1",
    "unknown method": f"CANCEL {TARGET} HTTP/1.1",
    "method with a space before it": f" DELETE {TARGET} HTTP/1.1",
    "a method's beginning": f"DELET {TARGET} HTTP/1.1",
    "a method and more": f"DELETEX {TARGET} HTTP/1.1",
    "bare CR": f"DELETE {TARGET} HTTP/1.1\rX: y",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

HEADERS = {
    "second Host": ["Host: gateway.example"],
    "second Host, other case": ["hOST: evil.example"],
    "second Authorization": ["Authorization: Bearer x"],
    "second, empty Authorization": ["authorization:"],
    "Upgrade to WebSocket": ["Connection: Upgrade", "Upgrade: websocket"],
    "Upgrade to WebSocket without Connection": ["Upgrade: websocket"],
    "Upgrade to h2": ["Connection: Upgrade", "Upgrade: h2"],
    "Upgrade to one of two": ["Connection: Upgrade", "Upgrade: h2c, websocket"],
    "Upgrade to one of two, in two lines": ["Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket"],
    "Upgrade to nothing": ["Connection: Upgrade", "Upgrade:"],
    "folded line": ["X-A: 1", " Transfer-Encoding: chunked"],
    "folded line with a tab": ["X-A: 1", "\tContent-Length: 3"],
    "space before the colon": ["X-A : 1"],
    "tab before the colon": ["X-A\t: 1"],
    "space inside a name": ["X A: 1"],
    "no colon": ["X-A"],
    "empty name": [": 1"],
    "NUL in a name": ["X\x00A: 1"],
    "NUL in a value": ["X-A: a\x00b"],
    "bare CR in a value": ["X-A: a\rAuthorization: Bearer x"],
    "bare LF": ["X-A: a\n\tContent-Length: 3"],
    "non-ASCII name": ["X-\xe9: 1"],
    "parenthesis in a name": ["X(A): 1"],
    "colon first": [":X-A: 1"],
}

HOSTS = {
    "none": None,
    "empty": "",
    "two in one": "a, b",
    "path": "gateway.example/v2",
    "userinfo": "x@gateway.example",
    "space": "gateway example",
    "no port behind the colon": "gateway.example:",
    "port of letters": "gateway.example:http",
    "port over 65535": "gateway.example:65536",
    "only a port": ":8080",
    "dots": "..",
    "open bracket": "[::1",
    "scheme": "http://gateway.example",
    "query": "gateway.example?x",
    "escape": "gateway%2eexample",
    "non-ASCII": "g\xe4teway.example",
}


@pytest.mark.parametrize("name", LINES)
def test_request_line(edge: Edge, name: str) -> None:
    """Only origin-form, in printable ASCII, in HTTP/1.1 or 1.0, is a request."""
    check_forbidden(edge, edge.request(line=LINES[name]))


@pytest.mark.parametrize("name", HEADERS)
def test_header(edge: Edge, name: str) -> None:
    """A header that a reader could drop, join or take for another ends the request."""
    check_forbidden(edge, edge.request(*HEADERS[name]))


@pytest.mark.parametrize("name", HOSTS)
def test_host(edge: Edge, name: str) -> None:
    """Exactly one valid Host, whatever else is right (RFC 9112, 3.2)."""
    check_forbidden(edge, edge.request(host=HOSTS[name]))


def test_strangers_are_told_what_http_forbids_before_they_are_asked_for_a_key(edge: Edge) -> None:
    """The order of refusal: 400 by HTTP stands before 401."""
    check_forbidden(edge, edge.request("Upgrade: websocket", team=None))


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\n\r", b"\r\r\n"])
def test_other_line_ends(edge: Edge, line_end: bytes) -> None:
    """Lines end with CR LF and nothing else."""
    check_forbidden(edge, edge.request("X-A: 1").replace(b"\r\n", line_end))


def test_the_edge_of_what_is_allowed(edge: Edge) -> None:
    """Empty lines before a request, odd but legal headers, and IPv6 hosts do no harm, and nothing of it is relayed."""
    before = len(edge.reached)
    odd = ["X_Forwarded_For: 1", "Content_Length: 5", "X-Empty:", "X-Latin: \xe9", "Connection: authorization, host",
           "Cookie: qstash_token=x", "Upstash-Method: POST", "X-HTTP-Method-Override: GET", "Via: 1.1 x"]  # fmt: skip
    [answer] = edge.send(b"\r\n\r\n" + edge.request(*odd, host="[::1]:8080"), want=1)
    [entry] = edge.reached[before:]
    assert answer.status == 200
    assert {name.lower() for name, _ in entry.call.headers} <= {
        "host", "authorization", "accept", "accept-encoding", "user-agent", "traceparent", "connection",
    }  # fmt: skip
    assert (entry.call.method, entry.call.path, entry.call.body) == ("DELETE", PATH, b"")
    assert f"{PATH}?{entry.call.query}" == TARGET
