"""A gateway that answers as it is told, for answers that a real one gives too seldom; it keeps what it was sent."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

PLAN_ID = "01a20940-23dd-7575-b88b-57f1178d3492"
PLANS = "/gateway/v1/plans"
ASKED = f"POST {PLANS}"
SEEN = f"GET {PLANS}/{PLAN_ID}"
APPLIED = f"POST {PLANS}/{PLAN_ID}/apply"

Said = tuple[int, object]
"""A status with a JSON value or raw bytes; status 0 hangs up without a word."""


def plan(state: str = "ready", **members: object) -> dict[str, object]:
    """A plan of one run."""
    run = {
        "workflowRunId": "wfr_a",
        "workflowUrl": "https://a.example/x",
        "created": "2026-11-23T12:00:00.000Z",
        "labels": [],
    }
    ready = {
        "runs": 1,
        "sample": [run],
        "oldest": run["created"],
        "newest": run["created"],
        "by_workflow": {"https://a.example/x": 1},
        "by_label": {},
        "skipped": {},
        "rule": "a/own",
        "orders_sent": 0,
        "cancelled": 0,
    }
    shown = ready if state in ("ready", "applying", "applied") else {}
    return {"plan": PLAN_ID, "state": state, "expires_in_s": 600, **shown, **members}


@dataclass
class FakeGateway:
    """Answers each call with the next of its list, the last one again and again."""

    says: Mapping[str, Sequence[Said]]
    headers: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    calls: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def next(self, call: str) -> Said:
        """What to say to a call."""
        answers = self.says.get(call, [(404, {"error": "no such thing", "code": "not_found"})])
        said = answers[min(self.calls.count(call), len(answers) - 1)]
        self.calls.append(call)
        return said


@contextmanager
def fake_gateway(says: Mapping[str, Sequence[Said]], **headers: str) -> Iterator[FakeGateway]:
    """Serves one; `headers` go with each answer, with `_` for `-`."""
    fake = FakeGateway(says, {name.replace("_", "-"): value for name, value in headers.items()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake)) as server:
        fake.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


def _handler(fake: FakeGateway) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._say()

        def do_GET(self) -> None:
            self._say()

        def _say(self) -> None:
            fake.authorizations.add(self.headers["Authorization"])
            status, said = fake.next(f"{self.command} {self.path}")
            if not status:
                self.close_connection = True
                return
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**fake.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name in the base class
            """Says nothing."""

    return Handler
