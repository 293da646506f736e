"""The statistics of a record: each decision counted once, however many records it has.

One pass is enough, in bounded memory. A decision is held only until its last record, and when more than MOST_HELD are
held the oldest is forgotten. Records of a decision that is not held are counted by themselves, and `strays` says how
many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.audit.decisions.joined import BEGINNING, CONTINUING, Held, Tally, is_last
from gateway.core.errors import counted
from gateway.core.request import CANCEL_RUNS
from gateway.operations.words import words_of

NO_DECISION = frozenset(("explained", "plan", "withdrawn", "freeze", "thaw", "approval"))
"""The events that decide nothing: a question, a plan (which has an intent once it is applied), its stop, its wait for
approval, a freeze."""

Members = Mapping[str, object]


def _refusal(members: Members) -> str | None:
    """Return the code and the reason if this record refuses a request, otherwise None."""
    match members.get("event"):
        case "denied":
            return f"{members.get('cause', 'policy_denied')} {members.get('rule') or 'no rule allows it'}"
        case "throttled":
            return f"throttled {members.get('cause')}"
        case "refused":
            return f"{members.get('code')} {members.get('cause')}"
    return None


@dataclass(slots=True)
class _Held:
    """A decision that is under way, with its action; of one that began elsewhere that is not known."""

    action: str = CANCEL_RUNS.value
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class DecisionStats:
    """The counts of records by event, of decisions by team, rule, action and outcome, and of what they did.

    `done` is to how many things each action was done; `runs` and `cancelled` count the runs that were cancelled. Each
    decision counts once. `refusals` are requests that came to nothing, by code and reason: the rule that denied
    one, otherwise the recorded cause. `unrecorded` is how many more there were in floods, according to later records.
    """

    events: Counter[str] = field(default_factory=Counter)
    teams: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    unrecorded: int = 0
    strays: int = 0
    held: Held[_Held] = field(default_factory=Held)

    @property
    def cancelled(self) -> int:
        """How many runs QStash has cancelled."""
        return self.done[CANCEL_RUNS]

    def add(self, members: Members) -> None:
        """Count one record. Records must be given in order."""
        event = str(members.get("event"))
        self.events[event] += 1
        if (refusal := _refusal(members)) is not None:
            self.refusals[refusal] += 1
            left_out = members.get("left_out")
            self.unrecorded += left_out if type(left_out) is int else 0
        if event in CONTINUING:
            self._continue(members)
        elif event not in NO_DECISION and self.held.of(members) is None:
            _count(self.teams, members.get("team"))
            _count(self.rules, members.get("rule"))
            action = str(members.get("action") or CANCEL_RUNS)
            if "rule" in members:
                self.actions[action] += 1
            if event in BEGINNING:
                self.held.hold(members, _Held(action))

    def _continue(self, members: Members) -> None:
        held = self.held.of(members)
        if held is None:
            self.strays += 1
            held = _Held()
            if not is_last(members):
                self.held.hold(members, held)
        decision = held.tally
        before, ended = decision.cancelled, decision.outcome
        decision.take(members)
        self.done[held.action] += decision.cancelled - before
        if decision.outcome is not None:
            if ended is None:
                self.outcomes[decision.outcome] += 1
            # Runs that its chunks cancelled before its end count with its outcome.
            if held.action == CANCEL_RUNS:
                self.runs[decision.outcome] += decision.cancelled - (0 if ended is None else before)
        self.held.let_go(members)


def _count(counter: Counter[str], value: object) -> None:
    if isinstance(value, str):
        counter[value] += 1


def _table(name: str, unit: str, counter: Counter[str]) -> Iterator[str]:
    for value, number in counter.most_common():
        yield f"{name:<8} {value:<40} {counted(number, unit)}"


def _actions(stats: DecisionStats) -> Iterator[str]:
    for line, action in zip(
        _table("action", "decision", stats.actions), dict(stats.actions.most_common()), strict=True
    ):
        words = words_of(action)
        yield f"{line}, {words.number(stats.done[action])} {words.done}"


def lines(stats: DecisionStats) -> Iterator[str]:
    """Yield the numbers as lines for people, each with what it counts."""
    yield from _table("event", "record", stats.events)
    yield from _table("team", "decision", stats.teams)
    yield from _table("rule", "decision", stats.rules)
    if stats.actions.keys() - {CANCEL_RUNS}:
        yield from _actions(stats)
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
