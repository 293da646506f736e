"""A replay of the recorded requests under candidate policies, and statistics of rules in shadow mode.

A record holds the typed request, its principal and its time, so each request is judged again as it was made. Records
that cannot be rebuilt are counted and named. Records are streamed; memory is bounded by the number of groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.authoring.question import Question, from_wire
from gateway.core.errors import Refusal, counted
from gateway.core.forms.times import instant_ms
from gateway.core.plan import Decision, Denial, Permit
from gateway.core.request import CANCEL_RUNS, Action, Principal
from gateway.policy.rules import Policies

MAX_GROUPS = 10_000
"""The most groups of changes that are kept apart; the changes of further groups are counted together."""

JUDGED_EVENTS = frozenset(("intent", "denied"))

Members = Mapping[str, object]


class Change(StrEnum):
    """A difference between a recorded decision and the new one.

    `count` is a permit for another number of runs; `look-up` is a permit that now cancels by run IDs only.
    """

    PERMIT_TO_DENY = "permit-to-deny"
    DENY_TO_PERMIT = "deny-to-permit"
    COUNT = "count"
    LOOK_UP = "look-up"


@dataclass(frozen=True, slots=True)
class Group:
    """Changes of one kind, for one team and one action, from one rule to another."""

    change: Change
    team: str
    rule_before: str | None
    rule_after: str | None
    action: Action = CANCEL_RUNS


@dataclass(frozen=True, slots=True)
class Example:
    """The first request of a group: its decision ID, what was asked, and the effective request before and after.

    The effective request is None if it was refused; `reason` is that of the new refusal.
    """

    decision_id: str
    asked: Members
    effective_before: Members | None
    effective_after: Members | None
    reason: str | None


@dataclass(slots=True)
class Replay:
    """The totals of a replay.

    `unread` counts, by reason, the lines that could not be judged again; `unread_at` has the first place for each.
    """

    judged: int = 0
    changes: Counter[Group] = field(default_factory=Counter)
    totals: Counter[Change] = field(default_factory=Counter)
    examples: dict[Group, Example] = field(default_factory=dict)
    more_changes: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    unread_at: dict[str, str] = field(default_factory=dict)
    max_groups: int = MAX_GROUPS

    def changed(self, group: Group, example: Example) -> None:
        """Count one change. The first request of each group is kept as its example."""
        self.totals[group.change] += 1
        if group not in self.changes and len(self.changes) >= self.max_groups:
            self.more_changes += 1
            return
        self.changes[group] += 1
        self.examples.setdefault(group, example)

    def not_rebuilt(self, why: str, where: str) -> None:
        """Count one line that could not be judged again; `why` is one of a few fixed texts."""
        self.unread[why] += 1
        self.unread_at.setdefault(why, where)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded decision, rebuilt from its record. A freeze or budget stopped what is `barred`."""

    decision_id: str
    question: Question
    permitted: bool
    rule: str | None
    asked: Members
    effective: Members
    planned: bool
    barred: bool


class _NotRebuiltError(Exception):
    """A record without the members that are needed; the text is one of a few fixed ones."""


def replay(policies: Policies, records: Iterable[tuple[str, Members | str]], *, max_groups: int = MAX_GROUPS) -> Replay:
    """Judge every recorded intent and denial again.

    Each of `records` comes with its place. A line that is not a record comes as text.
    """
    result = Replay(max_groups=max_groups)
    names = frozenset(rule.name for rule in policies.rules)
    for where, members in records:
        if isinstance(members, str):
            result.not_rebuilt("not a record", where)
        elif members.get("event") in JUDGED_EVENTS:
            _judge_again(result, policies, members, where=where, names=names)
    return result


def _judge_again(result: Replay, policies: Policies, members: Members, *, where: str, names: frozenset[str]) -> None:
    try:
        recorded = rebuilt(members)
    except _NotRebuiltError as exc:
        result.not_rebuilt(str(exc), where)
        return
    result.judged += 1
    decision = recorded.question.judged(policies)
    change = _change(recorded, decision, names)
    if change is not None:
        asked = recorded.question
        group = Group(change, asked.principal.team, recorded.rule, decision.rule, asked.request.action)
        result.changed(group, _example(recorded, decision))


def rebuilt(members: Members) -> Recorded:
    """Rebuild the question and the decision from the record of an intent or denial.

    Raises: _NotRebuiltError if a member is missing or cannot be read.
    """
    decision_id, rule = members.get("decision_id"), members.get("rule")
    if not isinstance(decision_id, str) or not (rule is None or isinstance(rule, str)):
        raise _NotRebuiltError("no decision_id or rule")
    if members.get("enforced") not in ("permit", "deny"):
        raise _NotRebuiltError("no enforced decision")
    asked, effective = members.get("asked"), members.get("effective")
    if not isinstance(asked, Mapping) or not isinstance(effective, Mapping):
        raise _NotRebuiltError("no asked or effective request")
    barred, planned = members["event"] == "denied" and "cause" in members, members.get("plan") is not None
    permitted = barred or members["enforced"] == "permit"
    return Recorded(decision_id, _question(members, asked), permitted, rule, asked, effective, planned, barred)


def question_of(members: Members) -> Question | None:
    """Return what was asked according to an intent or denial; None if that cannot be rebuilt from the record."""
    try:
        return rebuilt(members).question
    except _NotRebuiltError:
        return None


def _question(members: Members, asked: Members) -> Question:
    team, principal = members.get("team"), members.get("principal")
    if not isinstance(team, str) or not isinstance(principal, str) or not principal.startswith(f"{team}/"):
        raise _NotRebuiltError("no team or principal")
    reason, action = members.get("reason"), _action(members)
    try:
        now_ms = instant_ms(str(members.get("ts")))
        request = from_wire(asked, action=action, reason=reason if isinstance(reason, str) else None)
    except (Refusal, ValueError) as exc:
        raise _NotRebuiltError("the request or its time cannot be read") from exc
    if request.wire() != dict(asked):
        raise _NotRebuiltError("the request reads as another one")
    return Question(Principal(team, principal.removeprefix(f"{team}/")), request, now_ms)


def _action(members: Members) -> Action:
    """Return the action on record: without one it is a cancel of runs, as there was no other."""
    try:
        return Action(str(members.get("action", CANCEL_RUNS)))
    except ValueError as exc:
        raise _NotRebuiltError("an action that this version does not know") from exc


def _change(recorded: Recorded, decision: Decision, names: frozenset[str]) -> Change | None:
    if not isinstance(decision, Permit):
        return Change.PERMIT_TO_DENY if recorded.permitted else None
    looked_up = decision.resolution is not None
    if not recorded.permitted:
        # The runs of that time are not on record: a rule that refused and still exists is taken to refuse them again.
        again = looked_up and recorded.rule in names
        return None if again else Change.DENY_TO_PERMIT
    if recorded.barred:
        # What policy made of it is not on record.
        return None
    if decision.effective.wire() != dict(recorded.effective):
        return Change.COUNT
    return Change.LOOK_UP if looked_up and not recorded.planned else None


def _example(recorded: Recorded, decision: Decision) -> Example:
    return Example(
        recorded.decision_id,
        recorded.asked,
        recorded.effective if recorded.permitted else None,
        decision.effective.wire() if isinstance(decision, Permit) else None,
        decision.reason if isinstance(decision, Denial) else None,
    )


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
    """The number of such requests, and the `ts` of the first and the last record."""

    times: int
    first: str
    last: str


@dataclass(slots=True)
class ShadowStats:
    """The callers that shadow rules would have treated otherwise, and the number and period of all decisions.

    `more` counts the requests of callers beyond the first `MAX_CALLERS`.
    """

    decisions: int = 0
    first: str | None = None
    last: str | None = None
    callers: dict[Caller, Seen] = field(default_factory=dict)
    more: int = 0

    def add(self, members: Members) -> None:
        """Count one record. Only intents and denials count."""
        if members.get("event") not in JUDGED_EVENTS:
            return
        ts = str(members["ts"])
        self.decisions += 1
        self.first = ts if self.first is None else min(self.first, ts)
        self.last = ts if self.last is None else max(self.last, ts)
        if isinstance(rule := members.get("shadow"), str):
            effect = shadow_effect(members.get("enforced"), members.get("decision"))
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


def shadow_effect(enforced: object, decided: object) -> str:
    """Return what a rule in shadow mode would have done to a decision: `refuse`, `admit`, `recount`, or `nothing`."""
    if enforced == decided:
        return "recount" if enforced == "permit" else "nothing"
    return "refuse" if decided == "deny" else "admit"


def lines(stats: ShadowStats) -> Iterator[str]:
    """Yield the statistics as lines for people, sorted by rule, effect and caller."""
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
