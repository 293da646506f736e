"""A client's question for runs: its query is read in exactly one way, or refused. This module is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core import grammar
from gateway.core.errors import MalformedRequest
from gateway.core.parse import decoded
from gateway.core.request import ByFilter, EveryRun
from gateway.core.run import Run
from gateway.policy.choose import selects
from gateway.upstream.runs.entries import checked_cursor

MAX_COUNT = 10
"""The most runs of a page; upstream shows no more at once."""

_REPEATABLE = ("workflowUrl", "callerIp", "flowControlKey", "label")
_NAMES = (
    *("groupBy", "state", "workflowRunId", "workflowCreatedAt", "fromDate", "toDate"),
    *(*_REPEATABLE, "cursor", "count", "trimBody"),
)
_STATES = frozenset(("RUN_STARTED", "RUN_SUCCESS", "RUN_FAILED", "RUN_CANCELED"))

Values = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class RunQuery:
    """The runs that a client wants: at most `count`, from `cursor` on; `trimmed` leaves out steps and payloads."""

    selection: ByFilter | EveryRun = field(default_factory=EveryRun)
    state: str | None = None
    run_id: str | None = None
    created_ms: int | None = None
    cursor: str = ""
    count: int = MAX_COUNT
    trimmed: bool = False

    def means(self, run: Run) -> bool:
        """Return whether the run is one of those asked for."""
        return (
            self.state in (None, run.state)
            and self.run_id in (None, run.run_id)
            and self.created_ms in (None, run.created_ms)
            and selects(self.selection, run)
        )


def parse_question(query: bytes, *, events: bool) -> RunQuery:
    """Read the raw query (without `?`). `events` is set on the JavaScript client's path, which must be grouped by run.

    Raises:
        MalformedRequest: the bytes break the grammar, or a name is not known.
    """
    values = _values(query)
    if list(values.get("groupBy", ())) != (["workflowRunId"] if events else []):
        raise MalformedRequest(
            "group_by", "Ask /v2/workflows/events with groupBy=workflowRunId, and /v2/workflows/logs without groupBy."
        )
    try:
        return RunQuery(
            selection=_selection(values),
            state=_one_of(values, "state", _STATES),
            run_id=grammar.run_id(values["workflowRunId"][0]) if "workflowRunId" in values else None,
            created_ms=_date(values, "workflowCreatedAt"),
            cursor=checked_cursor(values["cursor"][0]) if "cursor" in values else "",
            count=min(grammar.count(values["count"][0]), MAX_COUNT) if "count" in values else MAX_COUNT,
            trimmed=_one_of(values, "trimBody", frozenset(("true", "false"))) == "true",
        )
    except ValueError as exc:
        raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None


def _values(query: bytes) -> Values:
    values: dict[str, list[str]] = {}
    for pair in query.split(b"&") if query else ():
        raw_name, equals, raw_value = pair.partition(b"=")
        name = _name(raw_name)
        if not equals or not raw_value:
            raise MalformedRequest("empty_value", f"'{name}' has no value; leave it out or give it one.")
        if name in values and name not in _REPEATABLE:
            raise MalformedRequest("repeated", f"'{name}' is given twice.")
        values.setdefault(name, []).append(decoded(name, raw_value))
    return values


def _name(raw: bytes) -> str:
    name = raw.decode("latin-1")
    if name in _NAMES:
        return name
    raise MalformedRequest("unknown_parameter", grammar.unknown_name(name, _NAMES))


def _selection(values: Values) -> ByFilter | EveryRun:
    filters = ("fromDate", "toDate", *_REPEATABLE)
    if not values.keys() & set(filters):
        return EveryRun()
    return ByFilter(
        workflow_urls=tuple(values.get("workflowUrl", ())),
        exact="workflowUrl" in values,
        from_date=_date(values, "fromDate"),
        to_date=_date(values, "toDate"),
        caller_ips=tuple(values.get("callerIp", ())),
        flow_control_keys=tuple(values.get("flowControlKey", ())),
        labels=tuple(values.get("label", ())),
    )


def _date(values: Values, name: str) -> int | None:
    try:
        return grammar.date(values[name][0]) if name in values else None
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from None


def _one_of(values: Values, name: str, known: frozenset[str]) -> str | None:
    if name not in values:
        return None
    if values[name][0] not in known:
        raise ValueError(f"{name} is one of {', '.join(sorted(known))}")
    return values[name][0]
