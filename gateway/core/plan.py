"""The decisions of policy and what is sent for them: verdicts, orders, plans, and the receipt of a recorded intent.

An `Order`, the only thing that is ever sent, cannot be made from `Everything`, nor from a filter with a host or path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Literal, NamedTuple
from urllib.parse import quote

from gateway.core import grammar
from gateway.core.forms.correlation import NOT_GIVEN, Correlation
from gateway.core.request import CANCEL_RUNS, RUN_IDS, Action, ActionRequest, ByFilter, ByIds, Principal, check_count
from gateway.core.run import Resolution, Resolved, Run

_quoted = lru_cache(maxsize=grammar.REMEMBERED_URLS)(partial(quote, safe=""))
"""Percent-encodes all but the unreserved characters; cached, because the same few URLs are sent all day."""


_NO_ORDER = "an order names things by ID, or cancels runs by a filter without host and path"
_BY_FILTER_TOO = (ByIds, ByFilter)


@dataclass(frozen=True, slots=True)
class Order:
    """One call to upstream. It cannot be made from `Everything` or `ByFilterHere`, so nothing can send those.

    Only runs are cancelled by a filter: how upstream reads those of other calls is not known. `query` is the canonical
    query string: names in upstream's order, `count` always present for a cancel of runs, values percent-encoded.
    `headers` are sent with it.
    """

    selection: ByIds | ByFilter
    count: int
    action: Action = CANCEL_RUNS
    headers: tuple[tuple[str, str], ...] = ()
    query: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.selection, _BY_FILTER_TOO if self.action is CANCEL_RUNS else ByIds):
            raise TypeError(_NO_ORDER)
        check_count(self.selection, self.count)
        object.__setattr__(self, "query", self._query())

    def _query(self) -> str:
        reserved = grammar.find_reserved
        pairs = [f"{name}={_quoted(value) if reserved(value) else value}" for name, value in self.selection.pairs()]
        if self.action is CANCEL_RUNS:
            pairs.append(f"count={self.count}")
        return "&".join(pairs)


Decided = Literal["permit", "deny"]


class Narrowing(NamedTuple):
    """The lowering of a request's count: the key of the rule that did it, `count` or `runs`, and the rule (`by`)."""

    key: Literal["count", "runs"]
    by: str


@dataclass(frozen=True, slots=True)
class Budget:
    """The most `runs` cancelled, and the most `requests` that cancel, within any `per_ms` milliseconds; None: no bound.

    `shared` says who share it: all requests under the rule, those of a team, or those of a principal.
    """

    per_ms: int
    runs: int | None = None
    requests: int | None = None
    shared: Literal["rule", "team", "key"] = "rule"


@dataclass(frozen=True, slots=True)
class Approval:
    """The second persons that a rule asks for: `count` principals of the teams in `by`, none of them the requester.

    They are asked for where the runs of a request, and those cancelled under the rule for the same team within the last
    `within_ms` milliseconds, are together more than `over`. What they approve holds for as long.
    """

    by: tuple[str, ...]
    count: int = 1
    over: int = 0
    within_ms: int = 1_800_000


class Barrier(NamedTuple):
    """The reason why a request that policy admits is refused all the same: a freeze, a budget.

    `code` is that of the answer and the cause on record; `members` are shown to the caller as JSON, and `headers` stand
    on the answer.
    """

    code: str
    title: str
    members: Mapping[str, object]
    headers: tuple[tuple[str, str], ...] = ()


class Permit(NamedTuple):
    """Policy allows `effective`, which is never more than was asked.

    Both decisions name the rule (`file/id`) and say what was `decided` with shadow rules counted; `shadow` names the
    rule in shadow mode that makes the difference, if one does. `exceptions` names each `deny` and `require` that would
    have counted but excepts the team, with the exception.

    `owner_unchecked` is true if the rule allows run IDs without a check of whose runs they are. `narrowing` says which
    cap lowered the count, if one did. With a `budget`, runs are reserved before the intent. With a `resolution` the
    request itself is never sent: its runs are looked up, judged, and cancelled by ID. With an `approval` others may
    have to approve those runs first.
    """

    rule: str | None
    decided: Decided
    shadow: str | None
    effective: ActionRequest
    exceptions: tuple[str, ...] = ()
    narrowing: Narrowing | None = None
    owner_unchecked: bool = False
    resolution: Resolution | None = None
    budget: Budget | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The people to ask about the rules of a policy file: a team, and how to reach it."""

    team: str
    contact: str

    def words(self) -> str:
        """Return the sentence that refers a refused person to the owner."""
        return f"Ask {self.team}: {self.contact}."

    def members(self) -> dict[str, object]:
        """Return the owner as JSON."""
        return {"team": self.team, "contact": self.contact}


class NotAdmitted(NamedTuple):
    """The part of a request that a rule did not admit: a field by its wire name, and its value (None if missing)."""

    rule: str
    field: str
    value: str | None

    def members(self) -> dict[str, object]:
        """Return the rule, field and value as JSON."""
        return {"rule": self.rule, "field": self.field, "value": self.value}


class Denial(NamedTuple):
    """Policy refuses. `reason` is for people; `nearest` (wire names) is a part of the request that would be allowed.

    The first members are those of a `Permit`. `nearest` is None if no part would be. `owner` and `not_admitted` come
    from the rule that refused or, if none did, from the one that came nearest. `barrier` says what refuses a request
    that `rule` admits.
    """

    rule: str | None
    decided: Decided
    shadow: str | None
    reason: str
    nearest: Mapping[str, object] | None
    exceptions: tuple[str, ...] = ()
    owner: Owner | None = None
    not_admitted: NotAdmitted | None = None
    barrier: Barrier | None = None

    def particulars(self) -> dict[str, object]:
        """Return the owner and what was not admitted as JSON, as far as they are known."""
        found: dict[str, object] = {}
        if self.not_admitted is not None:
            found["not_admitted"] = self.not_admitted.members()
        if self.owner is not None:
            found["owner"] = self.owner.members()
        return found


Decision = Permit | Denial
Verdict = Decision
"""A decision where only what both kinds say is read: the rule, and the judgement with shadow rules counted."""


ORDER_RUNS = 100
"""The most run IDs in one order of a resolved request: about 4 kB of request target."""


def order_of(request: ActionRequest) -> Order:
    """Return the order that sends a request as it is.

    Raises:
        TypeError: the request is for everything, or by a filter that is not sent; no order can be made of that.
    """
    match request.selection:
        case ByIds() | ByFilter() as selection:
            return Order(selection, request.count, request.action, request.headers if request.overrides else ())
        case _:
            raise TypeError(_NO_ORDER)


def orders_of(
    runs: Sequence[Run], asked: ActionRequest | None = None, *, field: str = RUN_IDS, most: int = ORDER_RUNS
) -> tuple[Order, ...]:
    """Return orders for exactly these runs or entries, in turn, each with at most `most` IDs; without any, none.

    They are for the action and with the headers of the request `asked`, if it is given; `field` says what the IDs are.
    """
    ids = [run.run_id for run in runs]
    chunks = [tuple(ids[first : first + most]) for first in range(0, len(ids), most)]
    action, headers = (CANCEL_RUNS, ()) if asked is None else (asked.action, asked.headers)
    return tuple(Order(ByIds(chunk, field), len(chunk), action, headers) for chunk in chunks)


class Reserved(NamedTuple):
    """What an intent has taken of the budget of a rule: `runs`, in the budget's `scope`.

    What was left of it then is `left_runs` and `left_requests` (None: no such bound); all of it is there again at
    `resets_ms`, in Unix milliseconds.
    """

    rule: str
    scope: str
    runs: int
    left_runs: int | None = None
    left_requests: int | None = None
    resets_ms: int = 0


class Plan(NamedTuple):
    """A judged request and the orders that carry it out: the request itself, or lists of the run IDs it `resolved` to.

    If a plan that was shown before is applied, `plan_id` names it. What was taken before its intent is `reserved`, and
    the SHA-256 (hex) of the Idempotency-Key that was bound to it, `idempotency`. `approved_by` names the principals
    that approved its runs. A resume by the gateway itself names the decision of the pause that it `ends`.
    """

    decision_id: str
    principal: Principal
    asked: ActionRequest
    permit: Permit
    orders: tuple[Order, ...]
    policy_digest: str
    remote: str | None
    resolved: Resolved | None = None
    plan_id: str | None = None
    correlation: Correlation = NOT_GIVEN
    reserved: Reserved | None = None
    idempotency: str | None = None
    approved_by: tuple[str, ...] = ()
    ends: str | None = None

    @property
    def narrowed(self) -> dict[str, list[int]] | None:
        """`{"count": [asked, left]}` if policy lowered the count, or `runs` in its place if `runs.cap` did."""
        narrowing = self.permit.narrowing
        if narrowing is None:
            return None
        return {narrowing.key: [self.asked.count, self.permit.effective.count]}

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs to cancel, if they were looked up."""
        return self.resolved.runs if self.resolved is not None else ()


class Receipt(NamedTuple):
    """The evidence that the intent is durable. Only the audit log makes one, and nothing is sent without it."""

    decision_id: str
    seq: int
