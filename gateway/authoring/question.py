"""A question: a request that is judged and not sent, read from any form in which people and records write one.

All forms end in the one reader of requests, so nothing can be asked here that could not be asked of the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

from gateway.core.errors import NotFound
from gateway.core.parse import Body
from gateway.core.plan import Decision, Permit
from gateway.core.request import (
    CANCEL_RUNS,
    REPEATABLE,
    UNTIL,
    Action,
    ActionRequest,
    FailedFilter,
    Principal,
    wires_of,
)
from gateway.operations import overrides
from gateway.operations.calls.cancel_runs import PARAMETERS, RUNS
from gateway.operations.operation import Asked, CallForm, Operation
from gateway.operations.table import OPERATIONS, asked_by
from gateway.policy.decide import decide, refused_end
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

HEADERS = (*overrides.NAMES, UNTIL)
"""The headers that say more of a request, which stand among its fields on record."""

_LISTS = REPEATABLE.union(wire.name for wire in wires_of(FailedFilter).values() if wire.checks is not None)
_ONCE = ("workflowUrlExactMatch", "fromDate", "toDate", "count")

NAMES = tuple(dict.fromkeys((*PARAMETERS.names, *sorted(_LISTS))))
"""Every field that a request of any action may have, by wire name; those of a cancel of runs come first."""

MAX_LINE = 131_072 + 64
"""The most characters of a request line: the longest target by default, with the method and version around it."""


Headers = Sequence[tuple[str, str]]
"""Headers of a request, each with its value."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request to judge, its principal, and its time (Unix milliseconds)."""

    principal: Principal
    request: ActionRequest
    now_ms: int

    def judged(self, policies: Policies) -> Decision:
        """Return the decision that the gateway would make; of a pause that ends by itself, on the resume as well."""
        decision = decide(policies, self.principal, self.request, self.now_ms)
        if isinstance(decision, Permit):
            return refused_end(policies, self.principal, self.request, decision, self.now_ms) or decision
        return decision

    def reading(self, policies: Policies) -> Reading:
        """Return whether the request is judged as upstream would match it, or as the gateway does after a look-up."""
        rules = policies.for_team(self.principal.team, self.request.action)
        return reading_of(rules.enforced, self.request, self.now_ms)


def from_line(
    text: str,
    *,
    body: bytes = b"",
    reason: str | None = None,
    action: Action | None = None,
    headers: Headers = (),
) -> ActionRequest:
    """Parse a request line (`DELETE /v2/workflows/runs[/ID]?…`), a target, or only the query; `body` is JSON.

    Only a query asks for the `action`, which is a cancel of runs if none is given; so does a target without a method.
    `headers` are those that say more of the request, such as `Upstash-Retries`, each with its value.

    Raises:
        Refusal: the gateway would refuse it before any policy, mostly as malformed.
        ValueError: it is not the request line of a call that policies judge, or of another action.
    """
    if len(text) > MAX_LINE:
        raise ValueError(f"a request line is at most {MAX_LINE} characters")
    line = text.strip()
    match = _REQUEST_LINE.fullmatch(line)
    if match is not None:
        operation, form = _called(match["method"], match["path"], action)
        call = _Call(operation, form, form.named(match["path"]), match["query"] or "")
    elif (match := _QUERY.fullmatch(line)) is not None:
        operation, form = _bare(action or CANCEL_RUNS)
        call = _Call(operation, form, None, match["query"] or "")
    else:
        raise ValueError(f"expected a request line like '{METHOD} {RUNS}?label=nightly', or only the query")
    return replace(call.read(body=body, headers=headers), reason=reason)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of one action: its form, the ID in its path, and its query."""

    operation: Operation
    form: CallForm
    named: str | None
    query: str

    def read(self, *, headers: Headers, body: bytes = b"") -> ActionRequest:
        """Return the request, as the gateway reads it. Raises: Refusal, ValueError: as in `from_line`."""
        content = Body(body, (b"application/json",) if body else ())
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        try:
            asked = Asked(self.named, self.query.encode(), content, partial(_values, raw), raw)
            request = self.operation.read(self.form, asked)
        except NotFound as other_call:
            raise ValueError(other_call.sentence.rstrip(".")) from None
        known = {name.lower() for name, _ in request.overrides}
        if unread := [name for name, _ in headers if name.lower() not in known]:
            raise ValueError(f"'{unread[0]}' is no header that says more of this request")
        return request


def _values(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> Sequence[bytes]:
    return [value for name, value in headers if name == wanted]


def _called(method: str | None, path: str, action: Action | None) -> tuple[Operation, CallForm]:
    """Return the call that a request line names; without a method, the one of the action that has this path."""
    methods = [form.method for form in _operation(action or CANCEL_RUNS).forms] if method is None else [method]
    found = next((one for each in methods if (one := asked_by(each, path)) is not None), None)
    if found is None:
        raise ValueError(_NOT_JUDGED)
    if action not in (None, found[0].action):
        raise ValueError(f"this call is {found[0].action}, not {action}")
    return found


def _bare(action: Action) -> tuple[Operation, CallForm]:
    """Return the call of an action that says all in its query or body."""
    operation = _operation(action)
    form = _plain_form(operation)
    if form is None:
        form = operation.forms[0]
        raise ValueError(f"{action} says in its path what it is about: write '{form.method} {form.path}'")
    return operation, form


def _operation(action: Action) -> Operation:
    found = OPERATIONS.get(action)
    if found is None:
        raise ValueError(f"{action} is no action that this gateway passes")
    return found


def _plain_form(operation: Operation) -> CallForm | None:
    return next((one for one in operation.forms if one.field is None), None)


def from_wire(
    members: Mapping[str, object], *, action: Action = CANCEL_RUNS, reason: str | None = None
) -> ActionRequest:
    """Make a request for an action from typed fields that have the wire names, as the record has them in `asked`.

    Headers that say more of it stand among the fields, under their names.

    Raises:
        Refusal: the gateway would refuse it before any policy, mostly as malformed.
        ValueError: a field has the wrong type, or contradicts the others.
    """
    headers = [(name, _header(name, value)) for name, value in members.items() if name[:1].isupper()]
    call = _call_of(action, {name: value for name, value in members.items() if not name[:1].isupper()})
    request = call.read(headers=headers)
    if members.get("count", request.count) != request.count:
        raise ValueError("for run IDs count is their number" if action is CANCEL_RUNS else "count is the number of IDs")
    return replace(request, reason=reason)


def line_of(request: ActionRequest) -> str:
    """Return the request line of a request, without its headers: what `from_line` reads as this request."""
    call = _call_of(request.action, {**request.selection.members(), "count": request.count})
    path = call.form.path if call.named is None else call.form.at(call.named)
    return f"{call.form.method} {path}{'?' if call.query else ''}{call.query}"


def _call_of(action: Action, members: Mapping[str, object]) -> _Call:
    """Return the call that these fields stand for. Raises: ValueError: it has none of them, or one has no such type."""
    operation = _operation(action)
    pairs = [(name, text) for name, value in members.items() for text in _texts(name, value)]
    if not members.keys().isdisjoint(operation.fields):
        # The record adds the number of IDs as count; in a request nothing may stand beside them.
        pairs = [pair for pair in pairs if pair[0] != "count"]
    if action is not CANCEL_RUNS:
        # The URL of a failed run is always exact, so its calls have no flag for it.
        pairs = [pair for pair in pairs if pair != ("workflowUrlExactMatch", "true")]
    form, named = _plain_form(operation), None
    if form is None:
        form, named = _naming(operation, pairs)
        pairs.remove((form.field or "", named))
    query = "&".join(f"{name}={quote(text, safe='')}" for name, text in pairs)
    return _Call(operation, form, named, query)


def _naming(operation: Operation, pairs: Sequence[tuple[str, str]]) -> tuple[CallForm, str]:
    """Return the form of a call that names one thing in its path, and the name."""
    for form in operation.forms:
        for name, named in pairs:
            if name == form.field:
                return form, named
    raise ValueError(f"{operation.action} names one of {', '.join(operation.fields)}")


def _header(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} has the wrong type")  # noqa: TRY004 - what is read is never of a type of ours
    return value


def _texts(name: str, value: object) -> list[str]:
    if name in _LISTS:
        values = value if isinstance(value, list | tuple) else [value]
        if values and all(isinstance(text, str) for text in values):
            return list(values)
    elif name == "workflowUrlExactMatch" and type(value) is bool:
        return [str(value).lower()]
    elif name in ("fromDate", "toDate") and type(value) is int:
        return [f"{value:013d}"]
    elif name == "count" and type(value) is int:
        return [str(value)]
    elif name not in _ONCE:
        raise ValueError("a field has no name of this call")
    raise ValueError(f"{name} has the wrong type")
