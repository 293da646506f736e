"""A client's question for runs: its query is read in exactly one way, or refused. This module is pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core import grammar
from gateway.core.errors import MalformedRequest
from gateway.core.forms.query import (
    CALLER_IPS,
    COUNT,
    CREATED_AT,
    FLOW_KEYS,
    FROM_DATE,
    HOSTS,
    LABELS,
    PATHS,
    TO_DATE,
    URLS,
    Parameter,
    Parameters,
    Values,
    filter_in,
    query_values,
)
from gateway.core.request import Everything, Filter
from gateway.core.run import Run
from gateway.policy.choose import selects
from gateway.upstream.runs.entries import checked_cursor

MAX_COUNT = 10
"""The most runs of a page; upstream shows no more at once."""

_STATES = frozenset(("RUN_STARTED", "RUN_SUCCESS", "RUN_FAILED", "RUN_CANCELED"))


def _unknown(name: str) -> MalformedRequest:
    return MalformedRequest("unknown_parameter", grammar.unknown_name(name, _PARAMETERS.names))


def _one_of(name: str, known: frozenset[str]) -> Parameter[str]:
    def reads(text: str) -> str:
        """Read a value that is one of `known`."""
        if text not in known:
            raise ValueError(f"{name} is one of {', '.join(sorted(known))}")
        return text

    return Parameter(name, reads)


_GROUP_BY, _RUN_ID = Parameter("groupBy", str), Parameter("workflowRunId", grammar.run_id)
_STATE, _TRIM = _one_of("state", _STATES), _one_of("trimBody", frozenset(("true", "false")))
_CURSOR = Parameter("cursor", checked_cursor)
_FILTERS = (FROM_DATE, TO_DATE, URLS, CALLER_IPS, FLOW_KEYS, LABELS, HOSTS, PATHS)
_PARAMETERS = Parameters(*(_GROUP_BY, _STATE, _RUN_ID, CREATED_AT, *_FILTERS, _CURSOR, COUNT, _TRIM), unknown=_unknown)


@dataclass(frozen=True, slots=True)
class RunQuery:
    """The runs that a client wants: at most `count`, from `cursor` on; `trimmed` leaves out steps and payloads."""

    selection: Filter | Everything = field(default_factory=Everything)
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
    values = query_values(query, _PARAMETERS)
    if _GROUP_BY.of(values) != ("workflowRunId" if events else None):
        raise MalformedRequest(
            "group_by", "Ask /v2/workflows/events with groupBy=workflowRunId, and /v2/workflows/logs without groupBy."
        )
    try:
        return RunQuery(
            selection=_selection(values),
            state=_STATE.of(values),
            run_id=_RUN_ID.of(values),
            created_ms=CREATED_AT.of(values),
            cursor=_CURSOR.of(values) or "",
            count=min(COUNT.of(values) or MAX_COUNT, MAX_COUNT),
            trimmed=_TRIM.of(values) == "true",
        )
    except ValueError as exc:
        raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None


def _selection(values: Values) -> Filter | Everything:
    if not any(one.name in values for one in _FILTERS):
        return Everything()
    return filter_in(values, exact=URLS.name in values)
