"""Ten thousand rules: loading grows with their number and no faster, and a decision does not grow at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from gateway.cancel import ByFilter, CancelRequest, Permit, Principal
from gateway.document import compose
from gateway.policy.decide import decide
from gateway.policy.load import load_policies
from gateway.policy.model import Effect, Rule, UrlCondition
from gateway.policy.rules import Policies
from tests.support.steps import steps

NOW_MS = 1_795_000_000_000
ASKED = CancelRequest(ByFilter(workflow_urls=("https://w3.example.com/api",), exact=True), 50)
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
    assert compose._LOADER is yaml.CSafeLoader
