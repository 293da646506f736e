"""The one reader of a query string: each name is one of the call's, and each value is decoded once, or it is refused.

A call says in a table of `Parameter`s which names it takes, which of them may be repeated, and how one value is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from gateway.core import grammar
from gateway.core.errors import MalformedRequest
from gateway.core.request import Filter, filter_with

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

Values = Mapping[str, Sequence[str]]
"""The decoded values of a query under their names, in order."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Parameter(Generic[Value]):
    """One name that a query may have once; `reads` returns the typed value or raises ValueError."""

    name: str
    reads: Callable[[str], Value]

    def of(self, values: Values) -> Value | None:
        """Return the typed value; None if the name is missing. Raises: ValueError: it cannot be read."""
        found = values.get(self.name)
        return self.reads(found[0]) if found is not None else None


@dataclass(frozen=True, slots=True)
class Repeatable:
    """One name that a query may have several times. Its values stay texts, which the selection made of them checks."""

    name: str

    def of(self, values: Values) -> tuple[str, ...]:
        """Return the values in order."""
        return tuple(values.get(self.name, ()))


def _dated(name: str) -> Parameter[int]:
    def reads(text: str) -> int:
        """Read a date, and name the parameter in the error: a query may have several dates."""
        try:
            return grammar.date(text)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from None

    return Parameter(name, reads)


URLS, CALLER_IPS, FLOW_KEYS, LABELS = map(Repeatable, ("workflowUrl", "callerIp", "flowControlKey", "label"))
HOSTS, PATHS, FAILED_RUN_IDS = map(Repeatable, ("host", "path", "workflowRunId"))
FROM_DATE, TO_DATE, CREATED_AT = map(_dated, ("fromDate", "toDate", "workflowCreatedAt"))
COUNT = Parameter("count", grammar.count)


_Row = Parameter[int] | Parameter[str] | Parameter[bool] | Repeatable


class Parameters:
    """The names that one call takes, in order; `unknown` returns the refusal of any other name."""

    __slots__ = ("names", "once", "unknown")

    def __init__(
        self,
        *table: Parameter[int] | Parameter[str] | Parameter[bool] | Repeatable,
        unknown: Callable[[str], MalformedRequest],
    ) -> None:
        self.names = tuple(one.name for one in table)
        self.once = {one.name: isinstance(one, Parameter) for one in table}
        self.unknown = unknown


def query_values(query: bytes, parameters: Parameters) -> Values:
    """Read the raw query (without `?`).

    Raises:
        MalformedRequest: a name is unknown or is repeated and may not be, a value is missing or cannot be decoded.
    """
    values: dict[str, list[str]] = {}
    once = parameters.once
    for pair in query.decode("latin-1").split("&") if query else ():
        # Names are compared as they are written: some readers drop an escaped name or one in another case (Go is
        # case-sensitive), and a dropped filter widens the call.
        name, _, raw_value = pair.partition("=")
        single = once.get(name)
        if single is None:
            raise parameters.unknown(name)
        if not raw_value:
            raise MalformedRequest("empty_value", f"'{name}' has no value; leave it out or give it one.")
        before = values.get(name)
        if single and before is not None:
            raise MalformedRequest("repeated", f"'{name}' is given twice.")
        # Letters and digits alone, as in a number or a flag, are what they say.
        plain = raw_value.isascii() and raw_value.isalnum()
        value = raw_value if plain else decoded(name, raw_value)
        if before is None:
            values[name] = [value]
        else:
            before.append(value)
    return values


def decoded(name: str, raw: str) -> str:
    """Return one value of a query, decoded once; `raw` has a character for each byte.

    Raises:
        MalformedRequest: two readers could read it differently.
    """
    if not grammar.find_reserved(raw):
        return raw  # in every reading of a query
    return _remembered(name, raw) if len(raw) <= _REMEMBERED_BYTES else _decoded(name, raw)


def _decoded(name: str, raw: str) -> str:
    if ";" in raw or _BAD_ESCAPE.search(raw):
        raise MalformedRequest(
            "bad_escape", f"'{name}' has a ';' or a bad percent-encoding, which upstream may drop: encode the value."
        )
    try:
        value = unquote_to_bytes(raw.replace("+", " ").encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("not_utf8", f"'{name}' is not UTF-8.") from None
    if "," in value:
        raise MalformedRequest(
            "comma", f"'{name}' has a comma, which upstream may read as a list: repeat the parameter."
        )
    return value


_REMEMBERED_BYTES = 512
_remembered = lru_cache(maxsize=grammar.REMEMBERED_URLS)(_decoded)
"""Decodes a short value; cached, because the same few URLs are named all day. A refusal is not kept."""


_ROWS: Mapping[str, _Row] = {
    "workflow_urls": URLS,
    "from_date": FROM_DATE,
    "to_date": TO_DATE,
    "caller_ips": CALLER_IPS,
    "flow_control_keys": FLOW_KEYS,
    "labels": LABELS,
    "hosts": HOSTS,
    "paths": PATHS,
}
"""The parameters of a filter, under the members of `Filter` that they are read into."""

_MEMBERS = {row.name: (row, member) for member, row in _ROWS.items()}


def filter_in(values: Values, *, exact: bool) -> Filter:
    """Return the filter in the values of a query. Raises: ValueError: it names no field, or a value is not valid."""
    members: dict[str, object] = {"exact": exact}
    for name in values:
        if (row := _MEMBERS.get(name)) is not None:
            parameter, member = row
            members[member] = parameter.of(values)
    return filter_with(members)


_FAILED_MEMBERS = {**_MEMBERS, FAILED_RUN_IDS.name: (FAILED_RUN_IDS, "failed_run_ids")}


def failed_filter_in(values: Values) -> Filter:
    """Return the filter of failed runs in the values of a query, whose URLs are exact. Raises: as `filter_in`."""
    members: dict[str, object] = {"exact": URLS.name in values}
    for name in values:
        if (row := _FAILED_MEMBERS.get(name)) is not None:
            parameter, member = row
            members[member] = parameter.of(values)
    return filter_with(members, failed=True)
