"""A client's question for failed runs: its query is read in exactly one way, or refused. This module is pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.errors import MalformedRequest, NotFound
from gateway.core.forms.query import COUNT, Parameter, Parameters, Values, failed_filter_in, query_values
from gateway.core.request import Everything, Filter
from gateway.operations.entries import FILTER_PARAMETERS, unknown
from gateway.upstream.runs.entries import checked_cursor

MAX_COUNT = 100
"""The most failed runs of a page; upstream shows no more at once."""

_OF_MESSAGES = (
    "Failed messages are not shown here, because nothing tells whose they are: ask for the failed runs of your team "
    "with GET /v2/dlq?source=workflow."
)

_LISTED = "a listing takes no IDs: it shows the entries of your team, newest first; leave it out"


def _unknown(name: str) -> MalformedRequest:
    if name == "dlqIds":
        return MalformedRequest("unknown_parameter", f"'{name}' is not a parameter of this call: {_LISTED}.")
    return unknown(name)


_SOURCE, _CURSOR = Parameter("source", str), Parameter("cursor", checked_cursor)
_PARAMETERS = Parameters(_SOURCE, *FILTER_PARAMETERS, _CURSOR, COUNT, unknown=_unknown)


@dataclass(frozen=True, slots=True)
class DlqQuery:
    """The failed runs that a client wants: at most `count`, from `cursor` on."""

    selection: Filter | Everything = field(default_factory=Everything)
    cursor: str = ""
    count: int = MAX_COUNT


def parse_dlq_question(query: bytes) -> DlqQuery:
    """Read the raw query (without `?`).

    Raises:
        NotFound: it does not ask for failed runs.
        MalformedRequest: the bytes break the grammar, or a name is not known.
    """
    # A question for messages may have names of its own: it is told first that it is another call.
    if b"source=workflow" not in query.split(b"&"):
        raise NotFound("qstash_path", _OF_MESSAGES)
    values = query_values(query, _PARAMETERS)
    try:
        return DlqQuery(
            selection=_selection(values),
            cursor=_CURSOR.of(values) or "",
            count=min(COUNT.of(values) or MAX_COUNT, MAX_COUNT),
        )
    except ValueError as exc:
        raise MalformedRequest("value", f"The request cannot be read in exactly one way: {exc}.") from None


def _selection(values: Values) -> Filter | Everything:
    return failed_filter_in(values) if any(one.name in values for one in FILTER_PARAMETERS) else Everything()
