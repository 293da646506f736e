"""What policy makes of a request, and what is sent: verdicts, orders, plans, and the receipt of a recorded intent.

An `Order`, the only thing ever sent, cannot be made of `EveryRun`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from urllib.parse import quote

from gateway.core import grammar
from gateway.core.request import ByFilter, ByRunIds, CancelRequest, EveryRun, Principal
from gateway.core.run import Resolution, Resolved, Run

_PLAIN = re.compile("[A-Za-z0-9_.~-]*").fullmatch
"""Whether a value stands for itself in a query (RFC 3986, unreserved)."""

_quoted = lru_cache(maxsize=grammar.REMEMBERED_URLS)(partial(quote, safe=""))
"""A value percent-encoded, all but the unreserved characters; the same few URLs are sent all day."""


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
