"""mitmproxy as the gateway: key, exact match, cap, token, one line of log for each request."""

from __future__ import annotations

import json
import os
import re
import time

from mitmproxy import http


class Gate:
    """Refuses what the others refuse, and swaps the caller's key for the token."""

    def __init__(self) -> None:
        self._key = f"Bearer {os.environ['BENCH_KEY']}"
        self._token = f"Bearer {os.environ['BENCH_TOKEN']}"
        self._log = os.open(os.environ["BENCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def request(self, flow: http.HTTPFlow) -> None:
        """Judges a request before it is passed on."""
        if status := self._refusal(flow.request):
            flow.response = http.Response.make(status, b"")
            return
        flow.request.headers["Authorization"] = self._token

    def response(self, flow: http.HTTPFlow) -> None:
        """Writes one line."""
        status = flow.response.status_code if flow.response is not None else None
        line = {"at": time.time(), "asked": flow.request.path, "status": status}
        os.write(self._log, json.dumps(line).encode() + b"\n")

    def _refusal(self, request: http.Request) -> int | None:
        if request.headers.get("Authorization") != self._key:
            return 401
        if request.path.partition("?")[0] != "/v2/workflows/runs":
            return 404
        exact = request.query.get("workflowUrlExactMatch") == "true"
        capped = re.fullmatch(r"[1-9][0-9]?|100", request.query.get("count", "")) is not None
        return None if exact and capped else 403


addons = [Gate()]
