"""One decision, joined from its records: whose it was, what was asked, what came of it, and how many runs it cancelled.

    plan, intent, denied      begin a decision, and name the caller; a plan alone is none yet
    chunk                     gives a part of it: what one order of several cancelled
    outcome                   ends it, with the number if that is known
    settled                   gives the number that was learnt later, in place of the outcome's; a read-back lowers none
    joined                    is a repeat: it shares the outcome of the decision that it joins

Records may be taken twice, in the order of the log: that changes nothing. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

MOST_HELD = 32_768
"""Far more than are ever open at once. Those held longest are outcomes that nobody could settle."""

BEGINNING = frozenset(("plan", "intent"))
CONTINUING = frozenset(("chunk", "outcome", "settled"))
SWITCHES = frozenset(("freeze", "thaw"))
"""The events whose `by` says who did it, and whose `team` whose cancels are stopped."""

CERTAIN = frozenset(("refused", "not_sent", "cancelled"))
"""The outcomes that leave nothing open, unless an action ID says that upstream goes on."""

Members = Mapping[str, object]
T = TypeVar("T")


class Held(Generic[T]):
    """A value for each decision that is under way, for at most `most` decisions."""

    def __init__(self, *, most: int = MOST_HELD) -> None:
        self._most = most
        self._values: dict[str, T] = {}

    def of(self, members: Members) -> T | None:
        """Return the value of the decision that the record belongs to; None if none is held."""
        return self._values.get(_decision_id(members))

    def hold(self, members: Members, value: T) -> None:
        """Hold a value for the decision that the record begins; forget the oldest decision if there are too many."""
        self._values[_decision_id(members)] = value
        if len(self._values) > self._most:
            del self._values[next(iter(self._values))]

    def let_go(self, members: Members) -> None:
        """Forget the decision if this record is its last."""
        if is_last(members):
            self._values.pop(_decision_id(members), None)


def _decision_id(members: Members) -> str:
    return str(members.get("decision_id"))


def is_last(members: Members) -> bool:
    """Return whether nothing more will be recorded. An outcome that leaves a question open is settled later."""
    match members.get("event"):
        case "settled":
            return True
        case "outcome":
            return members.get("outcome") in CERTAIN and members.get("action_id") is None
    return False


class Owner(NamedTuple):
    """Whose a record is, the rule that decided, and the action. A value is None if no record says it."""

    team: object = None
    principal: object = None
    rule: object = None
    action: object = None


class Owners:
    """The owner of each record. A record that names none belongs to that of its decision."""

    def __init__(self) -> None:
        self._held: Held[Owner] = Held()

    def of(self, members: Members) -> Owner:
        """Return whose the record is. Records must be given in order.

        A repeat that joins a decision is its caller's own, under the rule of that decision.
        """
        if "principal" not in members and "team" not in members:
            owner = self._held.of(members) or Owner()
            self._held.let_go(members)
            return owner
        principal = members.get("by" if members.get("event") in SWITCHES else "principal")
        # A refusal before policy names no team, and every name of a principal begins with one.
        team = members.get("team", principal.partition("/")[0] if isinstance(principal, str) else None)
        owner = Owner(team, principal, members.get("rule"), members.get("action"))
        if members.get("event") in BEGINNING:
            self._held.hold(members, owner)
        elif (joined := self._held.of({"decision_id": members.get("joins")})) is not None:
            owner = owner._replace(rule=joined.rule, action=joined.action)
        return owner


@dataclass(slots=True)
class Tally:
    """What came of one decision, from its records so far. A number is None until a record gives it.

    `orders` maps the number of each order that has a `chunk` to its outcome and to the runs that it cancelled. What
    `is_read_back` counts the ordered runs only, so it lowers no number that upstream gave. `stopped` says that somebody
    stopped the plan.
    """

    outcome: str | None = None
    stopped: bool = False
    cause: str | None = None
    upstream_status: int | None = None
    over_cancelled: int = 0
    said: int | None = None
    settled: int | None = None
    is_read_back: bool = False
    orders: dict[int, tuple[str, int]] = field(default_factory=dict)

    @property
    def state(self) -> str | None:
        """The word for what came of it; None before its outcome.

        The outcome of a plan that was stopped is always `cancelled`. If upstream carried out no order of it, the word
        is that of its last order, or `not_sent` without any.
        """
        if not self.stopped or self.upstream_status is not None or self.cancelled:
            return self.outcome
        return list(self.orders.values())[-1][0] if self.orders else "not_sent"

    @property
    def cancelled(self) -> int:
        """How many runs upstream cancelled, as far as is known."""
        certain = sum(runs for _, runs in self.orders.values()) if self.said is None else self.said
        if self.settled is None:
            return certain
        return max(certain, self.settled) if self.is_read_back else self.settled

    def take(self, members: Members) -> None:
        """Add what one record says."""
        known = _number(members.get("cancelled"))
        match members.get("event"):
            case "chunk":
                number = _number(members.get("number"))
                key = len(self.orders) + 1 if number is None else number
                self.orders[key] = (str(members.get("outcome")), known or 0)
            case "outcome" if self.outcome is None:
                self._end(members, known)
            case "settled":
                self.settled = self.settled if known is None else known
                self.is_read_back = members.get("source") == "read_back"
                self.over_cancelled = _number(members.get("over_cancelled")) or self.over_cancelled

    def _end(self, members: Members, known: int | None) -> None:
        cause = members.get("cause")
        self.outcome, self.cause = str(members.get("outcome")), cause if isinstance(cause, str) else None
        self.stopped = members.get("stopped_by") is not None
        self.upstream_status = _number(members.get("upstream_status"))
        self.over_cancelled = _number(members.get("over_cancelled")) or self.over_cancelled
        self.said = _certain(members) if known is None else known


def _certain(members: Members) -> int | None:
    """Return how many runs were certainly cancelled, according to an outcome that is not known as a whole."""
    progress = members.get("progress")
    return _number(progress.get("cancelled")) if isinstance(progress, dict) else None


def _number(value: object) -> int | None:
    return value if type(value) is int else None


@dataclass(slots=True)
class RecordedDecision:
    """One decision, by its ID. It has `begun` once its `intent` or `denied` record was taken.

    For the ID of a request that joined another, `joins` is the ID of that one, and `begun` stays None.
    """

    decision_id: str
    begun: Members | None = None
    joins: Members | None = None
    tally: Tally = field(default_factory=Tally)
    settled: Members | None = None

    def take(self, members: Members) -> None:
        """Add what one record says; a record of another decision is ignored."""
        if members.get("decision_id") != self.decision_id:
            return
        match members.get("event"):
            case "intent" | "denied":
                self.begun = self.begun or members
            case "joined":
                self.joins = self.joins or members
            case "settled":
                self.settled = self.settled or members
                self.tally.take(members)
            case "chunk" | "outcome":
                self.tally.take(members)

    @property
    def team(self) -> object:
        """The team that made the decision or joined it; None if no record says so."""
        first = self.begun or self.joins
        return None if first is None else first.get("team")

    @property
    def state(self) -> str:
        """`denied`, `in_flight` until the decision has an outcome, and then what came of it."""
        if self.begun is not None and self.begun.get("event") == "denied":
            return "denied"
        return self.tally.state or "in_flight"

    def members(self) -> dict[str, object]:
        """Return the decision as it is shown. Raises: ValueError: no record begins it."""
        begun = self.begun
        if begun is None:
            raise ValueError("no record begins this decision")
        return {
            "decision_id": self.decision_id,
            "at": begun.get("ts"),
            "team": begun.get("team"),
            "principal": begun.get("principal"),
            "action": begun.get("action", "cancel_runs"),
            "request": begun.get("asked"),
            "rule": begun.get("rule"),
            # What was enforced: the record's own `decision` counts rules in shadow mode.
            "decision": begun.get("enforced"),
            "state": self.state,
            "cancelled": self._cancelled,
            "over_cancelled": self.tally.over_cancelled,
            "orders": {"planned": self._planned, "sent": self._sent},
            "upstream_status": self.tally.upstream_status,
            "settled": _shown(self.settled),
            "reason": begun.get("reason"),
            "policy_digest": begun.get("policy_digest"),
        }

    @property
    def _cancelled(self) -> int | None:
        """How many runs are certainly cancelled; None if nobody knows of any, and there may be some."""
        known = self.tally.settled is not None or self.state in ("denied", *CERTAIN)
        return self.tally.cancelled if known or self.tally.cancelled else None

    @property
    def _planned(self) -> int:
        orders = self.begun.get("orders") if self.begun is not None else None
        return len(orders) if isinstance(orders, list) else 0

    @property
    def _sent(self) -> int:
        """How many orders were sent, or may have been.

        Each order of a plan whose runs were looked up has a `chunk`. One without may be under way, or was when the
        process ended.
        """
        tally, sent = self.tally, sum(outcome != "not_sent" for outcome, _ in self.tally.orders.values())
        if self.begun is None or self.begun.get("digest") is None:
            not_sent = self.state in ("denied", "not_sent") or (self.state == "cancelled" and not tally.upstream_status)
            return 0 if not_sent else self._planned
        goes_on = all(outcome == "cancelled" for outcome, _ in tally.orders.values())
        stopped_between = tally.outcome is not None and (tally.cause or "partial_").startswith("partial_")
        if goes_on and self.state in ("in_flight", "unknown") and not stopped_between:
            return min(self._planned, sent + 1)
        return sent


def _shown(settled: Members | None) -> dict[str, object] | None:
    if settled is None:
        return None
    return {"at": settled.get("ts"), "source": settled.get("source"), "cancelled": settled.get("cancelled")}
