"""Ten thousand rules: loading grows with their number and no faster, and a judgement does not grow at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import yaml

from gateway.core.plan import Permit
from gateway.core.request import ActionRequest, ByFilter, Principal
from gateway.core.run import Run
from gateway.files import yaml_text
from gateway.policy.conditions import Condition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies, TeamRules
from tests.support.steps import most_held, steps

NOW_MS = 1_795_000_000_000
OWN = ByFilter(workflow_urls=("https://w3.example.com/api",), exact=True)
ASKED = ActionRequest(OWN, 50)
WHO = Principal("team-3", "k")


def url(number: int, path: str = "/api") -> UrlCondition:
    return UrlCondition(frozenset((f"https://w{number}.example.com{path}",)))


def one_team(count: int) -> Policies:
    """Allows of one team."""
    teams = frozenset(("team-3",))
    rules = [Rule("p", f"r{n}", Effect.ALLOW, {"workflowUrl": url(n)}, teams=teams) for n in range(count)]
    return Policies(tuple(rules), "")


def many_teams(count: int) -> Policies:
    """An allow for each of many teams, and rules about everyone."""
    common = Rule("g", "exact", Effect.REQUIRE, {}, exact_match=True, teams=frozenset(("*",)))
    rules = [
        Rule("p", f"r{n}", Effect.ALLOW, {"workflowUrl": url(n)}, teams=frozenset((f"team-{n}",))) for n in range(count)
    ]
    return Policies((common, *rules), "")


def many_denies(count: int) -> Policies:
    """One allow below denies of other URLs."""
    everyone = frozenset(("*",))
    denies = [Rule("d", f"r{n}", Effect.DENY, {"workflowUrl": url(n, "/other")}, teams=everyone) for n in range(count)]
    return Policies((Rule("p", "own", Effect.ALLOW, {"workflowUrl": url(3)}, teams=everyone), *denies), "")


def values(name: str, *listed: str) -> ValueCondition:
    """The listed values of a field; without any, whatever the request has of it or leaves out."""
    return ValueCondition(name, frozenset(listed), any=not listed, optional=not listed)


OTHERS: dict[str, dict[str, Condition]] = {
    "any values": {
        "label": values("label"),
        "flowControlKey": values("flowControlKey"),
        "callerIp": replace(values("callerIp", "203.0.113.7"), optional=True),
    },
    "the same values": {
        "label": values("label", "nightly", "batch"),
        "flowControlKey": values("flowControlKey", "k"),
    },
}
"""What rules of one URL each say of other fields."""

LABELS = ("nightly", "batch")
CARRYING = replace(OWN, labels=LABELS, flow_control_keys=("k",))
"""Asks for the URL of one of them, and for what all of them say of other fields."""

RUN = Run("wfr_1", "https://w3.example.com/api", NOW_MS - 60_000, labels=LABELS, flow_control_key="k")

FINDING: dict[str, tuple[Effect, Callable[[TeamRules], Iterable[Rule]]]] = {
    "allow": (Effect.ALLOW, lambda rules: rules.allowing(CARRYING, NOW_MS, resolved=False)),
    "allow, resolved": (Effect.ALLOW, lambda rules: rules.allowing(CARRYING, NOW_MS, resolved=True)),
    "allow that comes near": (Effect.ALLOW, lambda rules: rules.near(CARRYING, NOW_MS)),
    "allow of a run": (Effect.ALLOW, lambda rules: rules.covering(RUN, NOW_MS)),
    "deny": (Effect.DENY, lambda rules: rules.denying(CARRYING, NOW_MS)),
    "deny of a run": (Effect.DENY, lambda rules: rules.denying_run(RUN, NOW_MS)),
}


@pytest.mark.parametrize(
    ("finding", "others"),
    # A `deny` lists its values.
    [(one, other) for one in FINDING for other in OTHERS if not (one.startswith("deny") and other == "any values")],
)
def test_finding_rules_costs_what_the_field_leaves_that_leaves_the_fewest(finding: str, others: str) -> None:
    """However many rules take any value of another field, or list the one that is asked: they are not copied either."""
    effect, find = FINDING[finding]
    team, found, counted, held = frozenset(("team-3",)), [], [], []
    for count in (10, 10_000):
        said = [{"workflowUrl": url(n), **OTHERS[others]} for n in range(count)]
        made = [Rule("p", f"r{n:05}", effect, conditions, teams=team) for n, conditions in enumerate(said)]
        rules = Policies(tuple(made), "").for_team(WHO.team)
        rules.prepare()
        found.append([rule.name for rule in find(rules)])
        counted.append(steps(lambda rules=rules: list(find(rules))))  # type: ignore[misc]
        held.append(most_held(lambda rules=rules: list(find(rules))))  # type: ignore[misc]
    assert found == [["p/r00003"]] * 2
    assert 0 < counted[1] <= 1.2 * counted[0]
    assert 0 < held[1] <= 1.2 * held[0]


def test_of_many_rules_about_any_url_only_those_taken_are_looked_at() -> None:
    """A refusal asks the first few that come near, however many there are."""
    counted, held = [], []
    for count in (30, 10_000):
        said: list[dict[str, Condition]] = [
            {"workflowUrl": UrlCondition(any=True, optional=True), "label": values("label", f"l{n}")}
            for n in range(count)
        ]
        made = [Rule("p", f"r{n:05}", Effect.ALLOW, one, teams=frozenset(("team-3",))) for n, one in enumerate(said)]
        rules = Policies(tuple(made), "").for_team(WHO.team)

        def few(rules: TeamRules = rules) -> list[Rule]:
            return list(islice(rules.near(OWN, NOW_MS), 20))

        assert len(few()) == 20
        counted.append(steps(few))
        held.append(most_held(few))
    assert 0 < counted[1] <= 1.2 * counted[0]
    assert 0 < held[1] <= 1.2 * held[0]


@pytest.mark.parametrize("made", [one_team, many_teams, many_denies])
def test_a_decision_costs_the_same_with_ten_rules_or_ten_thousand(made: Callable[[int], Policies]) -> None:
    """At most a tenth more instructions; the first decision of a team makes its index and is not counted."""
    counted = []
    for count in (10, 10_000):
        policies = made(count)
        assert isinstance(decide(policies, WHO, ASKED, NOW_MS), Permit)
        counted.append(steps(partial(decide, policies, WHO, ASKED, NOW_MS)))
    few, many = counted
    assert 0 < many <= 1.1 * few


@pytest.mark.alone
def test_loading_grows_with_the_number_of_rules_and_no_faster(tmp_path: Path) -> None:
    """Ten times the rules take at most twenty times as long: no step compares each with each."""
    taken = []
    for count in (1000, 10_000):
        rules = "".join(
            f'  - {{id: r{n}, workflowUrl: {{exact: ["https://w{n}.example.com/api"]}}, count: {{max: 9}}}}\n'
            for n in range(count)
        )
        (tmp_path / "p.yaml").write_text(f"version: 1\nname: p\nteams: [a]\nallow:\n{rules}")
        start = time.process_time()
        assert len(load_policies(tmp_path).rules) == count
        taken.append(time.process_time() - start)
    assert taken[1] <= 20 * taken[0]


def test_files_are_parsed_by_libyaml() -> None:
    """The pure Python parser takes ten times as long; the wheels that are locked bring the other."""
    assert yaml.__with_libyaml__
    assert yaml_text._LOADER is yaml.CSafeLoader
