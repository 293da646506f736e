"""The request of a caller, as values that cannot be illegal.

A request for nothing in particular is a value of its own, `Everything`, which only policy may allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import compress
from operator import attrgetter
from typing import Any, ClassVar, Literal, NamedTuple

from gateway.core import grammar

MAX_COUNT = 999_999_999
DEFAULT_COUNT = 100
"""Upstream's default for a missing `count` (docs/upstream-contract.md#1-the-call); judged and sent explicitly."""


class Dialect(StrEnum):
    """The form of the request: a query (`@upstash/workflow` 1.2 and later) or a JSON body (before, and Go)."""

    QUERY = "query"
    BODY = "body"


class Action(StrEnum):
    """What a request asks QStash to do, as policies and the record name it (`gateway/operations`)."""

    __hash__ = str.__hash__  # a request asks for it a dozen times, and that of an Enum is a call in Python

    CANCEL_RUNS = "cancel_runs"
    DELETE_DLQ = "delete_dlq"
    RESUME_DLQ = "resume_dlq"
    RESTART_DLQ = "restart_dlq"
    CANCEL_MESSAGES = "cancel_messages"
    DELETE_MESSAGE_DLQ = "delete_message_dlq"
    RETRY_MESSAGE_DLQ = "retry_message_dlq"
    PAUSE = "pause"
    RESUME = "resume"


UNTIL = "Gateway-Until"
"""The override that says how long a pause lasts; it is for the gateway and never sent."""

CANCEL_RUNS = Action.CANCEL_RUNS
"""The action of a request that names none."""

RUN_IDS = "workflowRunIds"
IDS: Mapping[str, Callable[[str], str]] = {
    RUN_IDS: grammar.run_id,
    **dict.fromkeys(("dlqIds", "messageIds", "flowControlKey", "queue", "schedule"), grammar.item_id),
}
"""The fields, by wire name, under which a request names things one by one, each with the check of one value.

A name becomes a segment of a path, so a flow-control key is held here to what may be one.
"""


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller: its team, and its subject within the team, a key id or `<issuer>#<sub>`.

    Two principals are equal if they name the same team and subject. A token also brings its id (or that of its signing
    key, if it has none), the claims that bound it, and its end.
    """

    team: str
    subject: str
    token_id: str | None = field(default=None, compare=False)
    claims: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    expires_ms: int | None = field(default=None, compare=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Counters ask for it a dozen times in each request.
        object.__setattr__(self, "_hash", hash((self.team, self.subject)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def name(self) -> str:
        """`<team>/<subject>`, as the record writes it."""
        return f"{self.team}/{self.subject}"

    @property
    def key_id(self) -> str:
        """The id of the token, or for a gateway key that of the key."""
        return self.token_id or self.subject


@dataclass(frozen=True, slots=True)
class ByIds:
    """Exactly these things, under the field (one of `IDS`) that says what they are. Nothing stands beside them."""

    ids: tuple[str, ...]
    name: str = RUN_IDS

    kind: ClassVar[Literal["run_ids"]] = "run_ids"

    def __post_init__(self) -> None:
        if not self.ids:
            raise ValueError("a list of IDs cannot be empty: upstream may read it as everything")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("an ID is repeated")
        grammar.check_values(self.name, IDS[self.name], self.ids)

    @property
    def carried(self) -> frozenset[str]:
        """The wire names of the fields that select."""
        return frozenset((self.name,))

    def pairs(self) -> Sequence[tuple[str, str]]:
        """Return the selection as query pairs, in upstream's order."""
        return [(self.name, one) for one in self.ids]

    def members(self) -> Mapping[str, object]:
        """Return what `pairs` says with each name once."""
        return {self.name: [*self.ids]}


class Wire(NamedTuple):
    """How one member of a `Filter` stands in a query: the only place that says so.

    `name` is the parameter, and `field` the name under which policies know what it selects by. A parameter with
    `checks` is repeatable: the first checks one value, and the second does so beside `workflowUrlExactMatch`.
    """

    name: str
    field: str
    checks: tuple[Callable[[str], str], Callable[[str], str]] | None = None

    def member(self) -> Mapping[str, Wire]:
        """Return the metadata of the member."""
        return {"wire": self}


def _listed(name: str, check: Callable[[str], str], exact: Callable[[str], str] | None = None) -> Mapping[str, Wire]:
    return Wire(name, name, checks=(check, exact or check)).member()


@dataclass(frozen=True, slots=True)
class Filter:
    """The runs that match: OR within a field, AND across fields. Dates are Unix milliseconds of the runs' creation.

    Every filter is a `ByFilter`, a `ByFilterHere` or a `FailedFilter`. `carried` holds the wire names of the fields
    that select; the two dates are one field, `created`. `exact` says how upstream matches the URLs; without it a URL is
    a prefix *without* any boundary.

    Each member says what it is in a query, in upstream's order. The checks, `carried` and `pairs` all follow from that,
    so no member is judged and then left out of what is sent.
    """

    workflow_urls: tuple[str, ...] = field(
        default=(), metadata=_listed("workflowUrl", grammar.url_prefix, exact=grammar.url)
    )
    exact: bool = field(default=False, metadata=Wire("workflowUrlExactMatch", "workflowUrl").member())
    from_date: int | None = field(default=None, metadata=Wire("fromDate", "created").member())
    to_date: int | None = field(default=None, metadata=Wire("toDate", "created").member())
    caller_ips: tuple[str, ...] = field(default=(), metadata=_listed("callerIp", grammar.ip_address))
    flow_control_keys: tuple[str, ...] = field(default=(), metadata=_listed("flowControlKey", grammar.key))
    labels: tuple[str, ...] = field(default=(), metadata=_listed("label", grammar.key))
    carried: frozenset[str] = field(init=False, repr=False, compare=False)
    _pairs: Sequence[tuple[str, str]] = field(init=False, repr=False, compare=False)
    _members: Mapping[str, object] = field(init=False, repr=False, compare=False)

    kind: ClassVar[Literal["filter"]] = "filter"

    def __post_init__(self) -> None:
        carried: list[str] = []
        pairs: list[tuple[str, str]] = []
        members: dict[str, object] = {}
        rows, values = _TABLES[type(self)]
        given = values(self)
        for (name, known_as, checks), value in compress(zip(rows, given), given):  # noqa: B905 - both of one table
            carried.append(known_as)
            if checks is None:
                pairs.append((name, "true" if value is True else str(value)))
                members[name] = value
                continue
            grammar.check_each(name, checks[self.exact], value)
            members[name] = [*value]
            for one in value:  # nearly always one, for which a comprehension costs more
                pairs.append((name, one))  # noqa: PERF401
        if not carried:
            raise ValueError("a filter names at least one field; without any it is Everything")
        if self.exact and not self.workflow_urls:
            raise ValueError("workflowUrlExactMatch stands only beside workflowUrl")
        if self.from_date is not None or self.to_date is not None:
            _check_dates(self.from_date, self.to_date)
        # A request is judged, searched for secrets, recorded, sent and proposed in these forms, so they are made once.
        object.__setattr__(self, "carried", frozenset(carried))
        object.__setattr__(self, "_pairs", pairs)
        object.__setattr__(self, "_members", members)

    @property
    def by_prefix(self) -> bool:
        """Whether URLs are named, and as prefixes."""
        return bool(self.workflow_urls) and not self.exact

    def pairs(self) -> Sequence[tuple[str, str]]:
        """Return the selection as query pairs, in upstream's order."""
        return self._pairs

    def members(self) -> Mapping[str, object]:
        """Return what `pairs` says with each name once: a repeatable field is a list, a number is a number.

        The lists are the filter's own: nobody changes them.
        """
        return self._members


@dataclass(frozen=True, slots=True)
class ByFilter(Filter):
    """A filter that upstream matches as well: an order may send it."""


@dataclass(frozen=True, slots=True)
class ByFilterHere(Filter):
    """A filter that names a host or a path of the runs' URLs: the gateway matches it, and no order can be made of it.

    Whether an account of upstream knows the two is not known; one that does not would cancel without them
    (docs/upstream-contract.md#2-two-contracts).
    """

    hosts: tuple[str, ...] = field(default=(), metadata=_listed("host", grammar.host))
    paths: tuple[str, ...] = field(default=(), metadata=_listed("path", grammar.path))

    def __post_init__(self) -> None:
        if not self.hosts and not self.paths:
            raise ValueError("a filter without host and path is one that can be sent")
        Filter.__post_init__(self)


@dataclass(frozen=True, slots=True)
class FailedFilter(Filter):
    """A filter of failed runs, the entries of the dead letter queue: the gateway matches it, and it is never sent.

    How upstream reads such a filter is not known (docs/upstream-contract.md). A URL is the workflow's own, exactly.
    """

    failed_run_ids: tuple[str, ...] = field(default=(), metadata=_listed("workflowRunId", grammar.run_id))

    def __post_init__(self) -> None:
        if self.workflow_urls and not self.exact:
            raise ValueError("the URL of a failed run is matched exactly")
        Filter.__post_init__(self)


def _check_dates(*given: int | None) -> None:
    dates = [date for date in given if date is not None]
    if dates != sorted(dates) or not all(10**12 <= date < 10**13 for date in dates):
        raise ValueError("dates are Unix milliseconds of 13 digits, fromDate not later than toDate")


def wires_of(kind: type[Filter]) -> dict[str, Wire]:
    """Return the members of a filter as they stand in a query. Raises: TypeError: one does not say so."""
    found = {one.name: one.metadata.get("wire") for one in fields(kind) if one.init}
    if silent := [name for name, wire in found.items() if not isinstance(wire, Wire)]:
        raise TypeError(f"members that would be judged and not sent: {', '.join(silent)}")
    return {name: wire for name, wire in found.items() if isinstance(wire, Wire)}


_Row = tuple[str, str, tuple[Callable[[str], str], Callable[[str], str]] | None]


def _table(kind: type[Filter]) -> tuple[Sequence[_Row], attrgetter[tuple[Any, ...]]]:
    """Return a row for each member of a kind of filter, and the function that returns their values in that order."""
    members = wires_of(kind)
    return [(wire.name, wire.field, wire.checks) for wire in members.values()], attrgetter(*members)


_TABLES: Mapping[type[Filter], tuple[Sequence[_Row], attrgetter[tuple[Any, ...]]]] = {
    kind: _table(kind) for kind in (ByFilter, ByFilterHere, FailedFilter)
}

WIRES = tuple(wires_of(ByFilterHere).values())
"""The members of all filters as they stand in a query, in upstream's order."""

HERE = frozenset(wire.field for wire in WIRES) - {wire.field for wire in wires_of(ByFilter).values()}
"""The fields, by wire name, that the gateway matches itself and never sends: `host` and `path`."""


def filter_with(members: Mapping[str, object], *, of: Filter | None = None, failed: bool = False) -> Filter:
    """Return the filter with these members, by name; those that are not among them are as in `of`.

    With `failed`, or `of` such a filter, it is one of failed runs.

    Raises: ValueError: the values do not make a filter.
    """
    given: dict[str, Any] = {} if of is None else {name: getattr(of, name) for name in wires_of(type(of))}
    given.update(members)
    if failed or isinstance(of, FailedFilter):
        return FailedFilter(**given)
    hosts, paths = given.pop("hosts", ()), given.pop("paths", ())
    return ByFilterHere(**given, hosts=hosts, paths=paths) if hosts or paths else ByFilter(**given)


@dataclass(frozen=True, slots=True)
class Everything:
    """The request selects nothing: upstream would cancel every run of the account."""

    kind: ClassVar[Literal["everything"]] = "everything"

    @property
    def carried(self) -> frozenset[str]:
        """The empty set: no field selects."""
        return frozenset()

    def pairs(self) -> Sequence[tuple[str, str]]:
        """Return no pairs: the wire has no marker for *all*."""
        return []

    def members(self) -> Mapping[str, object]:
        """Return no members, as there are no pairs."""
        return {}


Selection = ByIds | Filter | Everything

REPEATABLE = frozenset((*IDS, *(wire.name for wire in WIRES if wire.checks is not None)))


def check_count(selection: Selection, count: int) -> None:
    """Raise ValueError if a request with this selection cannot have this count."""
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"count is 1 to {MAX_COUNT}")
    if isinstance(selection, ByIds) and count != len(selection.ids):
        raise ValueError("for IDs count is their number")


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """One request for an action, read in exactly one way.

    For IDs `count` is their number; `reason` says in plain words why it is wanted. With `in_path` the one ID stood in
    the path. `overrides` are the headers that change what is resumed or restarted, as they are sent, or say how long a
    pause lasts. Two requests are equal if they ask for the same; how they were written, and why, does not matter.
    """

    selection: Selection
    count: int
    dialect: Dialect = field(default=Dialect.QUERY, compare=False)
    reason: str | None = field(default=None, compare=False)
    action: Action = field(default=CANCEL_RUNS, kw_only=True)
    overrides: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)
    in_path: bool = field(default=False, compare=False, kw_only=True)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_count(self.selection, self.count)
        if self.reason is not None:
            grammar.reason(self.reason)

    def __hash__(self) -> int:
        # What is sent is looked up four times among the cancels in flight, and a list may name a thousand runs.
        found: int | None = getattr(self, "_hash", None)  # an exception caught here would cost four times as much
        if found is None:
            found = hash((self.selection, self.count, self.action, self.overrides))
            object.__setattr__(self, "_hash", found)
        return found

    def texts(self) -> list[str]:
        """Return every text of the caller's that is recorded or sent."""
        found = [value for _, value in self.selection.pairs()]
        if self.overrides:
            found += [value for _, value in self.overrides]
        if self.reason is not None:
            found.append(self.reason)
        return found

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The overrides that are sent."""
        return tuple(pair for pair in self.overrides if pair[0] != UNTIL)

    @property
    def lasts_ms(self) -> int | None:
        """After how many milliseconds a pause ends by itself; None if it does not."""
        until = dict(self.overrides).get(UNTIL)
        return None if until is None else grammar.lasting_ms(until)

    def wire(self) -> dict[str, object]:
        """Return the request as an object with the wire names; repeatable fields are lists, numbers are numbers."""
        members = wire_of(self.selection, self.count)
        return {**members, **dict(self.overrides)} if self.overrides else members

    def identity(self) -> dict[str, object]:
        """Return what tells it from other requests, to be hashed: `wire`, with the action if it cancels no runs."""
        return self.wire() if self.action is CANCEL_RUNS else {"action": self.action.value, **self.wire()}


def wire_of(selection: Selection, count: int) -> dict[str, object]:
    """Return what `ActionRequest.wire` returns, of a request that is only shown."""
    return {**selection.members(), "count": count}
