"""The offers to a team, in plain words: one for each `allow` rule, after every `require` and `deny`.

An offer's example is searched for among made-up requests. `policy.nearest` says why that is not the search for the part
of a refused request that would be allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from gateway.authoring.conflicts import PAUSES, kind_of
from gateway.authoring.explain import approval_in_words, budget_in_words, resolution_in_words
from gateway.authoring.question import line_of
from gateway.core.forms.times import DAY_MS
from gateway.core.plan import Budget, Owner
from gateway.core.request import CANCEL_RUNS, RUN_IDS, Action, ActionRequest, ByIds, Everything, Selection
from gateway.core.run import Resolution
from gateway.policy.conditions import (
    MEMBERS,
    PAUSED,
    Condition,
    CountCondition,
    CreatedCondition,
    PathCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.model import Rule
from gateway.policy.nearest import Members, filter_of
from gateway.policy.rules import Policies, TeamRules
from gateway.policy.view import permitted
from gateway.policy.words.things import Thing, kind_word, named_by, of_action

URL = "workflowUrl"
USUAL = 100
"""The count of an example that nothing bounds; the official clients send the same."""

MOST = 256
"""The most examples tried for one rule, because the page must stay cheap whatever the rules say."""

MOST_SAID = 20
"""The most `require` rules, and the most `deny` rules, in the words of one `allow`."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One `allow` rule: `at_most` runs (None: as many as asked), and a request that it allows, if there is one.

    `example` shows the request, and `line` is its request line. `owner` is the contact that the rule's file names for
    questions, `budget` what the rule may do within a while.
    """

    rule: str
    words: str
    at_most: int | None
    example: Mapping[str, object] | None
    owner: Owner | None = None
    budget: Budget | None = None
    line: str | None = None


def offers(policies: Policies, team: str, now_ms: int, action: Action = CANCEL_RUNS) -> Iterator[Offer]:
    """Yield an offer for each enforced `allow` rule of the team about the action, by name; `now_ms` is Unix ms."""
    rules = policies.for_team(team, action).enforced
    now = rules.at(now_ms)
    for rule in offered(policies, team, now_ms, action):
        if rule.applies_to(team, now_ms):
            yield _offer(rule, now, rules.only(rule), now_ms, action)
        elif rule.during is not None:
            yield Offer(rule.name, f"nothing now: only during {rule.during.words()}", None, None, rule.owner)


def offered(policies: Policies, team: str, now_ms: int, action: Action = CANCEL_RUNS) -> list[Rule]:
    """Return the rules that `offers` speaks of: those in force now, and those whose window opens again."""
    return [
        rule
        for rule in policies.for_team(team, action).enforced.allows
        if rule.exception(team, now_ms) is None and (rule.in_force(now_ms) or rule.closed(now_ms))
    ]


def _offer(rule: Rule, rules: TeamRules, alone: TeamRules, now_ms: int, action: Action) -> Offer:
    """Return the offer of a rule among the rules in force now. `alone` holds only this rule and its guards."""
    at_most = _at_most(rule, rules.requires)
    proposals = islice(examples(rule, rules, at_most or USUAL, now_ms, action), MOST)
    example = _example(proposals, alone, now_ms)
    words = _words(rule, rules, at_most, action)
    if example is None:
        words = f"nothing as things stand, another rule refuses it: {words}"
        return Offer(rule.name, words, at_most, None, rule.owner, rule.budget)
    return Offer(rule.name, words, at_most, example.wire(), rule.owner, rule.budget, line_of(example))


def _at_most(rule: Rule, requires: Iterable[Rule]) -> int | None:
    """Return the smallest bound of the rule and of every `require`; None if there is none."""
    bounds: list[int | None] = []
    for one in (rule, *requires):
        bounds += [one.resolution.max_runs, one.resolution.cap] if one.resolution is not None else []
        bounds.append(one.count.ceiling if one.count is not None else None)
        ids = one.conditions.get(rule.id_list) if rule.id_list is not None else None
        bounds.append(ids.max if isinstance(ids, RunIdCondition) else None)
    return min((bound for bound in bounds if bound is not None), default=None)


def _example(proposals: Iterable[ActionRequest], alone: TeamRules, now_ms: int) -> ActionRequest | None:
    """Return the first proposal that the rule alone permits and no guard refuses, as it would be sent."""
    for proposal in proposals:
        effective = permitted(alone, replace(proposal, reason="an example"), now_ms)
        if effective is not None:
            return effective
    return None


def _words(rule: Rule, rules: TeamRules, at_most: int | None, action: Action) -> str:
    thing, kind = of_action(action), kind_of(rule)
    parts = [_what(rule, thing, at_most)]
    if rule.id_list is not None:
        parts += [f"each {_one(thing)} of {url.words()}" for field, url in rule.conditions.items() if field == URL]
    parts += [
        _bound(field, condition)
        for field, condition in rule.conditions.items()
        if field not in (URL, rule.id_list) and (action not in PAUSES or field not in PAUSED)
    ]
    parts += _beside(rule, rules, thing)
    looked_up = [one.resolution for one in (rule, *rules.requires) if one.resolution is not None]
    parts += [_looked_up(one, thing) for one in looked_up[:MOST_SAID]]
    if looked_up and kind == "filter":
        parts.append("further filters may be named, they only narrow")
    always = [words for one in rules.requires[:MOST_SAID] for words in _always(one, action, by_ids=kind == "run_ids")]
    refusing = [one for one in rules.denies if one.selects is None or kind in one.selects]
    parts += [*always, *(_never(one, thing, resolved=bool(looked_up)) for one in refusing[:MOST_SAID])]
    left_out = max(0, len(refusing) - MOST_SAID) + max(0, len(rules.requires) - MOST_SAID)
    return "; ".join([*parts, f"and {left_out} more rules refuse"] if left_out else parts)


def _one(thing: Thing) -> str:
    return f"{'an' if thing.one[0] in 'aeiou' else 'a'} {thing.one}"


def _what(rule: Rule, thing: Thing, at_most: int | None) -> str:
    """Return what the rule allows to be named, and how many at once."""
    number = "any number" if at_most is None else f"at most {at_most}"
    if rule.admits_everything:
        return f"{number} of all {thing.many} of the account"
    if rule.id_list is not None:
        named = f"named by ID ({rule.conditions[rule.id_list].words()})"
        return f"{number} of the {thing.many} that are {named}"
    if rule.actions <= PAUSES:
        [field] = [field for field in rule.conditions if field in PAUSED]
        return f"one {named_by(field).one} at a time: {rule.conditions[field].words()}"
    return f"{number} of the {thing.many} of {_scope(rule)}"


def _beside(rule: Rule, rules: TeamRules, thing: Thing) -> Iterator[str]:
    """Yield what else the rule says of requests, in words."""
    if (said := _asked(rule, rules.requires)) is not None:
        yield said
    if rule.overrides:
        yield "with headers that change what is resumed or restarted"
    if rule.during is not None:
        yield f"only during {rule.during.words()}"
    if rule.budget is not None:
        yield budget_in_words(rule.budget, thing)
    if rule.approval is not None:
        yield approval_in_words(rule.approval, thing)


def _looked_up(resolution: Resolution, thing: Thing) -> str:
    return f"the {thing.many} are looked up first: {resolution_in_words(resolution)}"


def _scope(rule: Rule) -> str:
    url = rule.conditions.get(URL)
    if url is None:
        return "any workflow"
    return f"any workflow, or where a URL is named {url.words()}" if url.optional else url.words()


def _bound(field: str, condition: Condition) -> str:
    return f"{field}{' where it is given' if condition.optional else ''}: {condition.words()}"


def _asked(rule: Rule, requires: Iterable[Rule]) -> str | None:
    """Return how a larger count is treated by `max` and by `cap`, which the number alone does not show."""
    if kind_of(rule) == "run_ids":
        return None
    counts = [one.count for one in (rule, *requires) if one.count is not None]
    refused, lowered = _least(counts, "max"), _least(counts, "cap")
    said = [f"to ask for more than {refused} is refused"] if refused is not None else []
    # Without a count a request asks for 100.
    if lowered is not None and lowered < (refused or lowered + 1):
        said.append(f"count is lowered to {lowered}")
    return ", ".join(said) or None


def _least(counts: Iterable[CountCondition], bound: str) -> int | None:
    return min((value for count in counts if (value := getattr(count, bound)) is not None), default=None)


def _always(require: Rule, action: Action, *, by_ids: bool) -> Iterator[str]:
    if require.selects is not None:
        yield f"always by {' or '.join(sorted(kind_word(kind, action) for kind in require.selects))}"
    if require.exact_match and not by_ids:
        yield "always with workflowUrlExactMatch=true where a URL is named"
    if require.reason_required:
        yield "always with a reason in the header Gateway-Reason"
    for field, condition in require.conditions.items():
        yield f"always {_bound(field, condition)}"


def _never(deny: Rule, thing: Thing, *, resolved: bool) -> str:
    """Return a `deny` in words."""
    about = " and ".join(f"{field} {condition.words()}" for field, condition in deny.conditions.items())
    if resolved and about:
        return f"nothing where one of the {thing.many} is of {about}"
    return f"never what could touch {about}" if about else "never, whatever is asked"


MOST_VALUES = 12
"""The most values of one field that are combined with those of the other fields."""

MOST_TRIED = 1000
"""The most values of one field that are tried against every rule that bounds it."""

MADE_UP = {
    "label": "example",
    "flowControlKey": "example",
    "callerIp": "192.0.2.1",
    "host": "example.com",
    "path": "/example",
    "workflowRunId": "wfr_example",
}
"""A value for an example of each field of `MEMBERS`, for rules that admit any."""

_ENDINGS = ("example", "", "0", "Z")


def examples(
    rule: Rule, rules: TeamRules, count: int, now_ms: int, action: Action = CANCEL_RUNS
) -> Iterator[ActionRequest]:
    """Yield proposals for the rule and one of its actions, each for `count` runs or for one ID."""
    for selection in _selections(rule, rules, now_ms, action):
        yield ActionRequest(selection, 1 if isinstance(selection, ByIds) else count, action=action)


def _selections(rule: Rule, rules: TeamRules, now_ms: int, action: Action) -> Iterator[Selection]:
    if rule.admits_everything:
        yield Everything()
    elif rule.id_list is not None:
        yield from _ids(rule.id_list, rule, rules)
    elif action in PAUSES:
        yield from _names(rule)
    else:
        values = [_values(field, rule, rules, now_ms, action) for field in rule.conditions]
        for combined in product(*values):
            selection = filter_of({name: value for part in combined for name, value in part.items()}, action)
            if selection is not None:
                yield selection


def _names(rule: Rule) -> Iterator[ByIds]:
    """Yield each name that the rule lists, of what is paused or resumed, or a made-up one."""
    for field, bound in rule.conditions.items():
        listed = sorted(bound.any_of) if isinstance(bound, ValueCondition) else []
        for name in listed or ["example"]:
            if field in PAUSED and (selection := _named(name, field)) is not None:
                yield selection


_USUAL_PREFIX = {RUN_IDS: "wfr_", "messageIds": "msg_"}


def _ids(field: str, rule: Rule, rules: TeamRules) -> Iterator[ByIds]:
    prefixes = [
        prefix
        for one in (rule, *rules.requires)
        if isinstance(ids := one.conditions.get(field), RunIdCondition)
        for prefix in ids.prefix
    ]
    for prefix in (*prefixes[:MOST_TRIED], _USUAL_PREFIX.get(field, ""), ""):
        for ending in _ENDINGS:
            selection = _named(f"{prefix}{ending}"[:128], field)
            if selection is not None and _contained(field, selection, rule, rules, 0):
                yield selection


def _values(field: str, rule: Rule, rules: TeamRules, now_ms: int, action: Action) -> Sequence[Members]:
    """Return the members that a filter may have for one field, the plainest first.

    If the field may be left out, the first has no members.
    """
    bounds = [one.conditions[field] for one in (rule, *rules.requires) if field in one.conditions]
    denied = [one.conditions[field] for one in rules.denies if field in one.conditions]
    proposed = (
        members
        for members in islice(_proposed(field, bounds, denied, now_ms), MOST_TRIED)
        if (selection := filter_of(members, action)) is not None and _contained(field, selection, rule, rules, now_ms)
    )
    left_out: list[Members] = [{}] if all(bound.optional for bound in bounds) else []
    return [*left_out, *islice(proposed, MOST_VALUES)]


def _contained(field: str, selection: Selection, rule: Rule, rules: TeamRules, now_ms: int) -> bool:
    bounds = (one.conditions.get(field) for one in (rule, *rules.requires))
    return all(bound is None or bound.contains(selection, now_ms) for bound in bounds)


def _proposed(field: str, bounds: Sequence[Condition], denied: Sequence[Condition], now_ms: int) -> Iterator[Members]:
    if field == URL:
        return _urls([bound for bound in bounds if isinstance(bound, UrlCondition)])
    if field == "created":
        return _dates([bound for bound in (*bounds, *denied) if isinstance(bound, CreatedCondition)], now_ms)
    listed = {value for bound in bounds if isinstance(bound, ValueCondition) for value in bound.any_of}
    below = [prefix for bound in bounds if isinstance(bound, PathCondition) for prefix in bound.prefix]
    return ({MEMBERS[field]: (value,)} for value in (*sorted(listed), *below, MADE_UP[field]))


def _urls(bounds: Iterable[UrlCondition]) -> Iterator[Members]:
    bounds = list(bounds)
    for url in sorted({url for bound in bounds for url in bound.exact}):
        yield {"workflow_urls": (url,), "exact": True}
    below = [prefix.rstrip("/") for bound in bounds for prefix in bound.prefix]
    for prefix in (*below, "https://example.com"):
        for ending in ("/example", "/", ""):
            yield {"workflow_urls": (prefix + ending,), "exact": True}
        yield {"workflow_urls": (f"{prefix}/",), "exact": False}


def _dates(bounds: Iterable[CreatedCondition], now_ms: int) -> Iterator[Members]:
    """Yield windows that end now, have no end, or end before the time that a `deny` covers.

    They begin late enough to stay valid for a while.
    """
    bounds = list(bounds)
    lengths = [bound.within_last_ms for bound in bounds if bound.within_last_ms is not None]
    spans = sorted({bound.max_span_ms for bound in bounds if bound.max_span_ms is not None})
    for length in sorted({*lengths, DAY_MS}):
        start = max(0, now_ms - length // 2)
        yield {"from_date": start, "to_date": None}
        yield {"from_date": start, "to_date": now_ms}
    for end in [now_ms, *(now_ms - length - 1 for length in lengths)]:
        for length in (*spans, DAY_MS, 0):
            if end >= 0:
                yield {"from_date": max(0, end - length), "to_date": end}


def _named(one: str, field: str) -> ByIds | None:
    try:
        return ByIds((one,), field)
    except ValueError:
        return None
