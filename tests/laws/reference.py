"""Which runs a rule is about, said a second time: over runs and without a request, apart from the code under test."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.policy.conditions import (
    Condition,
    CreatedCondition,
    PathCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.model import Rule


@dataclass(frozen=True)
class Run:
    """A running workflow run, as upstream knows it; `created_ms` in Unix milliseconds."""

    run_id: str
    url: str
    label: str
    flow_control_key: str
    caller_ip: str
    created_ms: int


def inside(rule: Rule, run: Run, now_ms: int) -> bool:
    """Whether the run is one of those that the rule speaks about; what the rule does not mention bounds nothing."""
    return all(condition_holds(field, condition, run, now_ms) for field, condition in rule.conditions.items())


def condition_holds(field: str, condition: Condition, run: Run, now_ms: int) -> bool:
    """One field's bound on one run. An optional field bounds the run only where the request carried it."""
    if isinstance(condition, UrlCondition):
        return condition.any or run.url in condition.exact or any(below(run.url, top) for top in condition.prefix)
    if isinstance(condition, RunIdCondition):
        return not condition.prefix or any(run.run_id[: len(top)] == top for top in condition.prefix)
    if isinstance(condition, CreatedCondition):
        return condition.within_last_ms is None or now_ms - run.created_ms <= condition.within_last_ms
    assert isinstance(condition, ValueCondition)
    if isinstance(condition, PathCondition) and any(below(member(field, run), top) for top in condition.prefix):
        return True
    return condition.any or member(field, run) in condition.any_of


def below(url: str, top: str) -> bool:
    """At the top or in its subtree: the path segments of `top` are the first segments of `url`."""
    wanted, found = top.split("/"), url.split("/")
    if wanted[-1] == "":
        return len(found) >= len(wanted) and found[: len(wanted) - 1] == wanted[:-1]
    return found[: len(wanted)] == wanted


def member(field: str, run: Run) -> str:
    """The run's value of a list field, by its wire name."""
    place = urlsplit(run.url)
    of_url = {"host": place.netloc, "path": place.path}
    return {"label": run.label, "flowControlKey": run.flow_control_key, "callerIp": run.caller_ip, **of_url}[field]
