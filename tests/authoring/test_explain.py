"""An explanation is the decision, and its parts imply it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.authoring.explain import Explanation, explain, implied
from gateway.authoring.question import Question
from gateway.cli.policies.explain import lines
from gateway.core.forms.times import instant
from gateway.core.plan import Permit
from gateway.core.request import ActionRequest, ByIds, Everything
from gateway.core.run import Resolution
from gateway.policy.conditions import CountCondition, RunIdCondition, UrlCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule, TeamException
from gateway.policy.window import Window
from tests.core.populations import Case, cases
from tests.core.rules import API, allow, label, rule, urls
from tests.core.strategies import NOW_MS, TEAM, counted, fitting, policies, requests, rule_sets
from tests.support import generated


@st.composite
def explained(draw: st.DrawFn) -> tuple[tuple[Rule, ...], ActionRequest]:
    """Rules of which some are in shadow mode, and a request that mostly fits one of the allows."""
    rules = tuple(replace(each, shadow=draw(st.integers(0, 4)) == 0) for each in draw(rule_sets()))
    made_for = draw(st.sampled_from([each for each in rules if each.effect is Effect.ALLOW]))
    return rules, draw(st.one_of(requests(), fitting(made_for), fitting(made_for)))


thorough = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=generated.cases(300))


def explanation(request: ActionRequest, *rules: Rule) -> Explanation:
    return explain(policies(*rules), Question(TEAM, request, NOW_MS))


@given(explained())
def test_the_explained_decision_is_the_judgement(case: tuple[tuple[Rule, ...], ActionRequest]) -> None:
    """The verdict of an explanation is that of `decide`, in every member."""
    rules, request = case
    assert explanation(request, *rules).decision == decide(policies(*rules), TEAM, request, NOW_MS)


@given(explained())
def test_the_parts_imply_the_decision(case: tuple[tuple[Rule, ...], ActionRequest]) -> None:
    """From the enforced parts alone follow the rule that decides and the count that is permitted."""
    rules, request = case
    found = explanation(request, *rules)
    decision = found.decision
    permitted = decision.effective.count if isinstance(decision, Permit) else None
    assert implied(found.parts) == (decision.rule, permitted)


@thorough
@given(cases())
def test_the_parts_imply_the_decision_where_runs_are_looked_up(case: Case) -> None:
    """Whichever reading decides, each rule's part is told in it."""
    found = explanation(case.request, *case.rules)
    decision = found.decision
    permitted = decision.effective.count if isinstance(decision, Permit) else None
    assert implied(found.parts) == (decision.rule, permitted)
    for part in found.parts:
        against = part.holds is (part.effect is Effect.DENY)
        assert bool(part.words) is (against or part.aside or part.left)


@given(explained())
def test_the_parts_with_shadow_rules_counted_imply_what_was_decided(
    case: tuple[tuple[Rule, ...], ActionRequest],
) -> None:
    """`decided` is what the parts amount to once no rule is in shadow mode."""
    rules, request = case
    found = explanation(request, *rules)
    _, permitted = implied([replace(part, shadow=False) for part in found.parts])
    assert found.decision.decided == ("deny" if permitted is None else "permit")


@given(explained())
def test_every_rule_has_one_part(case: tuple[tuple[Rule, ...], ActionRequest]) -> None:
    """No rule about the team is left out, and the one that decides is marked."""
    rules, request = case
    found = explanation(request, *rules)
    assert sorted(part.rule for part in found.parts) == sorted(each.name for each in rules)
    assert [part.rule for part in found.parts if part.decides] == [found.decision.rule] * (
        found.decision.rule is not None
    )


@given(explained())
def test_what_did_not_hold_is_said(case: tuple[tuple[Rule, ...], ActionRequest]) -> None:
    """A rule that refuses or does not admit has words; any other has none."""
    rules, request = case
    for part in explanation(request, *rules).parts:
        against = part.holds is (part.effect is Effect.DENY)
        assert bool(part.words) is (against or part.aside)
        assert not (part.aside and part.reached)


def test_the_count_is_followed_from_rule_to_rule() -> None:
    """Each cap lowers what the one before left; a rule in shadow mode shows its cap and changes nothing."""
    require = [rule(Effect.REQUIRE, name, CountCondition(cap=cap)) for name, cap in (("a", 80), ("b", 60), ("c", 70))]
    require[1] = replace(require[1], shadow=True)
    own = allow("own", CountCondition(cap=50), workflowUrl=UrlCondition(frozenset((API,))))
    found = explanation(counted(urls(API), 100), *require, own)
    assert [(part.count_before, part.count_after) for part in found.parts] == [(100, 80), (80, 60), (80, 70), (70, 50)]


def test_what_did_not_hold_is_named_by_its_field() -> None:
    """The words name the condition, or the field that the rule does not speak about."""
    labelled = allow("labelled", workflowUrl=UrlCondition(frozenset((API,))), label=label("nightly"))
    other = allow("other", flowControlKey=label("nightly"))
    found = explanation(counted(urls(API), 1), labelled, other)
    said = ["label: nightly; the request names no label", "the rule does not mention workflowUrl"]
    assert [part.words for part in found.parts] == said


def test_a_rule_that_does_not_speak_now_is_set_aside_with_the_reason() -> None:
    """Past its end, outside its window, or for an excepted team, a rule changes nothing and says why."""
    ended = replace(rule(Effect.DENY, "a"), until_ms=NOW_MS)
    closed = replace(rule(Effect.DENY, "b"), during=Window(from_ms=NOW_MS + 1000))
    excepts = replace(rule(Effect.DENY, "c"), excepted=(TeamException(TEAM.team, ticket="OPS-1"),))
    own = allow("own", workflowUrl=UrlCondition(frozenset((API,))))
    found = explanation(counted(urls(API), 1), ended, closed, excepts, own)
    assert isinstance(found.decision, Permit)
    assert [part.result for part in found.parts] == ["set aside", "set aside", "admitted", "set aside"]
    assert [part.words for part in found.parts if part.aside] == [
        f"it ended at {instant(NOW_MS)}",
        f"it holds only during from {instant(NOW_MS + 1000)}",
        "it excepts billing (ticket OPS-1)",
    ]
    assert found.members()["exceptions"] == ["p/c: billing (ticket OPS-1)"]


def test_a_deny_that_only_may_match_says_so() -> None:
    """A field that the request leaves out overlaps everything; the words name it."""
    deny = rule(Effect.DENY, label=label("prod"))
    found = explanation(counted(ByIds(("wfr_1",)), 1), deny)
    assert found.parts[0].words == "label: prod (the request does not say label, so it may)"
    assert found.parts[0].result == "matched"


def test_what_is_left_to_the_runs_says_so() -> None:
    """Where runs are looked up, a deny on what the request does not say is judged on them, and so is the URL of IDs."""
    url = UrlCondition(prefix=(API,))
    own = replace(
        allow("own", workflowRunIds=RunIdCondition(max=9), workflowUrl=url), resolution=Resolution(200, 300_000)
    )
    found = explanation(counted(ByIds(("wfr_1",)), 1), rule(Effect.DENY, "d", label=label("prod")), own)
    assert [(part.result, part.words) for part in found.parts] == [
        ("left to the runs found", "label: prod"),
        ("admitted", f"workflowUrl: {API}/ or below"),
    ]
    assert found.members()["resolve"] == {"max": 200, "older_than": "5m"}
    said = "\n".join(lines(found))
    assert (
        "looked up, judged and cancelled by ID: more than 200 left are refused, those younger than 5m are left" in said
    )


def test_everything_is_admitted_by_no_rule() -> None:
    """The words say that nothing was named."""
    found = explanation(ActionRequest(Everything(), 1), allow(label=label("x")))
    assert found.parts[0].words == "the request names nothing that selects"


def test_a_bounded_explanation_keeps_the_rule_that_decides() -> None:
    """Where parts are left out they are counted, and the deciding one is not among them."""
    rules = [allow(f"r{number}", label=label(f"l{number}")) for number in range(9)]
    found = explanation(ActionRequest(urls(API), 1), *rules, allow("z", workflowUrl=UrlCondition(frozenset((API,)))))
    members = found.members(most=1)
    assert [part["rule"] for part in members["rules"]] == ["p/z"]  # type: ignore[attr-defined]
    assert members["left_out"] == 9
