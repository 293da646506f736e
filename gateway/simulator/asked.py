"""A cancel as upstream reads it: query and body merged, under one of the two contracts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

from gateway.simulator import golang
from gateway.simulator.runs import Run

DEFAULT_COUNT = 100


class Contract(StrEnum):
    """The two versions of the upstream contract."""

    V2025 = "2025"
    V2026_09 = "2026-09"


Scalar = TypeVar("Scalar", int, bool)

_LISTS_2025 = ("workflowRunIds", "workflowUrl", "callerIp", "flowControlKey", "label")
_LISTS = {Contract.V2025: _LISTS_2025, Contract.V2026_09: (*_LISTS_2025, "host", "path")}
_NUMBERS = ("fromDate", "toDate", "count")
_IDS = ("workflowRunIds", "dlqIds", "messageIds")
_FLAGS = {Contract.V2025: ("workflowUrlExactMatch",), Contract.V2026_09: ("workflowUrlExactMatch", "async")}


@dataclass(frozen=True, slots=True)
class Asked:
    """One cancel as upstream understands it. `lists` holds each recognised filter that has a value.

    `from_ms` and `to_ms` are Unix milliseconds, 0 if not set.
    """

    lists: dict[str, tuple[str, ...]]
    from_ms: int = 0
    to_ms: int = 0
    exact: bool = False
    count: int = DEFAULT_COUNT
    in_background: bool = False

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The run IDs named. They override every other filter."""
        return self.lists.get("workflowRunIds", ())

    def selects(self, run: Run) -> bool:
        """Return whether every filter matches the run. Without a filter every run matches.

        Call only if `run_ids` is empty: run IDs override the filters and are not judged here.
        """
        if run.created_ms < self.from_ms or 0 < self.to_ms < run.created_ms:
            return False
        return all(self._hits(name, wanted, run) for name, wanted in self.lists.items())

    def _hits(self, name: str, wanted: tuple[str, ...], run: Run) -> bool:
        match name:
            case "workflowUrl":
                # The prefix has no boundary: ".../api" hits ".../api-v2", a host hits "host.evil.example".
                return run.url in wanted if self.exact else run.url.startswith(wanted)
            case "label":
                return not set(wanted).isdisjoint(run.labels)
            case "callerIp":
                return run.caller_ip in wanted
            case "flowControlKey":
                return run.flow_control_key in wanted
            case "host":
                return urlsplit(run.url).netloc in wanted
            case _:
                return urlsplit(run.url).path in wanted

    def wire(self) -> dict[str, object]:
        """Return the recognised filter, as progress reports repeat it."""
        members: dict[str, object] = {name: list(values) for name, values in self.lists.items()}
        if self.exact:
            members["workflowUrlExactMatch"] = True
        if self.from_ms:
            members["fromDate"] = self.from_ms
        if self.to_ms:
            members["toDate"] = self.to_ms
        return members


def read_asked(query: str, body: bytes, contract: Contract) -> Asked:
    """Merge query and body as upstream does: members of the body replace those of the query.

    Raises: ValueError if the body is not JSON or a member has the wrong type (upstream answers 400).
    """
    from_query = golang.query_values(query)
    from_body = golang.json_members(body)
    lists = {name: list_of(name, from_query, from_body, contract) for name in _LISTS[contract]}
    flags = {name: scalar_of(name, from_body, golang.parse_bool(first(from_query, name))) for name in _FLAGS[contract]}
    numbers = {name: scalar_of(name, from_body, golang.parse_int(first(from_query, name)) or 0) for name in _NUMBERS}
    return Asked(
        lists={name: values for name, values in lists.items() if values},
        from_ms=numbers["fromDate"],
        to_ms=numbers["toDate"],
        exact=flags["workflowUrlExactMatch"],
        count=numbers["count"] if numbers["count"] > 0 else DEFAULT_COUNT,
        in_background=flags.get("async", False),
    )


def list_in_query(values: list[str], contract: Contract) -> tuple[str, ...]:
    """Return the values of a string filter that are not empty.

    Under 2025 only the first value counts; under 2026-09 all count, and each is split at commas.
    """
    read = values[:1] if contract is Contract.V2025 else [part for value in values for part in value.split(",")]
    return tuple(filter(None, read))


def list_of(
    name: str, from_query: dict[str, list[str]], from_body: dict[str, object], contract: Contract
) -> tuple[str, ...]:
    """Return the values of a text filter or of a list of IDs that are not empty; the body's replace the query's.

    Raises: ValueError if the member of the body has the wrong type.
    """
    if name.casefold() in from_body:
        return _list_in_body(name, from_body[name.casefold()], contract)
    values = from_query.get(name, [])
    if name in _IDS and contract is Contract.V2025:
        return tuple(filter(None, values))
    return list_in_query(values, contract)


def _list_in_body(name: str, value: object, contract: Contract) -> tuple[str, ...]:
    if value is None:
        return ()
    if contract is Contract.V2025 and name not in _IDS:
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"cannot unmarshal into field {name}")
    return tuple(filter(None, value))


def scalar_of(name: str, members: dict[str, object], default: Scalar) -> Scalar:
    """Return the member of a body, or the default if there is none. Raises: ValueError if it has another type."""
    value = members.get(name.casefold())
    if value is None:
        return default
    if type(value) is not type(default):
        raise ValueError(f"cannot unmarshal into field {name}")
    return value


def first(values: dict[str, list[str]], name: str) -> str:
    """Return the first value of a name; empty if there is none."""
    return values.get(name, [""])[0]
