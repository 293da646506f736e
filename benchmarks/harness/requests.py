"""The requests that are sent, as the bytes before and after a number that makes each of them another one."""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass

KEY = f"qgk_bench_{'0123456789' * 4}abc"
"""The caller's key: made up, and of the shape of a real one."""

TOKEN = "bench_token_" + "0123456789" * 3
"""What the stub takes for the real token."""

PATH = "/v2/workflows/runs"
URL = "https://app7.example.com/api/workflow"
EXACT = "workflowUrl=https%3A%2F%2Fapp7.example.com%2Fapi%2Fworkflow&workflowUrlExactMatch=true&count=50"
OVER_CAP = EXACT.replace("count=50", "count=5000")
INEXACT = EXACT.replace("&workflowUrlExactMatch=true", "")

_READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Request:
    """A request with a place for a number in it, and the status that answers it."""

    head: str
    tail: str
    status: int = 200

    @property
    def whole(self) -> bytes:
        """The bytes without a number."""
        return f"{self.head}{self.tail}".encode("ascii")

    def numbered(self, number: int) -> bytes:
        """The bytes of one of them."""
        return f"{self.head}{number}{self.tail}".encode("ascii")


def delete(query: str, *, key: str = KEY) -> bytes:
    """One cancel with just this query."""
    return _request(query, "", key=key, status=200).whole


def cancel(query: str = EXACT, *, key: str = KEY, status: int = 200) -> Request:
    """A cancel with a label of its own; no two calls of this make the same labels."""
    return _request(f"{query}&label={secrets.token_hex(4)}-", "", key=key, status=status)


def cancel_runs(run_ids: int) -> Request:
    """A cancel of so many runs, one of them with the number in its ID."""
    others = "".join(f"&workflowRunIds=wfr_{number:021d}" for number in range(run_ids - 1))
    return _request(f"workflowRunIds=wfr_{secrets.token_hex(4)}_", others, key=KEY, status=200)


def refusals() -> dict[str, Request]:
    """A request for each way of being refused, by what is wrong with it."""
    return {
        "unknown key": cancel(key="nobody", status=401),
        "over the cap": cancel(OVER_CAP, status=403),
        "not exact": cancel(INEXACT, status=403),
    }


def to_stub(request: Request) -> Request:
    """The same with the token in place of the key, for what upstream alone can do."""
    return Request(request.head, request.tail.replace(KEY, TOKEN), request.status)


def _request(before: str, after: str, *, key: str, status: int) -> Request:
    headers = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    return Request(f"DELETE {PATH}?{before}", f"{after} HTTP/1.1\r\n{headers}\r\n", status)


def exchange(connection: socket.socket, data: bytes) -> int:
    """Sends one request, reads its whole answer, and returns the status. Raises: OSError."""
    connection.sendall(data)
    answer = b""
    while True:
        if not (part := connection.recv(_READ_BYTES)):
            raise ConnectionResetError("the connection ended before the answer")
        answer += part
        head, whole, body = answer.partition(b"\r\n\r\n")
        if whole and len(body) >= _length(head):
            return int(head.split(b" ", 2)[1])


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def ask(port: int, data: bytes, *, timeout_s: float = 10) -> int:
    """The status that answers one request over a connection of its own. Raises: OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        return exchange(connection, data)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
