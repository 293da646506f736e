"""A request as the rules of one team see it at one moment; pure.

Most of a judgement depends on what a request selects, and only the last step on its `count`. A view holds the first
part, so that a request and the proposals that differ from it only in their count are judged by one look at the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from gateway.core.request import MAX_COUNT, ActionRequest, ByFilter, ByIds, Selection
from gateway.core.run import Resolution
from gateway.policy.model import Rule
from gateway.policy.reading import Reading, exceeded, fits, lacking, matches, unfit
from gateway.policy.rules import TeamRules
from gateway.policy.words.gaps import Gap, Shortfall, too_many


class Admitted(NamedTuple):
    """A judgement that admits a request with the count that is `left`; `narrowed_by` is the rule that lowered it."""

    rule: Rule
    left: int
    resolution: Resolution | None
    reading: Reading
    narrowed_by: Rule | None


class Refused(NamedTuple):
    """A refusal by a `deny`, by a `require` (`unmet` says why), or because no `allow` admits (`rule` is None)."""

    rule: Rule | None
    reading: Reading
    unmet: Shortfall | None = None


Judged = Admitted | Refused


class View:
    """A request as the rules of one team see it at one moment; `requires` are those that apply.

    `forced` says that one of them has the runs of every request looked up, `by_ids` that the request names its runs.
    """

    __slots__ = ("_forwarded", "_resolved", "by_ids", "forced", "now_ms", "request", "requires", "rules")

    def __init__(self, rules: TeamRules, request: ActionRequest, now_ms: int) -> None:
        self.rules, self.request, self.now_ms = rules, request, now_ms
        self.by_ids = isinstance(request.selection, ByIds)
        self.requires = requires = rules.requiring(now_ms)
        self.forced = rules.resolves and any(rule.resolution is not None for rule in requires)
        self._forwarded: _Read | None = None
        self._resolved: _Read | None = None

    def of(self, selection: Selection, count: int) -> View:
        """Return the view of another request of the same caller; for the same selection it is this one."""
        if selection is self.request.selection:
            return self
        return View(self.rules, replace(self.request, selection=selection, count=count), self.now_ms)

    def judged(self, count: int) -> Judged:
        """Judge the request as if it had asked for `count`; for run IDs that is their number."""
        if not self.rules.resolves:
            return self._as_forwarded(count)
        if self._resolved is None:
            self._resolved = _Read(self, Reading.RESOLVED)
        resolved = self._resolved.judged(count)
        if self.forced:
            return resolved
        forwarded = self._as_forwarded(count)
        admitted = [judged for judged in (forwarded, resolved) if isinstance(judged, Admitted)]
        if admitted:
            return min(admitted, key=_preference)
        near = self.rules.near(self.request.selection, self.now_ms)
        return resolved if any(rule.resolution is not None for rule in near) else forwarded

    def looks_up(self, allow: Rule) -> bool:
        """Return whether an `allow` is read as resolved: it has the runs looked up, or a `require` does."""
        return self.forced or allow.resolution is not None

    def kept_by(self, allow: Rule) -> bool:
        """Return whether it is known that the `allow` admits every bound of the request as it is, the count aside.

        Dates are never known: a proposal begins a little later than the rule requires.
        """
        asked = self.request.selection
        if not isinstance(asked, ByFilter) or not asked.exact or "created" in asked.carried:
            return False
        return self._forwarded is not None and self._forwarded.fitted(allow)

    def effective(self, judged: Admitted) -> ActionRequest:
        """Return the request that is sent for this judgement."""
        asked, count = self.request, judged.left
        return asked if count == asked.count else replace(asked, count=count)

    def lacking(self, allow: Rule) -> Sequence[Gap]:
        """Return everything that keeps an `allow` from admitting the request, in the rule's own reading."""
        resolved = self.looks_up(allow)
        read = self._resolved if resolved else self._forwarded
        if read is not None and read.fitted(allow):
            # Such a rule can only want a smaller count.
            selection, count = self.request.selection, self.request.count
            bound = exceeded(allow, selection, count)
            return [] if bound is None else [too_many(selection, count, bound)]
        reading = Reading.RESOLVED if resolved else Reading.FORWARDED
        return lacking(allow, self.request, self.now_ms, reading)

    def _as_forwarded(self, count: int) -> Judged:
        if self._forwarded is None:
            self._forwarded = _Read(self, Reading.FORWARDED)
        return self._forwarded.judged(count)


class _Read:
    """A view in one reading: what it holds is the same whatever the count."""

    __slots__ = ("_before", "_cap", "_fitting", "_reading", "_refusal", "_view")

    def __init__(self, view: View, reading: Reading) -> None:
        self._view, self._reading = view, reading
        self._refusal, self._before = self._guarded()
        self._cap = 0
        self._fitting: Sequence[Rule] | None = None

    def fitted(self, allow: Rule) -> bool:
        """Return whether a judgement has found that the `allow` admits the request, the count aside."""
        for rule in self._fitting or ():  # noqa: SIM110 - there are few, and `any` makes a generator
            if rule is allow:
                return True
        return False

    def judged(self, count: int) -> Judged:
        """Judge the request as if it had asked for `count`."""
        view, reading = self._view, self._reading
        selection, by_ids = view.request.selection, view.by_ids
        for rule in self._before:
            if count > (bound := rule.most_named if by_ids else rule.most_asked):
                return Refused(rule, reading, partial(too_many, selection, count, bound))
        if self._refusal is not None:
            return self._refusal
        if self._fitting is None:
            self._cap, self._fitting = lowest_cap(selection, view.requires), self._fit()
        admitting, left, asks = None, 0, False
        # The rules come by name: of several that leave as many, the first is the one to use.
        for rule in self._fitting:
            if count <= (rule.most_named if by_ids else rule.most_asked):
                leaves, approved = min(count, self._cap, MAX_COUNT if by_ids else rule.cap), rule.approval is not None
                if (approved, leaves) > (asks, left):
                    admitting, left, asks = rule, leaves, approved
        if admitting is None:
            return Refused(None, reading)
        counted = (admitting, *view.requires)
        resolution = _joined(counted) if view.rules.resolves else None
        return Admitted(admitting, left, resolution, reading, None if left == count else _lowering(left, counted))

    def _guarded(self) -> tuple[Refused | None, Sequence[Rule]]:
        """Return what refuses whatever the count, and the `require` rules whose bounds on the count come before it."""
        view, reading = self._view, self._reading
        rules, request, now_ms = view.rules, view.request, view.now_ms
        if rules.denies:
            # In the resolved reading a `deny` on what the request does not say is judged on the runs found.
            # One on what a header changes is not found by what the request selects.
            denying = rules.denying(request.selection, now_ms, wholly=reading is Reading.RESOLVED)
            for rule in rules.all_denying(now_ms) if request.overrides else denying:
                if matches(rule, request, now_ms, reading):
                    return Refused(rule, reading), ()
        for place, rule in enumerate(view.requires):
            if missing := next(unfit(rule, request, now_ms, reading), None):
                return Refused(rule, reading, missing), view.requires[:place]
        return None, view.requires

    def _fit(self) -> Sequence[Rule]:
        """Return the `allow` rules that admit the request in this reading, counts aside; by name.

        A rule without a look-up counts as resolved if a `require` has the runs looked up.
        """
        view, reading = self._view, self._reading
        request, now_ms, any_rule = view.request, view.now_ms, view.forced or not view.rules.resolves
        return [
            rule
            for rule in view.rules.allowing(request.selection, now_ms, resolved=reading is Reading.RESOLVED)
            if (any_rule or (rule.resolution is not None) is (reading is Reading.RESOLVED))
            and fits(rule, request, now_ms, reading)
        ]


def _preference(judged: Admitted) -> tuple[bool, int, str, str]:
    """Return the sort key by which one of several rules admits: those that ask for approval come first."""
    return judged.rule.approval is None, -judged.left, judged.rule.policy, judged.rule.id


def permitted(rules: TeamRules, request: ActionRequest, now_ms: int) -> ActionRequest | None:
    """Return the request that these rules would send; None if they refuse it."""
    view = View(rules, request, now_ms)
    judged = view.judged(request.count)
    return view.effective(judged) if isinstance(judged, Admitted) else None


def reading_of(rules: TeamRules, request: ActionRequest, now_ms: int) -> Reading:
    """Return the reading in which these rules decided on a request."""
    return View(rules, request, now_ms).judged(request.count).reading


def _joined(rules: Iterable[Rule]) -> Resolution | None:
    """Return the combined bounds of all rules that have the runs looked up; None if no rule has."""
    found = [rule.resolution for rule in rules if rule.resolution is not None]
    if not found:
        return None
    bounds = [one.max_runs for one in found if one.max_runs is not None]
    caps = [one.cap for one in found if one.cap is not None]
    return Resolution(
        max_runs=min(bounds, default=None),
        older_than_ms=max(one.older_than_ms for one in found),
        cap=min(caps, default=None),
    )


def _lowering(count: int, rules: Iterable[Rule]) -> Rule:
    """Return the rule whose cap lowers to this count; if several do, the first by name."""
    return min((rule for rule in rules if rule.cap == count), key=lambda rule: rule.name)


def lowest_cap(selection: Selection, rules: Iterable[Rule]) -> int:
    """Return the smallest cap of the rules, `MAX_COUNT` if none has one; a list of IDs is never cut."""
    return MAX_COUNT if isinstance(selection, ByIds) else min([rule.cap for rule in rules], default=MAX_COUNT)


def capped(request: ActionRequest, rules: Iterable[Rule]) -> int:
    """Return `count` lowered to the smallest cap; a list of IDs is never cut."""
    return min(request.count, lowest_cap(request.selection, rules))
