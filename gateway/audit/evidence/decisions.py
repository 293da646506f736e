"""Joins the records of one decision while they are streamed: whose it was, and how many runs it cancelled.

    plan, intent              begin a decision, and name the caller
    chunk                     a part of it: what one order of several cancelled
    outcome                   its end, with the number where that is known
    settled                   the number learnt later, which takes the place of the outcome's

One pass, in bounded memory: a decision is held only until its last record, and of those held the oldest gives way to
the `MOST_HELD + 1`st. Records of a decision that is not held are counted by themselves, and `strays` says how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.core.errors import counted

MOST_HELD = 32_768
"""Far more than are ever open at once; what is held longest are outcomes that nobody could settle."""

BEGINNING = frozenset(("plan", "intent"))
CONTINUING = frozenset(("chunk", "outcome", "settled"))
ASKED_ONLY = "explained"

Members = Mapping[str, object]
T = TypeVar("T")


class Held(Generic[T]):
    """A value for each decision that is under way, at most `most` of them."""

    def __init__(self, *, most: int = MOST_HELD) -> None:
        self._most = most
        self._values: dict[str, T] = {}

    def of(self, members: Members) -> T | None:
        """Returns the value of the decision that the record belongs to; None if none is held."""
        return self._values.get(_decision_id(members))

    def hold(self, members: Members, value: T) -> None:
        """Holds a value for the decision that the record begins; the oldest gives way where there are too many."""
        self._values[_decision_id(members)] = value
        if len(self._values) > self._most:
            del self._values[next(iter(self._values))]

    def let_go(self, members: Members) -> None:
        """Forgets the decision if this record is its last."""
        if _is_last(members):
            self._values.pop(_decision_id(members), None)


def _decision_id(members: Members) -> str:
    return str(members.get("decision_id"))


def _is_last(members: Members) -> bool:
    """Whether nothing more will be recorded: an outcome that leaves a question open is settled later."""
    match members.get("event"):
        case "settled":
            return True
        case "outcome":
            certain = members.get("outcome") in ("refused", "not_sent", "cancelled")
            return certain and members.get("action_id") is None
    return False


class Callers:
    """Selects the records of one principal; those that carry none belong to the principal of their decision."""

    def __init__(self, principal: str) -> None:
        self._principal = principal
        self._held: Held[str] = Held()

    def are(self, members: Members) -> bool:
        """Returns whether the record is one of theirs; takes records in order."""
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
    """What the records of one decision say so far; a number is None where none was said."""

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
        """Adds what one record says."""
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
    """What an outcome that is not known as a whole names as cancelled for certain."""
    progress = members.get("progress")
    return _number(progress.get("cancelled")) if isinstance(progress, dict) else None


def _number(value: object) -> int | None:
    return value if type(value) is int else None


def _refusal(members: Members) -> str | None:
    """Code and reason of the request that this record refuses; None where it refuses none."""
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
    """Records by event; decisions, each once, by team, rule and outcome; and the runs that they cancelled.

    `refusals` are requests that came to nothing, by code and why: the rule that denied one, else the cause of record.
    `unrecorded` is how many more there were in floods, as later records say.
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
        """Counts one record; takes them in order."""
        event = str(members.get("event"))
        self.events[event] += 1
        if (refusal := _refusal(members)) is not None:
            self.refusals[refusal] += 1
            self.unrecorded += _number(members.get("left_out")) or 0
        if event in CONTINUING:
            self._continue(members)
        elif event != ASKED_ONLY and self.held.of(members) is None:
            # What somebody only asked about was no decision of a rule.
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
            # What its parts had cancelled before it ended counts with its outcome.
            self.runs[decision.outcome] += decision.cancelled - (0 if ended is None else before)
        self.held.let_go(members)


def _count(counter: Counter[str], value: object) -> None:
    if isinstance(value, str):
        counter[value] += 1


def _table(name: str, unit: str, counter: Counter[str]) -> Iterator[str]:
    for value, number in counter.most_common():
        yield f"{name:<8} {value:<40} {counted(number, unit)}"


def lines(stats: DecisionStats) -> Iterator[str]:
    """The numbers for people, each with what it counts."""
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
