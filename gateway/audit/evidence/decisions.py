"""The records of one decision, joined while they are streamed: whose it was, and how many runs it cancelled.

    plan, intent              begin a decision, and name the caller
    chunk                     gives a part of it: what one order of several cancelled
    outcome                   ends it, with the number if that is known
    settled                   gives the number that was learnt later, in place of the outcome's

One pass is enough, in bounded memory. A decision is held only until its last record, and when more than MOST_HELD are
held the oldest is forgotten. Records of a decision that is not held are counted by themselves, and `strays` says how
many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.core.errors import counted

MOST_HELD = 32_768
"""Far more than are ever open at once. Those held longest are outcomes that nobody could settle."""

BEGINNING = frozenset(("plan", "intent"))
CONTINUING = frozenset(("chunk", "outcome", "settled"))
ASKED_ONLY = "explained"

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
        if _is_last(members):
            self._values.pop(_decision_id(members), None)


def _decision_id(members: Members) -> str:
    return str(members.get("decision_id"))


def _is_last(members: Members) -> bool:
    """Return whether nothing more will be recorded. An outcome that leaves a question open is settled later."""
    match members.get("event"):
        case "settled":
            return True
        case "outcome":
            certain = members.get("outcome") in ("refused", "not_sent", "cancelled")
            return certain and members.get("action_id") is None
    return False


class Callers:
    """The records of one principal. A record that names none belongs to the principal of its decision."""

    def __init__(self, principal: str) -> None:
        self._principal = principal
        self._held: Held[str] = Held()

    def are(self, members: Members) -> bool:
        """Return whether the record is one of theirs. Records must be given in order."""
        if "principal" in members:
            theirs = members["principal"] == self._principal
            if theirs and members.get("event") in BEGINNING:
                self._held.hold(members, self._principal)
            return theirs
        theirs = self._held.of(members) is not None
        self._held.let_go(members)
        return theirs


@dataclass(slots=True)
class _Decision:
    """The state of one decision, from its records so far. A number is None until a record gives it."""

    outcome: str | None = None
    chunks: int = 0
    said: int | None = None
    settled: int | None = None

    @property
    def cancelled(self) -> int:
        """How many runs upstream cancelled, as far as is known."""
        later = self.said if self.settled is None else self.settled
        return self.chunks if later is None else later

    def take(self, members: Members) -> None:
        """Add what one record says."""
        known = _number(members.get("cancelled"))
        match members.get("event"):
            case "chunk":
                self.chunks += known or 0
            case "outcome":
                self.outcome = self.outcome or str(members.get("outcome"))
                if self.said is None:
                    self.said = _certain(members) if known is None else known
            case "settled" if known is not None:
                self.settled = known


def _certain(members: Members) -> int | None:
    """Return how many runs were certainly cancelled, according to an outcome that is not known as a whole."""
    progress = members.get("progress")
    return _number(progress.get("cancelled")) if isinstance(progress, dict) else None


def _number(value: object) -> int | None:
    return value if type(value) is int else None


def _refusal(members: Members) -> str | None:
    """Return the code and the reason if this record refuses a request, otherwise None."""
    match members.get("event"):
        case "denied":
            return f"policy_denied {members.get('rule') or 'no rule allows it'}"
        case "throttled":
            return f"throttled {members.get('cause')}"
        case "refused":
            return f"{members.get('code')} {members.get('cause')}"
    return None


@dataclass(slots=True)
class DecisionStats:
    """The counts of records by event, of decisions by team, rule and outcome, and of the runs that they cancelled.

    Each decision counts once. `refusals` are requests that came to nothing, by code and reason: the rule that denied
    one, otherwise the recorded cause. `unrecorded` is how many more there were in floods, according to later records.
    """

    events: Counter[str] = field(default_factory=Counter)
    teams: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    unrecorded: int = 0
    cancelled: int = 0
    strays: int = 0
    held: Held[_Decision] = field(default_factory=Held)

    def add(self, members: Members) -> None:
        """Count one record. Records must be given in order."""
        event = str(members.get("event"))
        self.events[event] += 1
        if (refusal := _refusal(members)) is not None:
            self.refusals[refusal] += 1
            self.unrecorded += _number(members.get("left_out")) or 0
        if event in CONTINUING:
            self._continue(members)
        elif event != ASKED_ONLY and self.held.of(members) is None:
            # An explanation that somebody asked for is not a decision of a rule.
            _count(self.teams, members.get("team"))
            _count(self.rules, members.get("rule"))
            if event in BEGINNING:
                self.held.hold(members, _Decision())

    def _continue(self, members: Members) -> None:
        decision = self.held.of(members)
        if decision is None:
            self.strays += 1
            decision = _Decision()
            if not _is_last(members):
                self.held.hold(members, decision)
        before, ended = decision.cancelled, decision.outcome
        decision.take(members)
        self.cancelled += decision.cancelled - before
        if decision.outcome is not None:
            if ended is None:
                self.outcomes[decision.outcome] += 1
            # Runs that its chunks cancelled before its end count with its outcome.
            self.runs[decision.outcome] += decision.cancelled - (0 if ended is None else before)
        self.held.let_go(members)


def _count(counter: Counter[str], value: object) -> None:
    if isinstance(value, str):
        counter[value] += 1


def _table(name: str, unit: str, counter: Counter[str]) -> Iterator[str]:
    for value, number in counter.most_common():
        yield f"{name:<8} {value:<40} {counted(number, unit)}"


def lines(stats: DecisionStats) -> Iterator[str]:
    """Yield the numbers as lines for people, each with what it counts."""
    yield from _table("event", "record", stats.events)
    yield from _table("team", "decision", stats.teams)
    yield from _table("rule", "decision", stats.rules)
    yield from _table("refusal", "request", stats.refusals)
    if stats.unrecorded:
        yield from _table("refusal", "request", Counter({"not recorded, there were too many": stats.unrecorded}))
    for line, outcome in zip(
        _table("outcome", "decision", stats.outcomes), dict(stats.outcomes.most_common()), strict=True
    ):
        yield f"{line}, {counted(stats.runs[outcome], 'run')} cancelled"
    if stats.strays:
        strays = counted(stats.strays, "record continues", "records continue")
        yield f"{strays} a decision that began elsewhere, or too long ago to be joined"
