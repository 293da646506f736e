"""A question: a request that is judged and not sent, read from any form in which people and records write one.

All forms end in the one reader of requests, so nothing can be asked here that could not be asked of the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from gateway.core.errors import NotFound
from gateway.core.parse import Body
from gateway.core.plan import Decision
from gateway.core.request import REPEATABLE, ActionRequest, Principal
from gateway.operations.calls.cancel_runs import NAMES, RUNS, parse_cancel, parse_single_cancel
from gateway.operations.table import asked_by
from gateway.policy.decide import decide
from gateway.policy.reading import Reading
from gateway.policy.rules import Policies
from gateway.policy.view import reading_of

METHOD = "DELETE"
_REQUEST_LINE = re.compile(r"(?:(?P<method>[A-Z]+) +)?(?P<path>/[^ ?]*)(?:\?(?P<query>[^ ]*))?(?: HTTP/1\.[01])?")
# A name ends at the first "=". If a name could contain one, every later "=" would be tried as the end of the name.
_QUERY = re.compile(r"\??(?P<query>[^ /?=]*=[^ ]*)?")

MAX_LINE = 131_072 + 64
"""The most characters of a request line: the longest target by default, with the method and version around it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request to judge, its principal, and its time (Unix milliseconds)."""

    principal: Principal
    request: ActionRequest
    now_ms: int

    def judged(self, policies: Policies) -> Decision:
        """Return the decision that the gateway would make."""
        return decide(policies, self.principal, self.request, self.now_ms)

    def reading(self, policies: Policies) -> Reading:
        """Return whether the request is judged as upstream would match it, or as the gateway does after a look-up."""
        return reading_of(
            policies.for_team(self.principal.team, self.request.action).enforced, self.request, self.now_ms
        )


def from_line(text: str, *, body: bytes = b"", reason: str | None = None) -> ActionRequest:
    """Parse a request line (`DELETE /v2/workflows/runs[/ID]?…`), a target, or only the query; `body` is JSON.

    Raises:
        MalformedRequest: the gateway would answer 400.
        ValueError: it is not the request line of a cancel.
    """
    if len(text) > MAX_LINE:
        raise ValueError(f"a request line is at most {MAX_LINE} characters")
    line = text.strip()
    match = _REQUEST_LINE.fullmatch(line)
    path = RUNS if match is None else match["path"]
    found = asked_by(METHOD, path)
    run_id = None if found is None else found[1].named(path)
    if match is not None and ((match["method"] or METHOD) != METHOD or (path != RUNS and run_id is None)):
        raise ValueError(f"only {METHOD} {RUNS} is judged by policies, with a run ID behind it or without")
    match = match or _QUERY.fullmatch(line)
    if match is None:
        raise ValueError(f"expected a request line like '{METHOD} {RUNS}?label=nightly', or only the query")
    content, query = Body(body, (b"application/json",) if body else ()), (match["query"] or "").encode()
    return replace(_read(run_id, query, content), reason=reason)


def _read(run_id: str | None, query: bytes, body: Body) -> ActionRequest:
    if run_id is None:
        return parse_cancel(query, body)
    try:
        return parse_single_cancel(run_id, query, body)
    except NotFound as other_call:
        raise ValueError(other_call.sentence.rstrip(".")) from None


def from_wire(members: Mapping[str, object], *, reason: str | None = None) -> ActionRequest:
    """Make a request from typed fields that have the wire names, as the record has them in `asked`.

    Raises:
        MalformedRequest: the gateway would answer 400.
        ValueError: a field has the wrong type, or contradicts the others.
    """
    pairs = [(name, text) for name, value in members.items() for text in _texts(name, value)]
    if "workflowRunIds" in members and "count" in members:
        # The record adds the number of run IDs as count; in a request nothing may stand beside run IDs.
        pairs = [pair for pair in pairs if pair[0] != "count"]
    request = parse_cancel("&".join(f"{name}={quote(text, safe='')}" for name, text in pairs).encode(), Body())
    if members.get("count", request.count) != request.count:
        raise ValueError("for run IDs count is their number")
    return replace(request, reason=reason)


def _texts(name: str, value: object) -> list[str]:
    if name not in NAMES:
        raise ValueError("a field has no name of this call")
    if name in REPEATABLE:
        values = value if isinstance(value, list | tuple) else [value]
        if values and all(isinstance(text, str) for text in values):
            return list(values)
    elif name == "workflowUrlExactMatch" and type(value) is bool:
        return [str(value).lower()]
    elif name in ("fromDate", "toDate") and type(value) is int:
        return [f"{value:013d}"]
    elif name == "count" and type(value) is int:
        return [str(value)]
    raise ValueError(f"{name} has the wrong type")
