"""A view judges its request with another count as a request for that count is judged from the start."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.request import ActionRequest
from gateway.policy.model import Effect, Rule
from gateway.policy.reading import Reading, lacking
from gateway.policy.rules import TeamRules
from gateway.policy.view import Admitted, Judged, View
from tests.core.populations import resolving_sets
from tests.core.strategies import NOW_MS, TEAM, counted, counts, fitting, policies, requests, rule_sets
from tests.support import generated


@st.composite
def cases(draw: st.DrawFn) -> tuple[TeamRules, ActionRequest]:
    """Rules of a team, with look-ups or without, and a request that mostly fits one of their allows."""
    rules = draw(st.one_of(rule_sets(), resolving_sets()))
    made_for = draw(st.sampled_from([rule for rule in rules if rule.effect is Effect.ALLOW and rule.conditions]))
    request = draw(st.one_of(requests(), fitting(made_for), fitting(made_for)))
    asked = replace(request, reason=draw(st.sampled_from((None, "why"))))
    return policies(*_demanding(rules, draw(st.booleans()))).for_team(TEAM.team), asked


def _demanding(rules: tuple[Rule, ...], reasoned: bool) -> list[Rule]:
    """The rules, a `require` now and then with a demand for a reason too."""
    return [replace(rule, reason_required=reasoned and rule.effect is Effect.REQUIRE) for rule in rules]


def told(judged: Judged) -> object:
    """All that a judgement says, the gap in words included."""
    if isinstance(judged, Admitted):
        return judged
    return judged.rule, judged.reading, judged.unmet and judged.unmet()


@settings(max_examples=generated.cases(300), deadline=None)
@given(cases(), st.lists(counts, min_size=1, max_size=3))
def test_another_count_is_judged_as_a_request_for_it(case: tuple[TeamRules, ActionRequest], others: list[int]) -> None:
    """Whatever was judged before in the same view, and in which order."""
    rules, request = case
    view = View(rules, request, NOW_MS)
    for number in (request.count, *others, request.count):
        alone = replace(counted(request.selection, number), reason=request.reason)
        assert told(view.judged(alone.count)) == told(View(rules, alone, NOW_MS).judged(alone.count))


@settings(max_examples=generated.cases(300), deadline=None)
@given(cases())
def test_what_an_allow_lacks_is_the_same_before_and_after_the_judgement(case: tuple[TeamRules, ActionRequest]) -> None:
    """The gaps that a view names, in the rule's own reading, are those of a look at the rule alone."""
    rules, request = case
    view = View(rules, request, NOW_MS)
    view.judged(request.count)
    for rule in rules.allows:
        resolved = view.forced or rule.resolution is not None
        reading = Reading.RESOLVED if resolved else Reading.FORWARDED
        assert [*view.lacking(rule)] == lacking(rule, request, NOW_MS, reading)
