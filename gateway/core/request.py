"""The request of a caller, as values that cannot be illegal.

A request for nothing in particular is a value of its own, `EveryRun`, which only policy may allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import compress
from typing import ClassVar, Literal

from gateway.core import grammar

MAX_COUNT = 999_999_999

_FILTER_FIELDS = ("workflowUrl", "created", "callerIp", "flowControlKey", "label")


class Dialect(StrEnum):
    """The form of the request: a query (`@upstash/workflow` 1.2 and later) or a JSON body (before, and Go)."""

    QUERY = "query"
    BODY = "body"


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
class ByRunIds:
    """Exactly these runs. Beside run IDs upstream ignores every other filter."""

    run_ids: tuple[str, ...]

    kind: ClassVar[Literal["run_ids"]] = "run_ids"

    def __post_init__(self) -> None:
        if not self.run_ids:
            raise ValueError("a list of run IDs cannot be empty: upstream may read it as every run")
        if len(set(self.run_ids)) != len(self.run_ids):
            raise ValueError("a run ID is repeated")
        grammar.check_values("workflowRunIds", grammar.run_id, self.run_ids)

    @property
    def carried(self) -> frozenset[str]:
        """The wire names of the fields that select."""
        return frozenset(("workflowRunIds",))

    def pairs(self) -> Sequence[tuple[str, str]]:
        """Return the selection as query pairs, in upstream's order."""
        return [("workflowRunIds", run_id) for run_id in self.run_ids]


@dataclass(frozen=True, slots=True)
class ByFilter:
    """The runs that match: OR within a field, AND across fields. Dates are Unix milliseconds of the runs' creation.

    `carried` holds the wire names of the fields that select; the two dates are one field, `created`. `exact` says how
    upstream matches the URLs; without it a URL is a prefix *without* any boundary.
    """

    workflow_urls: tuple[str, ...] = ()
    exact: bool = False
    from_date: int | None = None
    to_date: int | None = None
    caller_ips: tuple[str, ...] = ()
    flow_control_keys: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    carried: frozenset[str] = field(init=False, repr=False, compare=False)
    _pairs: Sequence[tuple[str, str]] = field(init=False, repr=False, compare=False)

    kind: ClassVar[Literal["filter"]] = "filter"

    def __post_init__(self) -> None:
        created = self.from_date is not None or self.to_date is not None
        values = (self.workflow_urls, created, self.caller_ips, self.flow_control_keys, self.labels)
        object.__setattr__(self, "carried", frozenset(compress(_FILTER_FIELDS, values)))
        if not self.carried:
            raise ValueError("a filter names at least one field; without any it is EveryRun")
        if self.exact and not self.workflow_urls:
            raise ValueError("workflowUrlExactMatch stands only beside workflowUrl")
        if self.workflow_urls:
            grammar.check_each("workflowUrl", grammar.url if self.exact else grammar.url_prefix, self.workflow_urls)
        if self.caller_ips:
            grammar.check_each("callerIp", grammar.ip_address, self.caller_ips)
        if self.flow_control_keys:
            grammar.check_each("flowControlKey", grammar.key, self.flow_control_keys)
        if self.labels:
            grammar.check_each("label", grammar.key, self.labels)
        dates = [date for date in (self.from_date, self.to_date) if date is not None] if created else []
        if dates != sorted(dates) or not all(10**12 <= date < 10**13 for date in dates):
            raise ValueError("dates are Unix milliseconds of 13 digits, fromDate not later than toDate")
        # A request is judged, searched for secrets, recorded and sent by its pairs, so they are made once.
        object.__setattr__(self, "_pairs", self._made_pairs())

    def pairs(self) -> Sequence[tuple[str, str]]:
        """Return the selection as query pairs, in upstream's order."""
        return self._pairs

    def _made_pairs(self) -> list[tuple[str, str]]:
        pairs = [("workflowUrl", url) for url in self.workflow_urls]
        if self.exact:
            pairs.append(("workflowUrlExactMatch", "true"))
        if self.from_date is not None:
            pairs.append(("fromDate", str(self.from_date)))
        if self.to_date is not None:
            pairs.append(("toDate", str(self.to_date)))
        if self.caller_ips:
            pairs += [("callerIp", address) for address in self.caller_ips]
        if self.flow_control_keys:
            pairs += [("flowControlKey", key) for key in self.flow_control_keys]
        if self.labels:
            pairs += [("label", label) for label in self.labels]
        return pairs


@dataclass(frozen=True, slots=True)
class EveryRun:
    """The request selects nothing: upstream would cancel every run of the account."""

    kind: ClassVar[Literal["everything"]] = "everything"

    @property
    def carried(self) -> frozenset[str]:
        """The empty set: no field selects."""
        return frozenset()

    def pairs(self) -> Sequence[tuple[str, str]]:
        """Return no pairs: the wire has no marker for *all*."""
        return []


Selection = ByRunIds | ByFilter | EveryRun

REPEATABLE = frozenset(("workflowRunIds", "workflowUrl", "callerIp", "flowControlKey", "label"))


def check_count(selection: Selection, count: int) -> None:
    """Raise ValueError if a request with this selection cannot have this count."""
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"count is 1 to {MAX_COUNT}")
    if isinstance(selection, ByRunIds) and count != len(selection.run_ids):
        raise ValueError("for run IDs count is their number")


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """One bulk cancel, read in exactly one way.

    For run IDs `count` is their number; `reason` says in plain words why the cancel is wanted. Two requests are equal
    if they ask for the same; how they were written, and why, does not matter.
    """

    selection: Selection
    count: int
    dialect: Dialect = field(default=Dialect.QUERY, compare=False)
    reason: str | None = field(default=None, compare=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_count(self.selection, self.count)
        if self.reason is not None:
            grammar.reason(self.reason)

    def __hash__(self) -> int:
        # What is sent is looked up four times among the cancels in flight, and a list may name a thousand runs.
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash((self.selection, self.count)))
            return self._hash

    def wire(self) -> dict[str, object]:
        """Return the request as an object with the wire names; repeatable fields are lists, numbers are numbers."""
        members: dict[str, object] = {}
        for name, value in self.selection.pairs():
            if name in REPEATABLE:
                members.setdefault(name, []).append(value)  # type: ignore[attr-defined]
            else:
                members[name] = True if name == "workflowUrlExactMatch" else int(value)
        members["count"] = self.count
        return members
