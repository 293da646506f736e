"""A gateway that answers as it is told, for answers that a real one gives too seldom; it keeps what it was sent."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PLAN_ID = "01a20940-23dd-7575-b88b-57f1178d3492"
PLANS = "/gateway/v1/plans"
ASKED = f"POST {PLANS}"
SEEN = f"GET {PLANS}/{PLAN_ID}"
APPLIED = f"POST {PLANS}/{PLAN_ID}/apply"
STOPPED = f"DELETE {PLANS}/{PLAN_ID}"
LISTED = f"GET {PLANS}"
DECISION_ID = "01a22621-e564-7426-9af6-efd4c831619a"
DECIDED = f"GET /gateway/v1/decisions/{DECISION_ID}"
AS_OF = "2026-11-23T15:27:06.000Z"
AS_OF_MS = "1795447626000"
WAIT_S = 30

Said = tuple[int, object] | tuple[int, object, Mapping[str, str]]
"""A status with a JSON value or raw bytes, and perhaps headers; status 0 hangs up without a word."""


def another(number: int) -> str:
    """The ID of the plan, or of the decision, of that number."""
    return f"{PLAN_ID[:-2]}{number:02d}"


def applied(number: int) -> str:
    """The call that applies the plan of that number."""
    return f"POST {PLANS}/{another(number)}/apply"


def decision(state: str, **members: object) -> dict[str, object]:
    """A decision."""
    known: dict[str, object] = {
        "decision_id": DECISION_ID,
        "at": "2026-11-23T15:27:10.000001Z",
        "team": "billing",
        "principal": "billing/ann",
        "action": "cancel_runs",
        "request": {"workflowUrl": ["https://a.example/x"], "workflowUrlExactMatch": True, "count": 100},
        "rule": "billing/own",
        "decision": "permit",
        "state": state,
        "cancelled": None,
        "over_cancelled": None,
        "orders": {"planned": 2, "sent": 1},
        "upstream_status": None,
        "settled": None,
        "reason": "stuck since noon",
        "policy_digest": "0" * 64,
    }
    return known | members


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
    """Answers each call with the next of its list, the last one again and again; `asked` are the bodies it was sent.

    `holds` says of a call which other one has to come so often before it is answered.
    """

    says: Mapping[str, Sequence[Said]]
    headers: Mapping[str, str] = field(default_factory=dict)
    holds: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    port: int = 0
    calls: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    ending: threading.Event = field(default_factory=threading.Event)

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

    def hold(self, call: str) -> None:
        """Waits until the call may be answered."""
        deadline = time.monotonic() + WAIT_S
        other, times = self.holds.get(call, (call, 0))
        while self.calls.count(other) < times and time.monotonic() < deadline:
            if self.ending.wait(0.02):
                return

    def await_call(self, call: str, times: int = 1) -> None:
        """Waits until a call has come so often."""
        deadline = time.monotonic() + WAIT_S
        while self.calls.count(call) < times and time.monotonic() < deadline:
            time.sleep(0.02)
        assert self.calls.count(call) >= times, self.calls


@contextmanager
def fake_gateway(
    says: Mapping[str, Sequence[Said]], holds: Mapping[str, tuple[str, int]] | None = None, **headers: str
) -> Iterator[FakeGateway]:
    """Serves one; `headers` go with each answer, with `_` for `-`."""
    fake = FakeGateway(says, {name.replace("_", "-"): value for name, value in headers.items()}, holds or {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake)) as server:
        fake.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield fake
        finally:
            fake.ending.set()
            server.shutdown()
            thread.join()


def _handler(fake: FakeGateway) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if body:
                fake.asked.append(json.loads(body))
            self._say()

        def do_DELETE(self) -> None:
            self._say()

        def do_GET(self) -> None:
            self._say()

        def _say(self) -> None:
            fake.authorizations.add(self.headers["Authorization"])
            call = f"{self.command} {self.path}"
            status, said, *more = fake.next(call)
            fake.hold(call)
            if not status:
                self.close_connection = True
                return
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**fake.headers, **dict(*more), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # who left at a second Ctrl-C
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name in the base class
            """Says nothing."""

    return Handler
