"""What the rules in shadow mode would have changed, by rule and caller, read from the record; streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.core.errors import counted
from gateway.policy_tools.history.replay import JUDGED_EVENTS, Members

MAX_CALLERS = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Caller:
    """One principal met by one rule in shadow mode, and what the rule would have done: refuse, admit or recount."""

    rule: str
    effect: str
    team: str
    principal: str


@dataclass(slots=True)
class Seen:
    """How often, and when first and last (`ts` of the record)."""

    times: int
    first: str
    last: str


@dataclass(slots=True)
class ShadowStats:
    """All callers that a shadow rule would have treated otherwise, among how many decisions, from when to when."""

    decisions: int = 0
    first: str | None = None
    last: str | None = None
    callers: dict[Caller, Seen] = field(default_factory=dict)
    more: int = 0

    def add(self, members: Members) -> None:
        """Counts one record; only intents and denials say anything here."""
        if members.get("event") not in JUDGED_EVENTS:
            return
        ts = str(members["ts"])
        self.decisions += 1
        self.first = ts if self.first is None else min(self.first, ts)
        self.last = ts if self.last is None else max(self.last, ts)
        if isinstance(rule := members.get("shadow"), str):
            effect = _effect(members.get("enforced"), members.get("decision"))
            self._met(Caller(rule, effect, str(members.get("team")), str(members.get("principal"))), ts)

    def _met(self, caller: Caller, ts: str) -> None:
        seen = self.callers.get(caller)
        if seen is None and len(self.callers) >= MAX_CALLERS:
            self.more += 1
        elif seen is None:
            self.callers[caller] = Seen(1, ts, ts)
        else:
            seen.times += 1
            seen.first, seen.last = min(seen.first, ts), max(seen.last, ts)


def _effect(enforced: object, decided: object) -> str:
    if enforced == decided:
        return "recount" if enforced == "permit" else "nothing"
    return "refuse" if decided == "deny" else "admit"


def lines(stats: ShadowStats) -> Iterator[str]:
    """The statistics for people, by rule, what it would do, and caller."""
    if stats.first is None:
        yield "no decisions on record"
        return
    yield f"{counted(stats.decisions, 'decision')} from {stats.first} to {stats.last}"
    if not stats.callers:
        yield "no rule in shadow mode would have changed any of them"
    for caller, seen in sorted(stats.callers.items()):
        yield (
            f"{caller.rule} would {caller.effect:<7} {caller.principal:<32} "
            f"{counted(seen.times, 'time')}, first {seen.first}, last {seen.last}"
        )
    if stats.more:
        yield f"and {counted(stats.more, 'time')} callers beyond the first {MAX_CALLERS}"
