"""Twice the rules, twice their values or twice those of a request are at most twice the work of a judgement.

Whatever the rules are about, and whatever is asked; also of everything else that is judged for a caller.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, ItemsView
from functools import lru_cache

import pytest

from gateway.authoring.explain import explain
from gateway.authoring.question import Question
from gateway.core.plan import Denial, Permit
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Principal
from gateway.core.run import Listing, Resolution, Run
from gateway.edge.pages.questions import whoami
from gateway.policy.choose import choose, covers
from gateway.policy.conditions import Condition, CountCondition, RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from gateway.policy.nearest import MOST_JUDGED
from gateway.policy.rules import Policies
from tests.laws.growth import too_much

NOW_MS = 1_795_000_000_000
WHO = Principal("billing", "k")
EVERYONE = frozenset(("*",))
OWN = "https://billing.example.com/api"
FEW, SOME = 20, 200

Said = Callable[[int, int], dict[str, Condition]]
"""What the rule of a number says, with so many values."""


def values(name: str, *listed: str, optional: bool = False) -> dict[str, Condition]:
    """A bound on a field of values."""
    return {name: ValueCondition(name, frozenset(listed), optional=optional)}


def below(*urls: str, optional: bool = False) -> dict[str, Condition]:
    """A bound on URLs, at or below these."""
    return {"workflowUrl": UrlCondition(prefix=urls, optional=optional)}


SAYS: dict[str, Said] = {
    "URLs elsewhere": lambda at, most: below(*(f"https://w{at}-{n}.example.com/api" for n in range(most))),
    "URLs elsewhere, and the labels that are asked": lambda at, most: {
        **below(*(f"https://w{at}-{n}.example.com/api" for n in range(most))),
        **values("label", *(f"l{n}" for n in range(100))),
    },
    "exact URLs elsewhere": lambda at, most: {
        "workflowUrl": UrlCondition(frozenset(f"https://w{at}-{n}.example.com/api" for n in range(most)))
    },
    "URLs below what is asked, and a label": lambda at, most: {
        **below(*(f"{OWN}/{at}/{n}" for n in range(most))),
        **values("label", f"other-{at}"),
    },
    "the URLs that are asked, and a label": lambda at, most: {**below(OWN), **values("label", f"other-{at}")},
    "URLs with that which is asked": lambda at, most: below(
        *(f"https://w{at}-{n}.example.com/api" for n in range(most)), OWN
    ),
    "labels": lambda at, most: values("label", *(f"l{at}-{n}" for n in range(most))),
    "the labels that are asked, and a key": lambda at, most: {
        **values("label", *(f"l{n}" for n in range(most))),
        **values("flowControlKey", f"other-{at}"),
    },
    "run IDs": lambda at, most: {"workflowRunIds": RunIdCondition(prefix=tuple(f"wfr_{at}_{n}_" for n in range(most)))},
}

ASKS: dict[str, Callable[[int], ActionRequest]] = {
    "exact URLs": lambda most: asks(workflow_urls=tuple(f"{OWN}/{n}" for n in range(most)), exact=True),
    "prefixes": lambda most: asks(workflow_urls=tuple(f"{OWN}/{n}/" for n in range(most))),
    "prefixes within each other": lambda most: asks(workflow_urls=tuple(f"{OWN}/{'a/' * n}" for n in range(most))),
    "a host": lambda most: asks(workflow_urls=("https://billing.example.com/",)),
    "long URLs": lambda most: asks(workflow_urls=(f"{OWN}{'/a' * 15 * most}",), exact=True),
    "labels": lambda most: asks(labels=tuple(f"l{n}" for n in range(most))),
    "prefixes and labels": lambda most: asks(
        workflow_urls=tuple(f"{OWN}/{n}/" for n in range(most)), labels=tuple(f"l{n}" for n in range(most))
    ),
    "run IDs": lambda most: ActionRequest(ByIds(tuple(f"wfr_{n}" for n in range(10 * most))), 10 * most),
    "everything": lambda most: ActionRequest(Everything(), 6),
}


def asks(**fields: object) -> ActionRequest:
    """A filter for six runs."""
    return ActionRequest(ByFilter(**fields), 6)  # type: ignore[arg-type]


@lru_cache(4)
def rules(effect: Effect, says: str, number: int, most: int) -> Policies:
    """So many rules with so many values, between an allow and a bound that refuses; the same for all that is asked."""
    optional = effect is Effect.REQUIRE
    many = [
        Rule("p", f"r{at:05}", effect, SAYS[says](at, most), CountCondition(max=9) if optional else None,
             teams=EVERYONE, resolution=Resolution(5) if at % 2 and effect is Effect.ALLOW else None)
        for at in range(number)
    ]  # fmt: skip
    own = Rule("z", "own", Effect.ALLOW, below(OWN), CountCondition(max=5), teams=EVERYONE)
    policies = Policies((*many, own), "d")
    policies.prepare(WHO.team)
    return policies


Grows = Callable[[Effect, str, int], tuple[Policies, int]]
"""Rules of a size, and how many values are asked."""

GROWS: dict[str, Grows] = {
    "rules": lambda effect, says, size: (rules(effect, says, 10 * size, FEW), FEW),
    "values": lambda effect, says, size: (rules(effect, says, SOME, size), FEW),
    "the request": lambda effect, says, size: (rules(effect, says, SOME, FEW), size),
}
SIZE = 24
"""The largest is four times as much: a request has a hundred values at most."""


@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("what", GROWS)
def test_a_decision_grows_with_its_input_and_no_faster(what: str, effect: Effect) -> None:
    """Whether it is refused at once, by the last rule, or by none; proposals and words included."""
    found = []
    for says in SAYS:
        for asked, request in ASKS.items():

            def call(
                size: int, says: str = says, request: Callable[[int], ActionRequest] = request
            ) -> Callable[[], object]:
                policies, most = GROWS[what](effect, says, size)
                made = request(most)
                return lambda: decide(policies, WHO, made, NOW_MS)

            if (why := too_much(call, size=SIZE)) is not None:
                found.append(f"{says}, asked for {asked}: {why}")
    assert found == []


ALL_BELOW = asks(workflow_urls=(f"{OWN}/",))
PERMIT = Permit("z/own", "permit", None, ALL_BELOW, resolution=Resolution())
RUNS = Listing(tuple(Run(f"wfr_{n}", f"{OWN}/{n % 50}", NOW_MS - n, labels=(f"l{n % 7}",)) for n in range(200)))
OTHERS: dict[str, Callable[[Policies, ActionRequest], object]] = {
    "explain": lambda policies, request: explain(policies, Question(WHO, request, NOW_MS)),
    "whoami": lambda policies, request: whoami(WHO, policies, NOW_MS),
    "choose": lambda policies, request: choose(policies, WHO, ALL_BELOW, PERMIT, RUNS, NOW_MS),
    "covers": lambda policies, request: covers(policies.for_team(WHO.team), RUNS.runs[0], NOW_MS),
}


@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("other", OTHERS)
def test_everything_else_grows_with_the_rules_and_no_faster(other: str, effect: Effect) -> None:
    """No rule is held against each other one, and no run against each rule that says nothing of it."""
    found = []
    for says in SAYS:

        def call(size: int, says: str = says) -> Callable[[], object]:
            policies, most = GROWS["rules"](effect, says, size)
            request = ASKS["prefixes and labels"](most)
            return lambda: OTHERS[other](policies, request)

        if (why := too_much(call, size=SIZE)) is not None:
            found.append(f"{says}: {why}")
    assert found == []


@pytest.mark.parametrize("says", SAYS)
def test_finding_what_is_looked_up_grows_with_the_rules_and_no_faster(says: str) -> None:
    """Twice the rules take twice as long to sort, once after each reload."""

    def call(size: int) -> Callable[[], object]:
        made = [Rule("p", f"r{at:05}", Effect.DENY, SAYS[says](at, FEW), teams=EVERYONE) for at in range(10 * size)]
        return lambda: Policies(tuple(made), "d").prepare(WHO.team)

    assert too_much(call, size=SIZE) is None


@pytest.mark.parametrize("asked", ["exact URLs", "prefixes", "prefixes and labels"])
@pytest.mark.parametrize(
    "says",
    ["URLs elsewhere", "URLs elsewhere, and the labels that are asked", "exact URLs elsewhere", "labels", "run IDs"],
)
@pytest.mark.parametrize("effect", [Effect.DENY, Effect.ALLOW])
def test_rules_about_something_else_cost_nothing(effect: Effect, says: str, asked: str) -> None:
    """Ten times as many rules that what is asked cannot touch are not looked at."""
    request = ASKS[asked](100)

    def call(size: int) -> Callable[[], object]:
        policies = rules(effect, says, {1: 20, 2: 200, 4: 2000}[size // SIZE], FEW)
        return lambda: decide(policies, WHO, request, NOW_MS)

    assert too_much(call, size=SIZE) is None


class Counting(UserDict[str, Condition]):
    """What a rule says, and how often it was asked for it."""

    asked = 0

    def items(self) -> ItemsView[str, Condition]:
        self.asked += 1
        return super().items()


@pytest.mark.parametrize("resolution", [None, Resolution(50)])
@pytest.mark.parametrize("asked", ASKS)
def test_a_refusal_costs_a_few_judgements(asked: str, resolution: Resolution | None) -> None:
    """The request is judged once in each reading, and so are a few proposals, however many rules could make one."""
    said = Counting(values("label", "l0", optional=True))
    guard = Rule("g", "guard", Effect.REQUIRE, said, CountCondition(max=5), teams=EVERYONE)
    own = [
        Rule("p", f"r{at:02}", Effect.ALLOW, {**below(OWN), **values("label", f"l{at}", optional=True)}, teams=EVERYONE,
             resolution=resolution if at % 2 else None)
        for at in range(60)
    ]  # fmt: skip
    assert isinstance(decide(Policies((guard, *own), "d"), WHO, ASKS[asked](20), NOW_MS), Denial)
    readings = 1 if resolution is None else 2
    assert 1 <= said.asked <= readings * (1 + MOST_JUDGED)
