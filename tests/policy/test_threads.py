"""Policies are judged by in several threads at once, from the first moment on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from gateway.core.request import Principal
from gateway.policy.choose import covers
from gateway.policy.conditions import UrlCondition
from gateway.policy.decide import decide
from gateway.policy.rules import Policies
from tests.core.rules import API, allow, urls
from tests.core.strategies import NOW_MS, counted
from tests.policy.test_resolved import run

THREADS, TEAMS = 8, 40


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


def judged(policies: Policies, order: int) -> list[object]:
    """What these policies say for every team, known or not, asked in some order."""
    found: dict[int, object] = {}
    for number in sorted(range(TEAMS), key=lambda number: (number * 7 + order) % TEAMS):
        caller = Principal(f"t{number}", "k")
        decision = decide(policies, caller, counted(urls(API), 1), NOW_MS)
        covering = covers(policies.for_team(caller.team), run("wfr_1"), NOW_MS)
        found[number] = (decision.rule, covering and covering.name, len(policies.teams), len(policies.resolving))
    return [found[number] for number in range(TEAMS)]


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.usefixtures("hasty")
def test_the_first_judgements_may_be_made_at_the_same_time(common: bool) -> None:
    """What policies keep for later is found in threads as it is found by one alone."""
    own = allow("own", workflowUrl=UrlCondition(frozenset((API,))))
    rules = [replace(own, id=f"own{number}", teams=frozenset((f"t{number}",))) for number in range(0, TEAMS, 2)]
    rules += [replace(own, id="z-common", teams=frozenset(("*",)))] if common else []
    alone = judged(Policies(tuple(rules), "d"), 0)
    for _ in range(5):
        policies, start = Policies(tuple(rules), "d"), Barrier(THREADS)

        def first(order: int, policies: Policies = policies, start: Barrier = start) -> list[object]:
            start.wait()
            return judged(policies, order)

        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(first, range(THREADS))) == [alone] * THREADS
