"""The judgement: policies, principal, request, time -> Decision. Pure, and independent of the order of files and rules.

    1. a matching `deny` refuses
    2. every `require` must hold; the smallest of their caps lowers `count`
    3. one `allow` must admit what is left: of several one that asks for approval before one that does not, then the one
       that leaves the largest `count`, then by file and id
    otherwise the request is denied

The request is read as forwarded. Under rules with `resolve: true` it is read as resolved (reading.py), and what only
the runs can show is judged on them (choose.py). If both readings admit it, the preference of step 3 decides.

A rule counts while its window is open and the team has no exception from it. Rules in shadow mode are judged as well,
but never enforced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Literal, NamedTuple

from gateway.core.plan import Decision, Denial, Narrowing, NotAdmitted, Permit
from gateway.core.request import Action, ActionRequest, ByIds, Everything, Principal, wire_of
from gateway.core.run import Resolution
from gateway.policy.model import Effect, Rule
from gateway.policy.nearest import MOST, admitted_near, in_words
from gateway.policy.reading import Reading, matches, unmet
from gateway.policy.rules import Policies, TeamRules
from gateway.policy.view import Admitted, Judged, Refused, View, capped
from gateway.policy.words.gaps import Gap, named_by_deny, never_sent
from gateway.policy.words.things import name_them, selected, would_do

SAID = 3
"""The most gaps between a rule and a request that a refusal mentions."""

_NO_RULE = "No rule of your team allows this request."


def decide(policies: Policies, principal: Principal, request: ActionRequest, now_ms: int) -> Decision:
    """Judge one request; `now_ms` is Unix milliseconds. Only `count` is ever changed, and only downwards."""
    rules = policies.for_team(principal.team, request.action)
    view = View(rules.enforced, request, now_ms)
    judged = view.judged(request.count)
    shadowed = View(rules, request, now_ms).judged(request.count) if rules.has_shadow else judged
    decided: Literal["permit", "deny"] = "permit" if isinstance(shadowed, Admitted) else "deny"
    shadow = None if shadowed is judged else _in_shadow(rules, judged, shadowed, now_ms)
    used = _exceptions(rules.enforced, request, now_ms)
    if isinstance(judged, Admitted):
        effective, allow = view.effective(judged), judged.rule
        return Permit(
            allow.name,
            decided,
            shadow,
            effective,
            used,
            narrowing=_narrowing(judged),
            owner_unchecked=allow.owner_unchecked,
            resolution=judged.resolution,
            budget=allow.budget,
            approval=allow.approval,
        )
    name = judged.rule.name if judged.rule is not None else None
    near = [*islice(view.rules.near(request.selection, now_ms), MOST)]
    nearest = _nearest(view, near)
    why = _why(judged, view, near)
    reason = _sentence(why, judged, request, nearest)
    refused, owner = why.not_admitted, why.rule.owner if why.rule is not None else None
    return Denial(name, decided, shadow, reason, nearest, used, owner, refused)


def refused_end(
    policies: Policies, principal: Principal, pause: ActionRequest, permit: Permit, now_ms: int
) -> Denial | None:
    """Return the refusal of a pause that ends by itself where policy does not permit the resume as well; None if not.

    `permit` is that of the pause.
    """
    if pause.lasts_ms is None:
        return None
    resume = replace(pause, action=Action.RESUME, overrides=(), reason=None)
    found = decide(policies, principal, resume, now_ms)
    if isinstance(found, Permit):
        return None
    sentence = (
        f"Rule {permit.rule} allows the pause, but no rule allows the resume that Gateway-Until asks for: "
        f"{found.reason} Nothing was sent."
    )
    return Denial(found.rule, "deny", None, sentence, None, owner=found.owner, not_admitted=found.not_admitted)


def _narrowing(judged: Admitted) -> Narrowing | None:
    """Return the rule that lowered the count, and the key with which it did; None if none did."""
    rule = judged.narrowed_by
    if rule is None:
        return None
    by_count = rule.count is not None and rule.count.cap == judged.left
    return Narrowing("count" if by_count else "runs", rule.name)


def _in_shadow(rules: TeamRules, judged: Judged, shadowed: Judged, now_ms: int) -> str | None:
    """Return the name of the rule in shadow mode that makes the difference, if one does.

    A rule makes a difference if it refuses, admits, lowers the count, or has the runs looked up.
    """
    was, would_be = _made(judged), _made(shadowed)
    if would_be == was:
        return None
    if shadowed.rule is not None and shadowed.rule.shadow:
        return shadowed.rule.name
    requires = [rule for rule in rules.requiring(now_ms) if rule.shadow]
    counts = [(rule.count, rule) for rule in requires]
    caps = [(count.cap, rule.name) for count, rule in counts if count is not None and count.cap is not None]
    if caps and would_be[:1] != was[:1]:
        return min(caps)[1]
    return next((rule.name for rule in requires if rule.resolution is not None), None)


def _made(judged: Judged) -> tuple[int | None, Resolution | None]:
    """Return the count that a judgement leaves and the bounds on its look-up; of a refusal neither."""
    return (judged.left, judged.resolution) if isinstance(judged, Admitted) else (None, None)


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


def _distance(near: _Near) -> tuple[bool, int, str, str]:
    """Return how far a rule is from the request, as a sort key; ties go by file and id."""
    by_kind = bool(near.gaps) and near.gaps[0].by_kind
    return by_kind, len(near.gaps) + near.closed, near.rule.policy, near.rule.id


def _why(refused: Refused, view: View, near: Sequence[Rule]) -> _Why:
    rule = refused.rule
    if rule is None:
        nearest = _nearest_rule(view, near)
        return _Why(f"{_NO_RULE} None allows your team anything now.") if nearest is None else _of_near(nearest)
    if refused.unmet is None:
        selection, action = view.request.selection, view.request.action
        about, such = named_by_deny(rule, selection, action), selected(selection, action).many
        said = f"Rule {rule.name} refuses every request that could select such {such}{within(rule)}: {about}."
        return _Why(said, rule)
    gap = refused.unmet()
    said = f"Rule {rule.name} requires {gap.wants}{within(rule)}; {gap.found}."
    return _Why(said, rule, NotAdmitted(rule.name, gap.field, gap.value))


def _nearest_rule(view: View, near: Sequence[Rule]) -> _Near | None:
    """Return the `allow` that comes nearest to admitting the request; None if nothing is allowed now.

    The candidates are the rules that the index names, whether their window is open (`near`) or closed; if it names
    none, all rules that apply now. Only the first few are tried.
    """
    rules, now_ms = view.rules, view.now_ms
    named = chain(near, rules.closed(view.request.selection, now_ms))
    tried = list(islice(named, MOST)) or islice(rules.allowed(now_ms), MOST)
    found = [_Near(rule, view.lacking(rule), rule.closed(now_ms)) for rule in tried]
    return min(found, key=_distance, default=None) if len(found) > 1 else found[0] if found else None


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


def _exceptions(rules: TeamRules, request: ActionRequest, now_ms: int) -> tuple[str, ...]:
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


def _counts(rule: Rule, request: ActionRequest, now_ms: int) -> bool:
    """Return whether a `deny` or `require` could refuse the request, lower its count or have its runs looked up."""
    if rule.effect is Effect.DENY:
        return matches(rule, request, now_ms, Reading.FORWARDED)
    refuses = unmet(rule, request, now_ms, Reading.FORWARDED) is not None
    return refuses or rule.resolution is not None or capped(request, (rule,)) < request.count


def _nearest(view: View, near: Sequence[Rule]) -> dict[str, object] | None:
    found = admitted_near(view, near)
    if found is None:
        return None
    selection, left = found
    wire = wire_of(selection, left)
    if isinstance(selection, ByIds):
        del wire["count"]  # a request with run IDs carries nothing else
    return wire


def _sentence(why: _Why, judged: Refused, request: ActionRequest, nearest: dict[str, object] | None) -> str:
    """Return the text that a person reads."""
    rule, parts = judged.rule, []
    if isinstance(request.selection, Everything):
        parts.append(would_do(request.action))
    if rule is not None and rule.message is not None:
        parts.append(rule.message)
    elif parts:
        parts.append(name_them(request.action))
    else:
        parts.append(why.said)
    here = never_sent(request.selection)
    if here is not None and (rule is None or judged.reading is Reading.FORWARDED):
        parts.append(f"{here}.")
    if nearest is not None:
        parts.append(f"The nearest that would be allowed: {in_words(nearest)}.")
    if why.rule is not None and why.rule.owner is not None:
        parts.append(why.rule.owner.words())
    return " ".join(parts)
