"""Rules and judgements in few words, for tables."""

from __future__ import annotations

from gateway.core.plan import Decision, Permit
from gateway.core.request import ByFilter, Principal, Selection
from gateway.policy.conditions import Condition, CountCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.core.strategies import NOW_MS, TEAM, counted, policies

API = "https://a.example/api"


def rule(effect: Effect, name: str = "r", count: CountCondition | None = None, **conditions: Condition) -> Rule:
    return Rule("p", name, effect, conditions, count)


def allow(name: str = "r", count: CountCondition | None = None, **conditions: Condition) -> Rule:
    return rule(Effect.ALLOW, name, count, **conditions)


def judge(selection: Selection, *rules: Rule, count: int = 100, team: Principal = TEAM) -> Decision:
    return decide(policies(*rules), team, counted(selection, count), NOW_MS)


def permits(selection: Selection, *rules: Rule, count: int = 100) -> bool:
    return isinstance(judge(selection, *rules, count=count), Permit)


def urls(*values: str, exact: bool = True) -> ByFilter:
    return ByFilter(workflow_urls=values, exact=exact)


def label(*any_of: str, optional: bool = False) -> ValueCondition:
    return ValueCondition("label", frozenset(any_of), optional=optional)
