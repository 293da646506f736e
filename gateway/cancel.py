"""The vocabulary: what a caller asks for, what policy makes of it, and what is sent. What came of it: outcome.py.

Illegal values cannot be constructed. Two laws live in the types: asking for nothing in particular is its own value,
`EveryRun`, which only policy may allow; and an `Order`, the only thing ever sent, cannot be made of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache, partial
from itertools import compress
from urllib.parse import quote

from gateway import grammar
from gateway.run import Resolution, Resolved, Run

MAX_COUNT = 999_999_999

_PLAIN = re.compile("[A-Za-z0-9_.~-]*").fullmatch
"""Whether a value stands for itself in a query (RFC 3986, unreserved)."""

_quoted = lru_cache(maxsize=grammar.REMEMBERED_URLS)(partial(quote, safe=""))
"""A value percent-encoded, all but the unreserved characters; the same few URLs are sent all day."""

_FILTER_FIELDS = ("workflowUrl", "created", "callerIp", "flowControlKey", "label")


class Dialect(StrEnum):
    """How the request was written: query (`@upstash/workflow` 1.2 and later) or JSON body (before, and Go)."""

    QUERY = "query"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: of which team, and which of its subjects, a key id or `<issuer>#<sub>`.

    Two are equal when they name the same subject. A token also brings its id, the claims that bound it, and its end.
    """

    team: str
    subject: str
    token_id: str | None = field(default=None, compare=False)
    claims: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    expires_ms: int | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """`<team>/<subject>`, as the record has it."""
        return f"{self.team}/{self.subject}"

    @property
    def key_id(self) -> str:
        """The id of the key, or of the token."""
        return self.token_id or self.subject


@dataclass(frozen=True, slots=True)
class ByRunIds:
    """Exactly these runs; upstream ignores every other filter beside them."""

    run_ids: tuple[str, ...]

    kind = "run_ids"

    def __post_init__(self) -> None:
        if not self.run_ids:
            raise ValueError("a list of run IDs cannot be empty: upstream may read it as every run")
        if len(set(self.run_ids)) != len(self.run_ids):
            raise ValueError("a run ID is repeated")
        grammar.check_values("workflowRunIds", grammar.run_id, self.run_ids)

    @property
    def carried(self) -> frozenset[str]:
        """Wire names of the fields that select."""
        return frozenset(("workflowRunIds",))

    def pairs(self) -> list[tuple[str, str]]:
        """The selection as query pairs, in upstream's order."""
        return [("workflowRunIds", run_id) for run_id in self.run_ids]


@dataclass(frozen=True, slots=True)
class ByFilter:
    """Runs that match: OR inside a field, AND across fields. Dates are Unix milliseconds of the runs' creation.

    `carried` are the wire names of the fields that select; the two dates are one field, `created`.
    `exact` says how upstream matches the URLs; without it a URL is a prefix *without* any boundary.
    """

    workflow_urls: tuple[str, ...] = ()
    exact: bool = False
    from_date: int | None = None
    to_date: int | None = None
    caller_ips: tuple[str, ...] = ()
    flow_control_keys: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    carried: frozenset[str] = field(init=False, repr=False, compare=False)

    kind = "filter"

    def __post_init__(self) -> None:
        created = self.from_date is not None or self.to_date is not None
        values = (self.workflow_urls, created, self.caller_ips, self.flow_control_keys, self.labels)
        object.__setattr__(self, "carried", frozenset(compress(_FILTER_FIELDS, values)))
        if not self.carried:
            raise ValueError("a filter names at least one field; without any it is EveryRun")
        if self.exact and not self.workflow_urls:
            raise ValueError("workflowUrlExactMatch stands only beside workflowUrl")
        grammar.check_each("workflowUrl", grammar.url if self.exact else grammar.url_prefix, self.workflow_urls)
        grammar.check_each("callerIp", grammar.ip_address, self.caller_ips)
        grammar.check_each("flowControlKey", grammar.key, self.flow_control_keys)
        grammar.check_each("label", grammar.key, self.labels)
        dates = [date for date in (self.from_date, self.to_date) if date is not None]
        if dates != sorted(dates) or not all(10**12 <= date < 10**13 for date in dates):
            raise ValueError("dates are Unix milliseconds of 13 digits, fromDate not later than toDate")

    def pairs(self) -> list[tuple[str, str]]:
        """The selection as query pairs, in upstream's order."""
        pairs = [("workflowUrl", url) for url in self.workflow_urls]
        if self.exact:
            pairs.append(("workflowUrlExactMatch", "true"))
        if self.from_date is not None:
            pairs.append(("fromDate", str(self.from_date)))
        if self.to_date is not None:
            pairs.append(("toDate", str(self.to_date)))
        pairs += [("callerIp", address) for address in self.caller_ips]
        pairs += [("flowControlKey", key) for key in self.flow_control_keys]
        pairs += [("label", label) for label in self.labels]
        return pairs


@dataclass(frozen=True, slots=True)
class EveryRun:
    """Nothing selected: upstream would cancel every run of the account."""

    kind = "everything"

    @property
    def carried(self) -> frozenset[str]:
        """No field selects."""
        return frozenset()

    def pairs(self) -> list[tuple[str, str]]:
        """No pairs: there is no marker for *all* on the wire."""
        return []


Selection = ByRunIds | ByFilter | EveryRun

REPEATABLE = frozenset(("workflowRunIds", "workflowUrl", "callerIp", "flowControlKey", "label"))


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """One bulk cancel, read in exactly one way. For run IDs `count` is their number; `reason` is why, in plain words.

    Two requests are equal when they ask for the same; how they were written and why does not matter.
    """

    selection: Selection
    count: int
    dialect: Dialect = field(default=Dialect.QUERY, compare=False)
    reason: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"count is 1 to {MAX_COUNT}")
        if isinstance(self.selection, ByRunIds) and self.count != len(self.selection.run_ids):
            raise ValueError("for run IDs count is their number")
        if self.reason is not None:
            grammar.reason(self.reason)

    def wire(self) -> dict[str, object]:
        """The request as an object with the wire names; repeatable fields are lists, numbers are numbers."""
        members: dict[str, object] = {}
        for name, value in self.selection.pairs():
            if name in REPEATABLE:
                members.setdefault(name, []).append(value)  # type: ignore[attr-defined]
            else:
                members[name] = True if name == "workflowUrlExactMatch" else int(value)
        members["count"] = self.count
        return members


@dataclass(frozen=True)
class Order:
    """One call to upstream. It cannot be made of `EveryRun`: nothing can send that."""

    selection: ByRunIds | ByFilter
    count: int

    def __post_init__(self) -> None:
        if not isinstance(self.selection, (ByRunIds, ByFilter)):
            raise TypeError("an order names runs or a filter")
        CancelRequest(self.selection, self.count)

    @cached_property
    def query(self) -> str:
        """The canonical query string: upstream's order of names, `count` always, everything else percent-encoded."""
        pairs = [*self.selection.pairs(), ("count", str(self.count))]
        return "&".join([f"{name}={value if _PLAIN(value) else _quoted(value)}" for name, value in pairs])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What both decisions share: the rule (`file/id`), and the judgement with shadow rules counted.

    `decided` is `permit` or `deny`; `shadow` names the rule in shadow mode that makes the difference, if one does.
    `exceptions` names each `deny` and `require` that would have counted and excepts the team, with the exception.
    """

    rule: str | None
    decided: str
    shadow: str | None
    exceptions: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Permit(Verdict):
    """Policy allows `effective`, never more than was asked; `owner_unchecked` is what the rule says of run IDs.

    `narrowed_by` names the rule whose cap lowered the count, where one did.
    With a `resolution` the request itself is never sent: its runs are looked up and judged, and cancelled by ID.
    """

    effective: CancelRequest
    narrowed_by: str | None = field(default=None, kw_only=True)
    owner_unchecked: bool = field(default=False, kw_only=True)
    resolution: Resolution | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom to ask about the rules of a policy file: its team, and how it is reached."""

    team: str
    contact: str

    def words(self) -> str:
        """The sentence that sends a refused person there."""
        return f"Ask {self.team}: {self.contact}."

    def members(self) -> dict[str, object]:
        """The owner as JSON."""
        return {"team": self.team, "contact": self.contact}


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """What a rule did not admit: a field by its wire name, and its value (None: the request lacks the field)."""

    rule: str
    field: str
    value: str | None

    def members(self) -> dict[str, object]:
        """The field and value as JSON."""
        return {"rule": self.rule, "field": self.field, "value": self.value}


@dataclass(frozen=True, slots=True)
class Denial(Verdict):
    """Policy refuses: `reason` is for people, `nearest` (wire names) a part of the request that it would allow, if any.

    `owner` is that of the rule that refused, or else of the one that came nearest, as `not_admitted` is.
    """

    reason: str
    nearest: Mapping[str, object] | None
    owner: Owner | None = field(default=None, kw_only=True)
    not_admitted: NotAdmitted | None = field(default=None, kw_only=True)

    def particulars(self) -> dict[str, object]:
        """What is known of the owner and of what was not admitted, as JSON."""
        found = {"not_admitted": self.not_admitted, "owner": self.owner}
        return {name: one.members() for name, one in found.items() if one is not None}


Decision = Permit | Denial


ORDER_RUNS = 100
"""How many run IDs one order of a resolved request names at most: about 4 kB of request target."""


def order_of(request: CancelRequest) -> Order:
    """The order that sends a request as it is. Raises: TypeError, if it is for every run: nothing can send that."""
    match request.selection:
        case ByRunIds() | ByFilter() as selection:
            return Order(selection, request.count)
        case EveryRun():
            raise TypeError("an order names runs or a filter")


def orders_of(runs: Sequence[Run]) -> tuple[Order, ...]:
    """Orders for exactly these runs, in turn; none where there are none, because no ID would mean every run."""
    ids = [run.run_id for run in runs]
    chunks = [tuple(ids[first : first + ORDER_RUNS]) for first in range(0, len(ids), ORDER_RUNS)]
    return tuple(Order(ByRunIds(chunk), len(chunk)) for chunk in chunks)


@dataclass(frozen=True, slots=True)
class Plan:
    """A judged request and the calls that carry it out: the request itself, or lists of the run IDs it `resolved` to.

    `plan_id` names the plan that was shown before, where one is applied.
    """

    decision_id: str
    principal: Principal
    asked: CancelRequest
    permit: Permit
    orders: tuple[Order, ...]
    policy_digest: str
    remote: str | None
    resolved: Resolved | None = None
    plan_id: str | None = None

    @property
    def narrowed(self) -> dict[str, list[int]] | None:
        """`{"count": [asked, sent]}` where policy lowered it."""
        if self.asked.count == self.permit.effective.count:
            return None
        return {"count": [self.asked.count, self.permit.effective.count]}

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that are to be cancelled, where they were looked up."""
        return self.resolved.runs if self.resolved is not None else ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Evidence that the intent is durable; only the audit log makes one, and nothing is sent without it."""

    decision_id: str
    seq: int
