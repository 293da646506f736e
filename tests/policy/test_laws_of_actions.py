"""Laws of actions: a rule is about those that it names, `any` is about all, and the index leaves no rule out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.plan import Denial, Permit
from gateway.core.request import Action, ActionRequest, Everything
from gateway.policy.choose import _covers
from gateway.policy.decide import decide
from gateway.policy.index.rules import AllowIndex, DenyIndex, seen
from gateway.policy.model import Effect, Rule
from gateway.policy.reading import Reading, admits, matches, touches
from tests.core.acting import acting, actions, asking, entries, rules_of
from tests.core.strategies import NOW_MS, TEAM, policies
from tests.support import generated

thorough = settings(max_examples=generated.cases(300), deadline=None)


@st.composite
def rules_of_all(draw: st.DrawFn) -> list[Rule]:
    """Rules of every effect about several actions."""
    made = [
        draw(acting(draw(actions), draw(st.sampled_from((Effect.ALLOW, Effect.ALLOW, Effect.DENY, Effect.REQUIRE)))))
        for _ in range(draw(st.integers(1, 8)))
    ]
    return [replace(rule, id=f"r{number}", teams=frozenset("*")) for number, rule in enumerate(made)]


def named(rules: list[Rule]) -> set[str]:
    """Their names."""
    return {rule.name for rule in rules}


@thorough
@given(rules_of_all(), actions.flatmap(asking))
def test_a_rule_covers_no_action_that_it_does_not_name(rules: list[Rule], request: ActionRequest) -> None:
    """Word for word the decision is that of the rules about the action alone; without any, nothing is allowed."""
    about = [rule for rule in rules if request.action in rule.actions]
    decision = decide(policies(*rules), TEAM, request, NOW_MS)
    assert decision == decide(policies(*about), TEAM, request, NOW_MS)
    if isinstance(decision, Permit):
        assert decision.rule in named([rule for rule in about if rule.effect is Effect.ALLOW])


@thorough
@given(actions, st.data())
def test_any_in_a_deny_reaches_every_action(action: Action, data: st.DataObject) -> None:
    """Whatever else is allowed: it refuses what it is about."""
    rules, request = data.draw(rules_of(action, Effect.ALLOW)), data.draw(asking(action))
    halt = Rule("all", "halt", Effect.DENY, {}, teams=frozenset("*"), actions=frozenset(Action))
    refused = decide(policies(*rules, halt), TEAM, request, NOW_MS)
    assert isinstance(refused, Denial)
    assert refused.rule == "all/halt"
    everything = replace(halt, selects=frozenset(("everything",)))
    about_it = isinstance(request.selection, Everything)
    assert (decide(policies(*rules, everything), TEAM, request, NOW_MS).rule == "all/halt") is about_it


@thorough
@given(actions, st.data())
def test_the_index_finds_every_rule_that_admits_or_matches(action: Action, data: st.DataObject) -> None:
    """For each action and its fields, in both readings, as a look at every rule finds them."""
    request = data.draw(asking(action))
    allows, denies = data.draw(rules_of(action, Effect.ALLOW)), data.draw(rules_of(action, Effect.DENY))
    allowed, denied, selection = AllowIndex(allows), DenyIndex(denies), request.selection
    for reading in Reading:
        resolved = reading is Reading.RESOLVED
        admitting = {rule.name for rule in allows if admits(rule, request, NOW_MS, reading)}
        assert named([*allowed.admitting(selection, resolved=resolved)]) >= admitting
        assert named([*allowed.candidates(selection, resolved=resolved)]) >= admitting
        # What a header changes is not in the selection: then every `deny` is looked at.
        plain = replace(request, overrides=())
        matching = [rule for rule in denies if matches(rule, plain, NOW_MS, reading)]
        found = denied.candidates(selection, wholly=resolved)
        assert [rule for rule in found if matches(rule, plain, NOW_MS, reading)] == matching


@thorough
@given(st.sampled_from([action for action in Action if action not in (Action.PAUSE, Action.RESUME)]), st.data())
def test_the_index_finds_every_rule_about_what_was_found(action: Action, data: st.DataObject) -> None:
    """Entries and messages as well as runs: the rules that cover one, and the denials about it."""
    allows, denies = data.draw(rules_of(action, Effect.ALLOW)), data.draw(rules_of(action, Effect.DENY))
    one = data.draw(entries())
    covering = {rule.name for rule in allows if _covers(rule, one, NOW_MS)}
    assert named([*AllowIndex(allows).about(one.workflow_url, seen(one))]) >= covering
    touching = {rule.name for rule in denies if touches(rule, one, NOW_MS)}
    assert named([*DenyIndex(denies).about((one.workflow_url,), seen(one))]) >= touching


@pytest.mark.parametrize("action", Action)
def test_everything_is_admitted_of_no_action_without_a_look_up(action: Action) -> None:
    """A rule with nothing but `selects: [everything]` admits nothing."""
    bare = Rule("p", "all", Effect.ALLOW, {}, selects=frozenset(("everything",)), actions=frozenset((action,)))
    request = ActionRequest(Everything(), 100, action=action)
    assert isinstance(decide(policies(bare), TEAM, request, NOW_MS), Denial)


@thorough
@given(st.sampled_from((Action.RESUME_DLQ, Action.RESTART_DLQ)), st.data())
def test_headers_that_override_never_admit_more(action: Action, data: st.DataObject) -> None:
    """A request with them is permitted only where it is without, by a rule that has `overrides: true`."""
    rules, request = data.draw(rules_of(action, Effect.ALLOW)), data.draw(asking(action))
    decision = decide(policies(*rules), TEAM, request, NOW_MS)
    if isinstance(decision, Permit):
        assert isinstance(decide(policies(*rules), TEAM, replace(request, overrides=()), NOW_MS), Permit)
        rule = next(rule for rule in rules if rule.name == decision.rule)
        assert rule.overrides or not request.overrides
        assert decision.effective.overrides == request.overrides
