"""The judgement: policies, principal, request, time -> Decision. Pure, and independent of the order of files and rules.

    1. a matching `deny` refuses
    2. every `require` must hold; the smallest of their caps lowers `count`
    3. one `allow` must admit what is left: of several the one that leaves the largest `count`, then by file and id
    otherwise the request is denied

The request is read as forwarded. Under rules with `resolve: true` it is read as resolved (reading.py), and what only
the runs can show is judged on them (choose.py). If both readings admit it, the preference of step 3 decides.

A rule counts while its window is open and the team has no exception from it. Rules in shadow mode are judged as well,
but never enforced.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Literal, NamedTuple

from gateway.core.plan import Decision, Denial, NotAdmitted, Permit
from gateway.core.request import ByRunIds, CancelRequest, EveryRun, Principal
from gateway.core.run import Resolution
from gateway.policy.model import Effect, Rule
from gateway.policy.nearest import MOST, candidates_near, in_words
from gateway.policy.reading import Gap, Reading, Shortfall, admits, lacking, matches, named_by_deny, unmet
from gateway.policy.rules import Policies, TeamRules


class _Admitted(NamedTuple):
    rule: Rule
    effective: CancelRequest
    resolution: Resolution | None
    reading: Reading
    narrowed_by: str | None


class _Refused(NamedTuple):
    """A refusal by a `deny`, by a `require` (`unmet` says why), or because no `allow` admits (`rule` is None)."""

    rule: Rule | None
    reading: Reading
    unmet: Shortfall | None = None


_Judged = _Admitted | _Refused

SAID = 3
"""The most gaps between a rule and a request that a refusal mentions."""

_NO_RULE = "No rule of your team allows this request."


def decide(policies: Policies, principal: Principal, request: CancelRequest, now_ms: int) -> Decision:
    """Judge one request; `now_ms` is Unix milliseconds. Only `count` is ever changed, and only downwards."""
    rules = policies.for_team(principal.team)
    judged = _judge(rules.enforced, request, now_ms)
    shadowed = _judge(rules, request, now_ms) if rules.has_shadow else judged
    decided: Literal["permit", "deny"] = "permit" if isinstance(shadowed, _Admitted) else "deny"
    shadow = None if shadowed is judged else _in_shadow(rules, judged, shadowed, now_ms)
    used = _exceptions(rules.enforced, request, now_ms)
    if isinstance(judged, _Admitted):
        return Permit(
            judged.rule.name,
            decided,
            shadow,
            judged.effective,
            exceptions=used,
            narrowed_by=judged.narrowed_by,
            owner_unchecked=judged.rule.owner_unchecked,
            resolution=judged.resolution,
        )
    name = judged.rule.name if judged.rule is not None else None
    near = [*islice(rules.enforced.near(request.selection, now_ms), MOST)]
    nearest = _nearest(rules.enforced, request, now_ms, near)
    why = _why(judged, rules.enforced, request, now_ms, near)
    reason = _sentence(why, judged.rule, request, nearest)
    refused, owner = why.not_admitted, why.rule.owner if why.rule is not None else None
    return Denial(name, decided, shadow, reason, nearest, exceptions=used, owner=owner, not_admitted=refused)


def _in_shadow(rules: TeamRules, judged: _Judged, shadowed: _Judged, now_ms: int) -> str | None:
    """Return the name of the rule in shadow mode that makes the difference, if one does.

    A rule makes a difference if it refuses, admits, lowers the count, or has the runs looked up.
    """
    if _made(shadowed) == _made(judged):
        return None
    if shadowed.rule is not None and shadowed.rule.shadow:
        return shadowed.rule.name
    requires = [rule for rule in rules.requiring(now_ms) if rule.shadow]
    counts = [(rule.count, rule) for rule in requires]
    caps = [(count.cap, rule.name) for count, rule in counts if count is not None and count.cap is not None]
    if caps and _result(shadowed) != _result(judged):
        return min(caps)[1]
    return next((rule.name for rule in requires if rule.resolution is not None), None)


def _made(judged: _Judged) -> tuple[CancelRequest, Resolution | None] | None:
    return (judged.effective, judged.resolution) if isinstance(judged, _Admitted) else None


def permitted(rules: TeamRules, request: CancelRequest, now_ms: int) -> CancelRequest | None:
    """Return the request that these rules would send; None if they refuse it."""
    return _result(_judge(rules, request, now_ms))


def reading_of(rules: TeamRules, request: CancelRequest, now_ms: int) -> Reading:
    """Return the reading in which these rules decided on a request."""
    return _judge(rules, request, now_ms).reading


def _result(judged: _Judged) -> CancelRequest | None:
    """Return the request that would be sent, if any."""
    return judged.effective if isinstance(judged, _Admitted) else None


def _judge(rules: TeamRules, request: CancelRequest, now_ms: int) -> _Judged:
    if not rules.resolves:
        return _read_as(Reading.FORWARDED, rules, request, now_ms)
    resolved = _read_as(Reading.RESOLVED, rules, request, now_ms)
    if any(rule.resolution is not None for rule in rules.requiring(now_ms)):
        return resolved
    forwarded = _read_as(Reading.FORWARDED, rules, request, now_ms)
    admitted = [judged for judged in (forwarded, resolved) if isinstance(judged, _Admitted)]
    if admitted:
        return min(admitted, key=lambda judged: _preference(judged.rule, judged.effective.count))
    looks_up = any(rule.resolution is not None for rule in rules.near(request.selection, now_ms))
    return resolved if looks_up else forwarded


def _read_as(reading: Reading, rules: TeamRules, request: CancelRequest, now_ms: int) -> _Judged:
    # In the resolved reading a `deny` on what the request does not say is judged on the runs found.
    for rule in rules.denying(request.selection, now_ms, wholly=reading is Reading.RESOLVED):
        if matches(rule, request, now_ms, reading):
            return _Refused(rule, reading)
    requires = [*rules.requiring(now_ms)]
    for rule in requires:
        if missing := unmet(rule, request, now_ms, reading):
            return _Refused(rule, reading, missing)
    left = capped(request, requires)
    allowed = rules.allowing(request.selection, now_ms)
    allowing = [*_that_read(reading, allowed, requires)] if rules.resolves else [*allowed]
    if len(allowing) > 1:
        # Try the best first: the first one that admits is the one to use.
        allowing.sort(key=lambda rule: _preference(rule, min(left, capped(request, (rule,)))))
    admitting = next((rule for rule in allowing if admits(rule, request, now_ms, reading)), None)
    if admitting is None:
        return _Refused(None, reading)
    counted, count = (admitting, *requires), min(left, capped(request, (admitting,)))
    resolution = _joined(counted) if rules.resolves else None
    if count == request.count:
        return _Admitted(admitting, request, resolution, reading, None)
    return _Admitted(admitting, replace(request, count=count), resolution, reading, _lowering(count, counted))


def _that_read(reading: Reading, allows: Iterable[Rule], requires: Iterable[Rule]) -> Iterator[Rule]:
    """Return the `allow` rules that count in this reading.

    A rule without a look-up counts as resolved if a `require` has the runs looked up.
    """
    forced = any(rule.resolution is not None for rule in requires)
    return (rule for rule in allows if forced or (rule.resolution is not None) is (reading is Reading.RESOLVED))


def _preference(rule: Rule, count: int) -> tuple[int, str, str]:
    return -count, rule.policy, rule.id


def _joined(rules: Iterable[Rule]) -> Resolution | None:
    """Return the combined bounds of all rules that have the runs looked up; None if no rule has."""
    found = [rule.resolution for rule in rules if rule.resolution is not None]
    if not found:
        return None
    bounds = [one.max_runs for one in found if one.max_runs is not None]
    return Resolution(min(bounds, default=None), max(one.older_than_ms for one in found))


def within(rule: Rule) -> str:
    """Return the rule's window in brackets, to follow what the rule says; empty if it has none."""
    return f" (during {rule.during.words()})" if rule.during is not None else ""


class _Why(NamedTuple):
    """The reason for a refusal as a sentence, the rule that refused or came nearest, and what it did not admit."""

    said: str
    rule: Rule | None = None
    not_admitted: NotAdmitted | None = None


class _Near(NamedTuple):
    """An `allow` that came near, and the gaps that keep it from admitting; `closed` is whether its window is closed."""

    rule: Rule
    gaps: Sequence[Gap]
    closed: bool

    @property
    def rank(self) -> tuple[bool, int, str, str]:
        """The distance from the request as a sort key; ties go by file and id."""
        by_kind = any(gap.by_kind for gap in self.gaps)
        return by_kind, len(self.gaps) + self.closed, self.rule.policy, self.rule.id


def _why(refused: _Refused, rules: TeamRules, request: CancelRequest, now_ms: int, near: Sequence[Rule]) -> _Why:
    rule = refused.rule
    if rule is None:
        nearest = _nearest_rule(rules, request, now_ms, near)
        return _Why(f"{_NO_RULE} None allows your team anything now.") if nearest is None else _of_near(nearest)
    if refused.unmet is None:
        about = named_by_deny(rule, request.selection)
        said = f"Rule {rule.name} refuses every request that could select such runs{within(rule)}: {about}."
        return _Why(said, rule)
    gap = refused.unmet()
    said = f"Rule {rule.name} requires {gap.wants}{within(rule)}; {gap.found}."
    return _Why(said, rule, NotAdmitted(rule.name, gap.field, gap.value))


def _nearest_rule(rules: TeamRules, request: CancelRequest, now_ms: int, near: Sequence[Rule]) -> _Near | None:
    """Return the `allow` that comes nearest to admitting the request; None if nothing is allowed now.

    The candidates are the rules that the index names, whether their window is open (`near`) or closed; if it names
    none, all rules that apply now. Only the first few are tried.
    """
    forced = rules.resolves and any(rule.resolution is not None for rule in rules.requiring(now_ms))
    named = chain(near, rules.closed(request.selection, now_ms))
    tried = list(islice(named, MOST)) or islice(rules.allowed(now_ms), MOST)
    found = (_near(rule, request, now_ms, forced=forced) for rule in tried)
    return min(found, key=lambda near: near.rank, default=None)


def _near(rule: Rule, request: CancelRequest, now_ms: int, *, forced: bool) -> _Near:
    reading = Reading.RESOLVED if forced or rule.resolution is not None else Reading.FORWARDED
    return _Near(rule, lacking(rule, request, now_ms, reading), rule.closed(now_ms))


def _of_near(near: _Near) -> _Why:
    rule, gaps = near.rule, near.gaps
    window = rule.during.words() if near.closed and rule.during is not None else None
    if gaps:
        bounds = [gap.words() for gap in gaps[:SAID]]
        bounds += [f"it holds only during {window}"] if window is not None else []
        said = f"{_NO_RULE} Rule {rule.name} comes nearest: {'; '.join(bounds)}."
        return _Why(said, rule, NotAdmitted(rule.name, gaps[0].field, gaps[0].value))
    if window is not None:
        return _Why(f"Rule {rule.name} allows this only during {window}.", rule, NotAdmitted(rule.name, "during", None))
    return _Why(f"Rule {rule.name} would allow this, but as it would be sent another rule refuses it.", rule)


def _exceptions(rules: TeamRules, request: CancelRequest, now_ms: int) -> tuple[str, ...]:
    """Return the exceptions that were used.

    An exception is used if its rule could otherwise have refused the request, lowered its count, or had its runs looked
    up.
    """
    if not rules.excepting:
        return ()
    return tuple(
        f"{rule.name}: {exception}"
        for rule, exception in rules.excused(request.selection, now_ms)
        if _counts(rule, request, now_ms)
    )


def _counts(rule: Rule, request: CancelRequest, now_ms: int) -> bool:
    """Return whether a `deny` or `require` could refuse the request, lower its count or have its runs looked up."""
    if rule.effect is Effect.DENY:
        return matches(rule, request, now_ms, Reading.FORWARDED)
    refuses = unmet(rule, request, now_ms, Reading.FORWARDED) is not None
    return refuses or rule.resolution is not None or capped(request, (rule,)) < request.count


def _lowering(count: int, rules: Iterable[Rule]) -> str:
    """Return the rule whose cap lowers to this count; if several do, the first by name."""
    return min(rule.name for rule in rules if rule.count is not None and rule.count.cap == count)


def capped(request: CancelRequest, rules: Iterable[Rule]) -> int:
    """Return `count` lowered to the smallest cap; a list of IDs is never cut."""
    if isinstance(request.selection, ByRunIds):
        return request.count
    caps = [rule.count.cap for rule in rules if rule.count is not None and rule.count.cap is not None]
    return min(request.count, *caps) if caps else request.count


def _nearest(rules: TeamRules, request: CancelRequest, now_ms: int, near: Sequence[Rule]) -> dict[str, object] | None:
    for candidate in candidates_near(rules, request, now_ms, near):
        asked = candidate if request.reason is None else replace(candidate, reason=request.reason)
        effective = permitted(rules, asked, now_ms)
        if effective is not None:
            wire = effective.wire()
            if isinstance(effective.selection, ByRunIds):
                del wire["count"]  # a request with run IDs carries nothing else
            return wire
    return None


def _sentence(why: _Why, rule: Rule | None, request: CancelRequest, nearest: dict[str, object] | None) -> str:
    """Return the text that a person reads; `rule` is the one that refused."""
    parts = []
    if isinstance(request.selection, EveryRun):
        parts.append("This request names no runs and no filter, so it would cancel every run of the account.")
    if rule is not None and rule.message is not None:
        parts.append(rule.message)
    elif parts:
        parts.append("Name the runs (workflowRunIds), or the workflow (workflowUrl, exactly).")
    else:
        parts.append(why.said)
    if nearest is not None:
        parts.append(f"The nearest that would be allowed: {in_words(nearest)}.")
    if why.rule is not None and why.rule.owner is not None:
        parts.append(why.rule.owner.words())
    return " ".join(parts)
