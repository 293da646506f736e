"""Callers' questions about policy: bounded, answered beside the loop, never sent."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import Throttled
from gateway.edge.pages.questions import Questions
from gateway.execution.judging import RULES_AT_ONCE
from gateway.policy.conditions import UrlCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.execution.bench import ANN, BOB, POLICIES, URL
from tests.execution.fakes import MemoryLog, StillClock
from tests.execution.test_judging import FEW, WIDE, call, denies


async def test_a_principal_has_one_explanation_made_at_a_time() -> None:
    """A second one is refused at once, with how long to wait; another caller's is not."""
    questions, policies = Questions(MemoryLog(), StillClock()), Policies((*POLICIES.rules, *denies(300)), "d")
    first = asyncio.create_task(questions.explain(call(policies, WIDE)))
    await asyncio.sleep(0)
    with pytest.raises(Throttled) as refused:
        await questions.explain(call(policies, FEW))
    assert (refused.value.cause, refused.value.limit, refused.value.retry_after_s) == ("explanations", 1, 1)
    assert (await questions.explain(call(policies, FEW, principal=BOB)))["enforced"] == "permit"
    explained = await first
    rules, left_out = explained["rules"], explained["left_out"]
    assert isinstance(rules, list)
    assert isinstance(left_out, int)
    assert len(rules) + left_out == 301
    assert (await questions.explain(call(policies, FEW)))["enforced"] == "permit"


async def test_the_page_of_a_team_with_many_rules_is_made_beside_the_loop() -> None:
    """And shows a bounded number of them, the rest as a number."""
    allows = tuple(
        Rule("p", f"a{at:05}", Effect.ALLOW, {"workflowUrl": UrlCondition(prefix=(URL,))}, teams=frozenset(("team",)))
        for at in range(RULES_AT_ONCE + 1)
    )
    page = await Questions(MemoryLog(), StillClock()).whoami(Policies((*allows, *denies(300)), "d"), ANN)
    rules = page["rules"]
    assert isinstance(rules, list)
    assert (len(rules), page["left_out"]) == (50, RULES_AT_ONCE - 49)
    assert all(rule["example"] is not None and "and 280 more rules refuse" in rule["words"] for rule in rules)
