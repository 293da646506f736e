"""What a team may do, in plain words: one offer for each `allow` rule, after every `require` and `deny`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from gateway.core.plan import Owner
from gateway.core.request import CancelRequest
from gateway.core.run import Resolution
from gateway.policy.decide import permitted
from gateway.policy.model import Condition, CountCondition, Rule, RunIdCondition
from gateway.policy.rules import Policies, TeamRules
from gateway.policy_tools.examples import examples
from gateway.policy_tools.explain import resolution_in_words
from gateway.policy_tools.lints.conflicts import kind_of

USUAL = 100
"""What an example asks for where nothing bounds it: the count of the official clients."""

MOST = 256
"""How many examples are tried for one rule; the page must stay cheap whatever the rules say."""

MOST_SAID = 20
"""How many of the rules that refuse are put into the words of one that allows."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One rule: `at_most` runs (None: as many as asked), and a request it allows; no example if it allows none.

    `owner` is whom its file names to be asked.
    """

    rule: str
    words: str
    at_most: int | None
    example: Mapping[str, object] | None
    owner: Owner | None = None


def offers(policies: Policies, team: str, now_ms: int) -> Iterator[Offer]:
    """The enforced `allow` rules of the team, by name. `now_ms` is Unix milliseconds."""
    rules = policies.for_team(team).enforced
    now = rules.at(now_ms)
    for rule in offered(policies, team, now_ms):
        if rule.applies_to(team, now_ms):
            yield _offer(rule, now, rules.only(rule), now_ms)
        elif rule.during is not None:
            yield Offer(rule.name, f"nothing now: only during {rule.during.words()}", None, None, rule.owner)


def offered(policies: Policies, team: str, now_ms: int) -> list[Rule]:
    """The rules that `offers` speaks of: those of now, and those whose window opens again."""
    return [
        rule
        for rule in policies.for_team(team).enforced.allows
        if rule.exception(team, now_ms) is None and (rule.in_force(now_ms) or rule.closed(now_ms))
    ]


def _offer(rule: Rule, rules: TeamRules, alone: TeamRules, now_ms: int) -> Offer:
    """What a rule offers among the rules of now; `alone` is it with what guards it."""
    at_most = _at_most(rule, rules.requires)
    proposals = islice(examples(rule, rules, at_most or USUAL, now_ms), MOST)
    example = _example(proposals, alone, now_ms)
    words = _words(rule, rules, at_most)
    if example is None:
        words = f"nothing as things stand, another rule refuses it: {words}"
    return Offer(rule.name, words, at_most, None if example is None else example.wire(), rule.owner)


def _at_most(rule: Rule, requires: Iterable[Rule]) -> int | None:
    """The smallest bound of the rule and of every `require`."""
    by_ids = "workflowRunIds" in rule.conditions
    bounds: list[int | None] = []
    for one in (rule, *requires):
        bounds.append(one.resolution.max_runs if one.resolution is not None else None)
        bounds.append(one.count.ceiling if one.count is not None else None)
        ids = one.conditions.get("workflowRunIds")
        bounds.append(ids.max if by_ids and isinstance(ids, RunIdCondition) else None)
    return min((bound for bound in bounds if bound is not None), default=None)


def _example(proposals: Iterable[CancelRequest], alone: TeamRules, now_ms: int) -> CancelRequest | None:
    """The first proposal that the one rule permits and no other one refuses, as it would be sent."""
    for proposal in proposals:
        effective = permitted(alone, replace(proposal, reason="an example"), now_ms)
        if effective is not None:
            return effective
    return None


def _words(rule: Rule, rules: TeamRules, at_most: int | None) -> str:
    number = "any number" if at_most is None else f"at most {at_most}"
    parts = [f"{number} of the runs of {_scope(rule)}"]
    ids = rule.conditions.get("workflowRunIds")
    if ids is not None:
        parts = [f"{number} of the runs that are named by ID ({ids.words()})"]
        parts += [f"each a run of {url.words()}" for field, url in rule.conditions.items() if field == "workflowUrl"]
    if rule.admits_everything:
        parts = [f"{number} of all runs of the account"]
    parts += [
        _bound(field, condition)
        for field, condition in rule.conditions.items()
        if field not in ("workflowUrl", "workflowRunIds")
    ]
    if (said := _asked(rule, rules.requires)) is not None:
        parts.append(said)
    if rule.during is not None:
        parts.append(f"only during {rule.during.words()}")
    looked_up = [one.resolution for one in (rule, *rules.requires) if one.resolution is not None]
    parts += [_looked_up(one) for one in looked_up[:MOST_SAID]]
    parts += [words for one in rules.requires[:MOST_SAID] for words in _always(one, by_ids=ids is not None)]
    kind = kind_of(rule)
    refusing = [one for one in rules.denies if one.selects is None or kind in one.selects]
    parts += [_never(one, resolved=bool(looked_up)) for one in refusing[:MOST_SAID]]
    left_out = max(0, len(refusing) - MOST_SAID) + max(0, len(rules.requires) - MOST_SAID)
    return "; ".join([*parts, f"and {left_out} more rules refuse"] if left_out else parts)


def _looked_up(resolution: Resolution) -> str:
    return f"the runs are looked up first: {resolution_in_words(resolution)}"


def _scope(rule: Rule) -> str:
    url = rule.conditions.get("workflowUrl")
    if url is None:
        return "any workflow"
    return f"any workflow, or where a URL is named {url.words()}" if url.optional else url.words()


def _bound(field: str, condition: Condition) -> str:
    return f"{field}{' where it is given' if condition.optional else ''}: {condition.words()}"


def _asked(rule: Rule, requires: Iterable[Rule]) -> str | None:
    """The difference between `max` and `cap`, which the number alone does not show."""
    if "workflowRunIds" in rule.conditions:
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


def _always(require: Rule, *, by_ids: bool) -> Iterator[str]:
    if require.selects is not None:
        yield f"always by {' or '.join(sorted(require.selects))}"
    if require.exact_match and not by_ids:
        yield "always with workflowUrlExactMatch=true where a URL is named"
    if require.reason_required:
        yield "always with a reason in the header Gateway-Reason"
    for field, condition in require.conditions.items():
        yield f"always {_bound(field, condition)}"


def _never(deny: Rule, *, resolved: bool) -> str:
    """A `deny` in words."""
    about = " and ".join(f"{field} {condition.words()}" for field, condition in deny.conditions.items())
    if resolved and about:
        return f"nothing where one of the runs is of {about}"
    return f"never what could touch {about}" if about else "never, whatever is asked"
