"""The judgement of runs: which of those found a permitted request cancels, and which a team's rules cover; pure.

    1. runs are matched as the request says: OR within a field, AND across fields, a prefix as a page and all below it
    2. runs younger than `older_than` are left out
    3. a `deny` that is about one of the remaining runs refuses the whole request
    4. each run must lie inside the `allow` that admitted the request and inside every `require`
    5. more than `max_runs` runs refuse the request, whatever its count
    6. the oldest `count` of them are chosen

If the request names runs by ID, steps 4 and 3 come first, whatever the state and age of the runs: an ID that does not
exist and one outside the `allow` are refused in the same words, so that nobody can find out which IDs others have.

Nothing is ever added to what the request means. If a rule is crossed, the request is refused, not cut.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.core.grammar import in_subtree, lies_under
from gateway.core.plan import Denial, Permit
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Filter, Principal, Selection
from gateway.core.run import HANDLED, ORDERED, Listing, Resolution, Resolved, Run, Skip
from gateway.policy.conditions import FAILED, ID_LISTS, MEMBERS, Condition, UrlCondition, asked_values, values
from gateway.policy.model import Rule
from gateway.policy.reading import bounds_runs, is_denied, lies_inside, touches, url_inside
from gateway.policy.rules import Policies, TeamRules
from gateway.policy.words.things import Thing, named_by, selected

OURS = (HANDLED, ORDERED)
"""The states of runs that an order of ours has cancelled, or may have."""

SAMPLE = 3
"""The most run IDs that a refusal names."""

_KINDS = frozenset((ByIds.kind, ByFilter.kind, Everything.kind))
_NOTHING = "Nothing was sent."
_GONE = f"The rule that allowed this request does not hold any more. {_NOTHING} Ask again to read what does."


@dataclass(frozen=True, slots=True)
class _Refused:
    rule: Rule | None
    reason: str


Skipping = dict[Skip, list[str]]


def choose(
    policies: Policies, principal: Principal, request: ActionRequest, permit: Permit, listing: Listing, now_ms: int
) -> Denial | Resolved:
    """Judge the runs that were looked up for a permitted request; `permit` is the decision of these policies.

    The chosen runs are in order, oldest first. If the permit has no `resolution`, the runs are judged without its
    bounds.
    """
    rules = policies.for_team(principal.team, request.action).enforced
    bounds, thing = permit.resolution or Resolution(), selected(request.selection, request.action)
    skipped: Skipping = {}
    left = _meant(rules, request, permit, listing, now_ms, skipped=skipped)
    if isinstance(left, _Refused):
        return _denial(left, permit)
    left = _old_enough(left, bounds, now_ms, skipped)
    refused = (
        _by_denies(rules, request.selection, left, now_ms, thing)
        or _by_containment(rules, request.selection, permit, left, now_ms, thing)
        or _by_number(rules, permit, left, now_ms, thing)
    )
    if refused is not None:
        return _denial(refused, permit)
    chosen, beyond = left[: permit.effective.count], left[permit.effective.count :]
    _skip(skipped, Skip.BEYOND_COUNT, (run.run_id for run in beyond))
    more = bool(beyond) or listing.ended_early or _is_doubtful(listing, skipped)
    return Resolved(tuple(chosen), {reason: tuple(ids) for reason, ids in skipped.items()}, more)


def covers_failed(policies: Policies, team: str, entry: Run, now_ms: int) -> Rule | None:
    """Return a rule that looks entries up, by which the team could act on this one now; None if no rule covers it.

    A team is shown only such entries: a rule that takes IDs on trust shows nobody which there are.
    """
    found = (covers(policies.for_team(team, action), entry, now_ms, resolving=True) for action in sorted(FAILED))
    return next((rule for rule in found if rule is not None), None)


def showing_failed(policies: Policies, team: str, now_ms: int) -> list[Rule]:
    """Return the rules that apply to the team now, look entries up, and can cover any; each once, by name."""
    rules = [rule for action in FAILED for rule in showing(policies.for_team(team, action), now_ms)]
    named = {rule.name: rule for rule in rules if rule.resolution is not None}
    return [named[name] for name in sorted(named)]


def covers(rules: TeamRules, run: Run, now_ms: int, *, resolving: bool = False) -> Rule | None:
    """Return the `allow` by which the team could have the run cancelled now: one with `logs: full` first, then by name.

    With `resolving` only rules count that have runs looked up. None means that no rule covers the run. A rule on run
    IDs covers a run only by its bounds on the run: a team that may name any ID is not shown which IDs exist. A rule
    does not cover a run if a `deny` in force is about that run and about the rule's kind of request.
    """
    enforced, silenced = rules.enforced, None
    for rule in sorted(enforced.covering(run, now_ms), key=lambda rule: not rule.logs_full):
        if (resolving and rule.resolution is None) or not _covers(rule, run, now_ms):
            continue
        if silenced is None:
            silenced = _silenced(deny for deny in enforced.denying_run(run, now_ms) if touches(deny, run, now_ms))
        if _kind(rule) not in silenced:
            return rule
    return None


def showing(rules: TeamRules, now_ms: int) -> list[Rule]:
    """Return the `allow` rules that apply now and can cover any run."""
    return [rule for rule in rules.enforced.allowed(now_ms) if _shows(rule)]


def may_show(rules: TeamRules, url: str, now_ms: int) -> bool:
    """Return whether one of `showing` may cover a run with this URL."""
    return any(_shows(rule) and _may_cover(rule, url) for rule in rules.enforced.covering_url(url, now_ms))


def _may_cover(rule: Rule, url: str) -> bool:
    condition = rule.conditions.get("workflowUrl")
    return not isinstance(condition, UrlCondition) or condition.optional or url_inside(condition, url)


def _shows(rule: Rule) -> bool:
    """Return whether the rule bounds its runs by more than their IDs, which anybody may know."""
    return rule.id_list is None or any(bounds_runs(condition) for condition in _needed(rule))


def _needed(rule: Rule) -> list[Condition]:
    """Return the conditions that every run must meet; one on IDs counts, as every such request carries them."""
    return [bound for field, bound in rule.conditions.items() if field in ID_LISTS or not bound.optional]


def _covers(rule: Rule, run: Run, now_ms: int) -> bool:
    if rule.admits_everything:
        return True
    if not _shows(rule):
        return False
    if needed := _needed(rule):
        return all(lies_inside(condition, run, now_ms) for condition in needed)
    # Every field may be left out, but a request has to carry one of them.
    return any(lies_inside(condition, run, now_ms) for condition in rule.conditions.values())


def _kind(allow: Rule) -> str:
    """Return the kind of request that the `allow` admits: by run IDs, by a filter or for everything."""
    return "run_ids" if allow.id_list is not None else "everything" if allow.admits_everything else "filter"


def _silenced(denies: Iterable[Rule]) -> frozenset[str]:
    """Return the kinds of request (run IDs, filter, everything) that at least one of the `deny` rules is about."""
    found: frozenset[str] = frozenset()
    for deny in denies:
        found |= _KINDS if deny.selects is None else deny.selects
        if found >= _KINDS:
            break
    return found


def _meant(
    rules: TeamRules, request: ActionRequest, permit: Permit, listing: Listing, now_ms: int, *, skipped: Skipping
) -> list[Run] | _Refused:
    """Return the running runs that the selection names, oldest first, or why it is refused."""
    selection = request.selection
    if isinstance(selection, ByIds):
        refused = _by_names(rules, selection, permit, listing, now_ms)
        return refused or _named(selection, listing, skipped)
    # Runs that cannot be read may be anybody's: a caller who asked by a filter learns how many, and not their IDs.
    meant = [run for run in listing.runs if selects(selection, run)]
    _skip(skipped, Skip.DONE, (run.run_id for run in meant if run.state in OURS))
    _skip(skipped, Skip.UNREADABLE, ("?" for _ in listing.unreadable))
    return _oldest_first(run for run in meant if run.running)


def _by_names(rules: TeamRules, selection: ByIds, permit: Permit, listing: Listing, now_ms: int) -> _Refused | None:
    """Refuse IDs without a run that the `allow` covers; then refuse if a `deny` is about one of the runs."""
    allow = _admitting(rules, permit, now_ms)
    if allow is None:
        return _Refused(None, _GONE)
    found, thing = {run.run_id: run for run in listing.runs}, named_by(selection.name)
    bounds = [condition for _, condition in _bounds(allow, selection)]
    covered = {run_id for run_id, run in found.items() if all(lies_inside(bound, run, now_ms) for bound in bounds)}
    known = covered.union(listing.unreadable)
    strange = [run_id for run_id in selection.ids if run_id not in known]
    if strange:
        said = f"{_sample(strange)}: there is no such {thing.one} that rule {allow.name} covers. {_NOTHING}"
        return _Refused(allow, said)
    named = [found[run_id] for run_id in selection.ids if run_id in found]
    return _by_denies(rules, selection, named, now_ms, thing)


def _is_doubtful(listing: Listing, skipped: Skipping) -> bool:
    """Return whether a run was left out although nobody knows whether it was cancelled: more may match."""
    done = frozenset(skipped.get(Skip.DONE, ()))
    return any(run.state == ORDERED and run.run_id in done for run in listing.runs)


def _named(selection: ByIds, listing: Listing, skipped: Skipping) -> list[Run]:
    found = {run.run_id: run for run in listing.runs}
    runs = [found[run_id] for run_id in selection.ids if run_id in found]
    _skip(skipped, Skip.UNREADABLE, (run_id for run_id in selection.ids if run_id not in found))
    _skip(skipped, Skip.DONE, (run.run_id for run in runs if run.state in OURS))
    _skip(skipped, Skip.FINISHED, (run.run_id for run in runs if not run.running and run.state not in OURS))
    return _oldest_first(run for run in runs if run.running)


def selects(selection: Filter | Everything, run: Run) -> bool:
    """Return whether the selection names the run, as the gateway matches: a prefix is a page and all below it."""
    if isinstance(selection, Everything):
        return True
    return (
        names_url(selection, run.workflow_url)
        and all(_has_one(asked_values(selection, field), run, field) for field in selection.carried & MEMBERS.keys())
        and (selection.from_date is None or selection.from_date <= run.created_ms)
        and (selection.to_date is None or run.created_ms <= selection.to_date)
    )


def _has_one(asked: tuple[str, ...], run: Run, field: str) -> bool:
    return not set(asked).isdisjoint(values(run, field))


def names_url(selection: Filter, url: str) -> bool:
    """Return whether the selection names runs of this workflow URL, its other fields aside."""
    urls = selection.workflow_urls
    if not urls or selection.exact:
        return not urls or url in urls
    return lies_under(url, urls, in_subtree)


def _old_enough(runs: Sequence[Run], bounds: Resolution, now_ms: int, skipped: Skipping) -> list[Run]:
    if not bounds.older_than_ms:
        return list(runs)
    latest_ms = now_ms - bounds.older_than_ms
    _skip(skipped, Skip.YOUNG, (run.run_id for run in runs if run.created_ms > latest_ms))
    return [run for run in runs if run.created_ms <= latest_ms]


def _by_denies(
    rules: TeamRules, selection: Selection, runs: Sequence[Run], now_ms: int, thing: Thing
) -> _Refused | None:
    """Refuse by the first `deny`, in order of name, that is about one of the runs, judged by the runs' own fields."""
    hit: dict[str, tuple[Rule, list[str]]] = {}
    for run in runs:
        for rule in rules.denying_run(run, now_ms):
            if is_denied(rule, run, selection, now_ms):
                hit.setdefault(rule.name, (rule, []))[1].append(run.run_id)
    if not hit:
        return None
    rule, found = min(hit.values(), key=lambda pair: (pair[0].policy, pair[0].id))
    said = rule.message or f"Rule {rule.name} refuses such {thing.many}."
    that_is = f"Of those found that is {_counted(found, thing)}."
    return _Refused(rule, f"{said} {that_is} Nothing was sent: narrow the request.")


def _by_containment(
    rules: TeamRules, selection: Selection, permit: Permit, runs: Sequence[Run], now_ms: int, thing: Thing
) -> _Refused | None:
    """Refuse if one of the runs lies outside the `allow` that admitted the request, or outside a `require`."""
    allow = _admitting(rules, permit, now_ms)
    if allow is None:
        return _Refused(None, _GONE)
    alike = _Alike(runs)
    for rule in (allow, *rules.requiring(now_ms)):
        for field, condition in _bounds(rule, selection):
            outside = alike.outside(field, condition, now_ms)
            if outside:
                said = f"Outside rule {rule.name} ({field}: {condition.words()}): {_counted(outside, thing)}."
                return _Refused(rule, f"{said} Nothing was sent: narrow the request.")
    return None


class _Alike:
    """Runs grouped by their value of a field: of thousands with one URL, a bound is checked against one."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._by_field: dict[str, dict[Hashable, Run]] = {}

    def outside(self, field: str, condition: Condition, now_ms: int) -> list[str]:
        """Return the IDs of the runs that lie outside a rule's condition on a field."""
        first = self._by_field.get(field)
        if first is None:
            first = self._by_field[field] = {_of(run, field): run for run in self._runs}
        lying = {of for of, run in first.items() if not lies_inside(condition, run, now_ms)}
        return [run.run_id for run in self._runs if _of(run, field) in lying] if lying else []


def _of(run: Run, field: str) -> Hashable:
    """Return the part of a run that a condition on the field looks at."""
    match field:
        case "workflowUrl":
            return run.workflow_url
        case "created":
            return run.created_ms
    return run.run_id if field in ID_LISTS else values(run, field)


def _admitting(rules: TeamRules, permit: Permit, now_ms: int) -> Rule | None:
    """Return the `allow` of the permit, if it still holds."""
    return next((rule for rule in rules.allowed(now_ms) if rule.name == permit.rule), None)


def _bounds(rule: Rule, selection: Selection) -> Iterator[tuple[str, Condition]]:
    """Yield the conditions of an `allow` or `require` on the runs, except optional ones that the request leaves out."""
    for field, condition in rule.conditions.items():
        if field in selection.carried or not condition.optional:
            yield field, condition


def _by_number(rules: TeamRules, permit: Permit, runs: Sequence[Run], now_ms: int, thing: Thing) -> _Refused | None:
    most = permit.resolution.max_runs if permit.resolution is not None else None
    if most is None or len(runs) <= most:
        return None
    named = [rule for rule in rules.allowed(now_ms) if rule.name == permit.rule]
    bounding = (*named, *rules.requiring(now_ms))
    rule = next((one for one in bounding if one.resolution is not None and one.resolution.max_runs == most), None)
    meant = _counted([run.run_id for run in runs], thing)
    said = f"The request means {meant}, and at most {most} may be left (runs.max)."
    return _Refused(rule, f"{said} Nothing was sent: narrow the request.")


def _denial(refused: _Refused, permit: Permit) -> Denial:
    # If no rule is named, the allow refuses: it admits only runs that can be found.
    name = refused.rule.name if refused.rule is not None else permit.rule
    owner = refused.rule.owner if refused.rule is not None else None
    reason = refused.reason if owner is None else f"{refused.reason} {owner.words()}"
    return Denial(name, "deny", None, reason, None, exceptions=permit.exceptions, owner=owner)


def _oldest_first(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.created_ms, run.run_id))


def _skip(skipped: Skipping, reason: Skip, run_ids: Iterable[str]) -> None:
    if named := list(run_ids):
        skipped[reason] = named


def _counted(ids: Sequence[str], thing: Thing) -> str:
    return f"{thing.counted(len(ids))} ({_sample(ids)})"


def _sample(run_ids: Sequence[str]) -> str:
    return ", ".join(run_ids[:SAMPLE]) + (", …" if len(run_ids) > SAMPLE else "")
