"""What a team is told it may do, against what the judgement does."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from gateway.authoring.offers import Offer, offers
from gateway.core.parse import Body
from gateway.core.plan import Permit
from gateway.core.request import ActionRequest
from gateway.core.run import Resolution
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.conditions import CountCondition, CreatedCondition, RunIdCondition, UrlCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.core.populations import everything, resolving_sets
from tests.core.rules import API, allow, label, rule
from tests.core.strategies import NOW_MS, TEAM, denies, fitting, policies, requests, rule_sets
from tests.support import generated

thorough = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=generated.cases(100))


def offered(*rules: Rule) -> list[Offer]:
    return list(offers(policies(*rules), TEAM.team, NOW_MS))


def asked(example: object) -> ActionRequest:
    """The request that an example stands for, read as if a caller had sent it."""
    assert isinstance(example, dict)
    pairs = [
        f"{name}={_written(name, value)}"
        for name, values in example.items()
        if name != "count" or "workflowRunIds" not in example
        for value in (values if isinstance(values, list) else [values])
    ]
    return parse_cancel("&".join(pairs).encode(), Body())


def _written(name: str, value: object) -> str:
    if value is True:
        return "true"
    return f"{value:013d}" if name in ("fromDate", "toDate") else quote(str(value), safe="")


def permits(judged: Policies, request: ActionRequest) -> Permit | None:
    decision = decide(judged, TEAM, request, NOW_MS)
    return decision if isinstance(decision, Permit) else None


@given(rule_sets())
def test_every_example_is_permitted_as_it_is_shown(rules: tuple[Rule, ...]) -> None:
    """A caller who sends the example gets it, whole, and within the number that the offer names."""
    judged = policies(*rules)
    for offer in offers(judged, TEAM.team, NOW_MS):
        event("no example" if offer.example is None else "an example")
        if offer.example is not None:
            permit = permits(judged, asked(offer.example))
            assert permit is not None
            assert permit.effective.wire() == offer.example
            assert offer.at_most is None or permit.effective.count <= offer.at_most


@given(rule_sets(), st.data())
def test_every_permit_lies_inside_an_offer(rules: tuple[Rule, ...], data: st.DataObject) -> None:
    """Nothing is permitted that no offer names, nor more runs than it says."""
    judged = policies(*rules)
    allows = [one for one in rules if one.effect is Effect.ALLOW]
    permit = permits(judged, data.draw(st.one_of(requests(), fitting(data.draw(st.sampled_from(allows))))))
    assume(permit is not None)
    assert permit is not None
    named = {offer.rule: offer for offer in offers(judged, TEAM.team, NOW_MS)}
    assert permit.rule is not None
    at_most = named[permit.rule].at_most
    assert at_most is None or permit.effective.count <= at_most


@given(rule_sets(), st.lists(denies(), max_size=2), st.data())
def test_a_rule_that_is_said_to_allow_nothing_allows_nothing(
    rules: tuple[Rule, ...], refusing: list[Rule], data: st.DataObject
) -> None:
    """Where no example was found, no request made after the rule is permitted by it either."""
    judged = policies(
        *rules,
        *(Rule("q", f"deny-{n}", one.effect, one.conditions, selects=one.selects) for n, one in enumerate(refusing)),
    )
    closed = {offer.rule for offer in offers(judged, TEAM.team, NOW_MS) if offer.example is None}
    assume(closed)
    for one in rules:
        if one.name in closed:
            permit = permits(judged, data.draw(fitting(one)))
            assert permit is None or permit.rule != one.name


@given(rule_sets())
def test_the_words_name_every_condition(rules: tuple[Rule, ...]) -> None:
    """Neither a bound of the rule nor one that every rule is under is left out."""
    named = {offer.rule: offer.words for offer in offered(*rules)}
    for one in rules:
        if one.effect is Effect.ALLOW:
            words = named[f"{one.name}"]
            assert all(condition.words() in words for condition in one.conditions.values())
            assert all(
                condition.words() in words
                for require in rules
                if require.effect is Effect.REQUIRE
                for condition in require.conditions.values()
            )


EXACT = UrlCondition(frozenset((API,)))
CLOSED = "nothing as things stand, another rule refuses it"
SAID = {
    "a capped exact URL": (
        [allow(workflowUrl=EXACT, count=CountCondition(cap=50))],
        f"at most 50 of the runs of exactly {API}; count is lowered to 50",
    ),
    "a maximum below a cap": (
        [allow(workflowUrl=EXACT, count=CountCondition(max=20, cap=50))],
        f"at most 20 of the runs of exactly {API}; to ask for more than 20 is refused",
    ),
    "a subtree with an optional label": (
        [allow(workflowUrl=UrlCondition(prefix=(API,)), label=label("a", optional=True))],
        f"any number of the runs of {API}/ or below; label where it is given: a",
    ),
    "run IDs": (
        [allow(workflowRunIds=RunIdCondition(20, ("wfr_a_",)))],
        "at most 20 of the runs that are named by ID (at most 20 IDs beginning with wfr_a_)",
    ),
    "a cap for everyone": (
        [allow(label=label("a")), rule(Effect.REQUIRE, "cap", CountCondition(cap=7))],
        "at most 7 of the runs of any workflow; label: a; count is lowered to 7",
    ),
    "a deny beside": (
        [
            allow(workflowUrl=UrlCondition(prefix=(API,))),
            rule(Effect.DENY, "no", workflowUrl=UrlCondition(frozenset((f"{API}/x",)))),
        ],
        f"any number of the runs of {API}/ or below; never what could touch workflowUrl exactly {API}/x",
    ),
    "a deny of all": (
        [allow(label=label("a")), rule(Effect.DENY, "no")],
        f"{CLOSED}: any number of the runs of any workflow; label: a; never, whatever is asked",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_an_offer_reads_as_a_person_would_say_it(name: str) -> None:
    """One sentence that holds the number first."""
    rules, words = SAID[name]
    assert [offer.words for offer in offered(*rules)] == [words]


def test_an_example_with_dates_holds_for_a_while() -> None:
    """Who reads the page and sends the example a quarter of an hour later still gets it."""
    judged = policies(allow(created=CreatedCondition(3_600_000), label=label("a")))
    (offer,) = offers(judged, TEAM.team, NOW_MS)
    decision = decide(judged, TEAM, asked(offer.example), NOW_MS + 900_000)
    assert isinstance(decision, Permit)


@thorough
@given(resolving_sets())
def test_every_example_of_rules_that_look_runs_up_is_permitted_as_it_is_shown(rules: tuple[Rule, ...]) -> None:
    """Also about every run of the account, and within what may be left."""
    judged = policies(*rules)
    for offer in offers(judged, TEAM.team, NOW_MS):
        if offer.example is not None:
            permit = permits(judged, asked(offer.example))
            assert permit is not None
            assert offer.at_most is None or permit.effective.count <= offer.at_most


def test_what_is_looked_up_is_said() -> None:
    """How many may be left, which are left out, what refuses all of it, and whose runs an ID may name."""
    below = UrlCondition(prefix=(API,))
    by_url = replace(allow("by-url", workflowUrl=below), resolution=Resolution(200, 300_000))
    by_id = replace(allow("by-id", workflowRunIds=RunIdCondition(5), workflowUrl=below), resolution=Resolution(20))
    words = {offer.rule: offer.words for offer in offered(by_url, by_id, rule(Effect.DENY, "d", label=label("prod")))}
    bounds = "the runs are looked up first: more than 200 left are refused, those younger than 5m are left out"
    narrower = "further filters may be named, they only narrow"
    refused = "nothing where one of the runs is of label prod"
    assert words["p/by-url"] == f"at most 200 of the runs of {API}/ or below; {bounds}; {narrower}; {refused}"
    assert f"(at most 5 IDs); each a run of {API}/ or below; the runs are looked up first" in words["p/by-id"]
    assert narrower not in words["p/by-id"]
    [everyone] = offered(everything(Resolution(9)))
    assert everyone.words.startswith("at most 9 of all runs of the account; the runs are looked up first")
    assert everyone.example == {"count": 9}
