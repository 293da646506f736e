"""Rules and requests about every action, made by what each action has, from small pools so that they often meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from gateway.core.request import Action, ActionRequest, ByIds, Everything, FailedFilter, Selection
from gateway.core.run import Run
from gateway.policy.conditions import FAILED, PAUSED, Condition, RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.model import Effect, Rule
from tests.core.populations import resolutions, resolving, runs
from tests.core.strategies import (
    EXACT_URLS,
    NOW_MS,
    POOLS,
    PREFIXES,
    RUN_IDS,
    SPANS_MS,
    allows,
    bounds,
    count_conditions,
    counted,
    denies,
    overlaps,
    requests,
    requires,
    some,
)

ITEMS = ("e-1", "e-2", "own-1", "own-2", "x")
PREFIXED = ("e-", "own-", "own", "x")
NAMES = ("k", "k2", "mail", "x")
ID_LISTS = {
    **dict.fromkeys(sorted(FAILED), "dlqIds"),
    Action.DELETE_MESSAGE_DLQ: "dlqIds",
    Action.RETRY_MESSAGE_DLQ: "dlqIds",
    Action.CANCEL_MESSAGES: "messageIds",
}
FILTERS = ("workflowUrl", "label", "flowControlKey", "callerIp", "created", "workflowRunId")
OVERRIDES = ((), (), (("Upstash-Retries", "2"),), (("Upstash-Flow-Control-Key", "k"),))

actions = st.sampled_from([*Action])


@st.composite
def _bound(draw: st.DrawFn, field: str, effect: Effect) -> Condition:
    if field == "workflowRunId":
        listed = frozenset(draw(some(RUN_IDS)))
        loose = effect is not Effect.DENY and draw(st.integers(0, 3)) == 0
        return ValueCondition(field, listed, optional=loose)
    return draw(overlaps(field) if effect is Effect.DENY else bounds(field))


@st.composite
def _named(draw: st.DrawFn, field: str, effect: Effect) -> Condition:
    if field in PAUSED:
        anything = effect is Effect.ALLOW and draw(st.integers(0, 4)) == 0
        return ValueCondition(field, frozenset(() if anything else draw(some(NAMES))), any=anything, optional=anything)
    prefix = draw(some(PREFIXED)) if effect is Effect.DENY or draw(st.booleans()) else ()
    return RunIdCondition(None if effect is Effect.DENY else draw(st.sampled_from((None, 1, 3))), prefix)


@st.composite
def acting(draw: st.DrawFn, action: Action, effect: Effect, name: str = "r") -> Rule:
    """A rule about an action, and perhaps about others that have the same fields."""
    if action is Action.CANCEL_RUNS:
        made = {Effect.ALLOW: allows, Effect.DENY: denies, Effect.REQUIRE: requires}[effect](name)
        return replace(draw(made.flatmap(resolving)), overrides=False)
    conditions, resolution = draw(_conditions(action, effect)), None
    if effect is Effect.ALLOW and action in FAILED and ("dlqIds" not in conditions or draw(st.booleans())):
        resolution = draw(resolutions)
        if "dlqIds" in conditions:
            conditions |= {"workflowUrl": UrlCondition(prefix=draw(some(PREFIXES)))}
    alike = FAILED if action in FAILED else {action}
    named = {action, *draw(st.sets(st.sampled_from(sorted(alike)), max_size=2))}
    paused = action in (Action.PAUSE, Action.RESUME)
    return Rule(
        "p",
        name,
        effect,
        conditions,
        None if effect is Effect.DENY or paused else draw(count_conditions()),
        resolution=resolution,
        actions=frozenset(named),
        overrides=effect is Effect.ALLOW and draw(st.booleans()),
    )


@st.composite
def _conditions(draw: st.DrawFn, action: Action, effect: Effect) -> dict[str, Condition]:
    if effect is not Effect.ALLOW and draw(st.integers(0, 3)) == 0:
        return {}
    if action in (Action.PAUSE, Action.RESUME):
        field = draw(st.sampled_from(PAUSED))
        return {field: draw(_named(field, effect))}
    if action in FAILED and draw(st.booleans()):
        fields = draw(st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3, unique=True))
        return {field: draw(_bound(field, effect)) for field in fields}
    field = ID_LISTS[action]
    return {field: draw(_named(field, effect))}


@st.composite
def asking(draw: st.DrawFn, action: Action) -> ActionRequest:
    """A request for the action: by IDs, by a filter if it has any, or for everything."""
    if action is Action.CANCEL_RUNS:
        return draw(requests())
    selection = draw(_selection(action))
    overrides = draw(st.sampled_from(OVERRIDES)) if action in (Action.RESUME_DLQ, Action.RESTART_DLQ) else ()
    read = counted(selection, draw(st.sampled_from((1, 3, 50))))
    return ActionRequest(read.selection, read.count, action=action, overrides=overrides)


@st.composite
def _selection(draw: st.DrawFn, action: Action) -> Selection:
    if action in (Action.PAUSE, Action.RESUME):
        return ByIds((draw(st.sampled_from(NAMES)),), draw(st.sampled_from(PAUSED)))
    kind = draw(st.sampled_from(("ids", "ids", "filter", "filter", "everything")))
    if kind == "everything":
        return Everything()
    if kind == "ids" or action not in FAILED:
        return ByIds(draw(some(ITEMS, most=4)), ID_LISTS[action])
    return draw(failed())


@st.composite
def failed(draw: st.DrawFn) -> FailedFilter:
    """A filter of entries of the dead letter queue."""
    members: dict[str, object] = {}
    for field in draw(st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3, unique=True)):
        match field:
            case "workflowUrl":
                members |= {"workflow_urls": draw(some(EXACT_URLS)), "exact": True}
            case "created":
                members |= {"from_date": NOW_MS - draw(st.sampled_from(SPANS_MS)), "to_date": NOW_MS}
            case "workflowRunId":
                members["failed_run_ids"] = draw(some(RUN_IDS))
            case _:
                name = {"label": "labels", "flowControlKey": "flow_control_keys", "callerIp": "caller_ips"}[field]
                members[name] = draw(some(POOLS[field]))
    return FailedFilter(**members)  # type: ignore[arg-type]


@st.composite
def entries(draw: st.DrawFn) -> Run:
    """An entry of the dead letter queue."""
    made = draw(runs(draw(st.sampled_from(ITEMS)), Everything()))
    return replace(made, failed_run_id=draw(st.sampled_from((None, *RUN_IDS))))


@st.composite
def rules_of(draw: st.DrawFn, action: Action, effect: Effect, most: int = 8) -> Sequence[Rule]:
    """Rules about the action, each under a name of its own, for every team."""
    made = draw(st.lists(acting(action, effect), max_size=most))
    return [replace(rule, id=f"{effect.value}-{number}", teams=frozenset("*")) for number, rule in enumerate(made)]
