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
from gateway.core.request import CANCEL_RUNS, REPEATABLE, Action, ActionRequest, Principal
from gateway.operations.calls.cancel_runs import NAMES, RUNS, parse_cancel
from gateway.operations.operation import Asked, CallForm, Operation
from gateway.operations.table import OPERATIONS, asked_by
from gateway.policy.decide import decide
from gateway.policy.reading import Reading
from gateway.policy.rules import Policies
from gateway.policy.view import reading_of

METHOD = "DELETE"
_REQUEST_LINE = re.compile(r"(?:(?P<method>[A-Z]+) +)?(?P<path>/[^ ?]*)(?:\?(?P<query>[^ ]*))?(?: HTTP/1\.[01])?")
# A name ends at the first "=". If a name could contain one, every later "=" would be tried as the end of the name.
_QUERY = re.compile(r"\??(?P<query>[^ /?=]*=[^ ]*)?")

_NOT_JUDGED = (
    f"only {METHOD} {RUNS} is judged by policies, with a run ID behind it or without, and the calls of other actions"
)

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


def from_line(
    text: str, *, body: bytes = b"", reason: str | None = None, action: Action | None = None
) -> ActionRequest:
    """Parse a request line (`DELETE /v2/workflows/runs[/ID]?…`), a target, or only the query; `body` is JSON.

    Only a query asks for the `action`, which is a cancel of runs if none is given; so does a target without a method.

    Raises:
        MalformedRequest: the gateway would answer 400.
        ValueError: it is not the request line of a call that policies judge, or of another action.
    """
    if len(text) > MAX_LINE:
        raise ValueError(f"a request line is at most {MAX_LINE} characters")
    line = text.strip()
    match = _REQUEST_LINE.fullmatch(line)
    content = Body(body, (b"application/json",) if body else ())
    if match is not None:
        operation, form = _called(match["method"], match["path"], action)
        named = form.named(match["path"])
    elif (match := _QUERY.fullmatch(line)) is not None:
        (operation, form), named = _bare(action or CANCEL_RUNS), None
    else:
        raise ValueError(f"expected a request line like '{METHOD} {RUNS}?label=nightly', or only the query")
    try:
        asked = operation.read(form, Asked(named, (match["query"] or "").encode(), content, lambda _: ()))
    except NotFound as other_call:
        raise ValueError(other_call.sentence.rstrip(".")) from None
    return replace(asked, reason=reason)


def _called(method: str | None, path: str, action: Action | None) -> tuple[Operation, CallForm]:
    """Return the call that a request line names; without a method, the one of the action that has this path."""
    methods = [form.method for form in OPERATIONS[action or CANCEL_RUNS].forms] if method is None else [method]
    found = next((one for each in methods if (one := asked_by(each, path)) is not None), None)
    if found is None:
        raise ValueError(_NOT_JUDGED)
    if action not in (None, found[0].action):
        raise ValueError(f"this call is {found[0].action}, not {action}")
    return found


def _bare(action: Action) -> tuple[Operation, CallForm]:
    """Return the call of an action that says all in its query or body."""
    operation = OPERATIONS[action]
    form = next((one for one in operation.forms if one.field is None), None)
    if form is None:
        form = operation.forms[0]
        raise ValueError(f"{action} says in its path what it is about: write '{form.method} {form.path}'")
    return operation, form


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
