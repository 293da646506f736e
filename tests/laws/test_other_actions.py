"""Whatever upstream makes of an order of another action, it does nothing to what was not asked for and allowed."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import Refusal
from gateway.core.parse import Body
from gateway.core.plan import Denial, Order, Permit, order_of
from gateway.core.request import Action, ActionRequest, ByFilter, ByIds, Everything, FailedFilter, Selection
from gateway.core.run import STARTED, Resolution
from gateway.core.run import Run as Listed
from gateway.operations.operation import Asked
from gateway.operations.table import OPERATIONS, asked_by
from gateway.policy.conditions import FAILED, Condition, RunIdCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.core.strategies import NOW_MS, TEAM, policies, some
from tests.laws.calls import PATHS, Account, Reading
from tests.laws.models import MODELS
from tests.laws.orders import KINDS, READINGS, SWITCHES, deeds, thing, wanted

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
LEAST_DIRECT = 0.1
OTHERS = tuple(action for action in OPERATIONS if action is not Action.CANCEL_RUNS)

NAMES = {
    # Some are words of paths, or like another in part or but for its case.
    "dlqIds": ("d_1", "d_2", "d_1x", "D_1", "dlq", "resume", "retry", "17-0", "a.b"),
    "messageIds": ("m_1", "m_2", "m_1x", "msg_a.1", "dlq", "messages"),
    "flowControlKey": ("k", "k2", "K", "pause", "k.2"),
    "queue": ("q", "q2", "pause"),
    "schedule": ("s_1", "s_2", "resume"),
}
PREFIXES = ("d_", "d", "m_", "r", "1")
LOOKED_UP = ("dlqIds", "messageIds")
FIELDS = tuple(field for field in NAMES if any(field in OPERATIONS[action].fields for action in OTHERS))
OVERRIDDEN = {
    Action.RESUME_DLQ: (("Upstash-Retries", "3"), ("Upstash-Delay", "60s")),
    Action.RESTART_DLQ: (("Upstash-Flow-Control-Key", "k"),),
    Action.PAUSE: (("Gateway-Until", "60m"),),
}
LABELS = ("nightly", "theirs", "")


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """Everything that has a name, with any label."""
    half = len(NAMES["dlqIds"]) // 2
    kinds = {"failed": NAMES["dlqIds"][:half], "dead": NAMES["dlqIds"][half:], "messages": NAMES["messageIds"]}
    label = st.sampled_from(LABELS)
    return {
        "runs": [thing("wfr_1", draw(label))],
        **{kind: [thing(name, draw(label)) for name in names] for kind, names in kinds.items()},
    }


@st.composite
def requests(draw: st.DrawFn, action: Action) -> ActionRequest:
    """A request for the action: IDs mostly, and now and then a filter or everything."""
    return ActionRequest(*draw(selections(action)), action=action)


@st.composite
def selections(draw: st.DrawFn, action: Action) -> tuple[Selection, int]:
    operation = OPERATIONS[action]
    field = draw(st.sampled_from(operation.fields))
    if field not in SWITCHES and draw(st.integers(0, 4)) == 0:
        labels = st.sampled_from(LABELS[:2]).map(lambda label: FailedFilter(labels=(label,)))
        return draw(st.one_of(labels, st.just(Everything()))), 100
    ids = draw(some(NAMES[field], most=1 if field in SWITCHES else 4))
    return ByIds(ids, field), len(ids)


@st.composite
def rules(draw: st.DrawFn, asked: ActionRequest, number: int) -> Rule:
    """A rule as a file may have it: an `allow` of one or several actions, or a `deny`, mostly of the one asked for."""
    field = asked.selection.name if isinstance(asked.selection, ByIds) else OPERATIONS[asked.action].fields[0]
    if draw(st.integers(0, 5)) == 0:
        field = draw(st.sampled_from(FIELDS))
    others = draw(st.sets(st.sampled_from([one for one in OTHERS if field in OPERATIONS[one].fields]), min_size=1))
    near = asked.action in OTHERS and field in OPERATIONS[asked.action].fields and draw(st.integers(0, 3))
    actions = frozenset((asked.action, *others) if near else others)
    if number == 0 and draw(st.integers(0, 3)) == 0:
        return Rule("p", "deny", Effect.DENY, {field: draw(bounds(field, loose=False))}, actions=actions)
    name, resolution = f"allow-{number}", Resolution() if field in LOOKED_UP and draw(st.integers(0, 2)) == 0 else None
    if resolution is not None and actions <= FAILED and draw(st.booleans()):
        conditions: dict[str, Condition] = {"label": ValueCondition("label", frozenset(draw(some(LABELS[:2]))))}
        return Rule("p", name, Effect.ALLOW, conditions, resolution=resolution, actions=actions)
    conditions = {field: draw(bounds(field, loose=True))}
    return Rule("p", name, Effect.ALLOW, conditions, owner_unchecked=resolution is None and field in LOOKED_UP,
                resolution=resolution, actions=actions)  # fmt: skip


@st.composite
def bounds(draw: st.DrawFn, field: str, *, loose: bool) -> Condition:
    """A bound on the IDs or the name that a request names; in a `deny` it is not `loose`."""
    if loose and draw(st.integers(0, 3)) == 0:
        return (
            ValueCondition(field, any=True, optional=True)
            if field in SWITCHES
            else RunIdCondition(any=True, optional=True)
        )
    if field in SWITCHES:
        return ValueCondition(field, frozenset(draw(some(NAMES[field]))))
    return RunIdCondition(draw(st.sampled_from((None, 2))) if loose else None, draw(some(PREFIXES, most=2)))


Case = tuple[tuple[Rule, ...], ActionRequest, Account]


@st.composite
def cases(draw: st.DrawFn, action: Action) -> Case:
    asked = draw(requests(action))
    found = tuple(draw(rules(asked, number)) for number in range(draw(st.integers(1, 4))))
    return found, asked, draw(accounts())


Call = tuple[str, str, bytes]
"""A method, a target and a body."""


def as_clients_ask(asked: ActionRequest) -> list[Call]:
    """Every way in which a client may write a request of exactly these."""
    assert isinstance(asked.selection, ByIds)
    ids, field = asked.selection.ids, asked.selection.name
    query = "&".join(f"{field}={quote_plus(one)}" for one in ids)
    found: list[Call] = []
    for form in OPERATIONS[asked.action].forms:
        if form.field is None:
            found.append((form.method, f"{form.path}?{query}", b""))
            if form.method == "DELETE":
                found.append((form.method, form.path, json.dumps({field: list(ids)}).encode()))
        elif form.field == field and len(ids) == 1:
            found.append((form.method, form.at(ids[0]), b""))
    return found


def read(method: str, target: str, body: bytes = b"") -> ActionRequest | None:
    """What the gateway makes of a call; None if it refuses it, or knows no such call."""
    path, _, query = target.partition("?")
    found = asked_by(method, path)
    if found is None:
        return None
    operation, form = found
    content = Body(body, (b"application/json",) if body else (), ())
    try:
        return operation.read(form, Asked(form.named(path), query.encode(), content, lambda _: ()))
    except Refusal:
        return None


def admits(rule: Rule, asked: ActionRequest) -> bool:
    """Whether a rule is about the action and speaks of each of these IDs, said again."""
    assert isinstance(asked.selection, ByIds)
    match rule.conditions[asked.selection.name]:
        case RunIdCondition(max=most, prefix=prefix):
            near = all(not prefix or one.startswith(prefix) for one in asked.selection.ids)
            return asked.action in rule.actions and near and (most is None or len(asked.selection.ids) <= most)
        case ValueCondition(any_of=named, any=anything):
            return asked.action in rule.actions and (anything or named.issuperset(asked.selection.ids))
    return False


@settings(max_examples=300, deadline=None, derandomize=not DEEP, database=None)
@given(st.sampled_from(OTHERS).flatmap(requests))
def test_exactly_these_is_read_the_same_from_query_path_and_body(asked: ActionRequest) -> None:
    """However a client writes it; and each is an order for just these."""
    if not isinstance(asked.selection, ByIds):
        return
    found = [request for call in as_clients_ask(asked) if (request := read(*call)) is not None]
    assert found
    assert {(one.action, one.selection, one.count) for one in found} == {(asked.action, asked.selection, asked.count)}


@pytest.mark.parametrize("action", OTHERS)
def test_under_every_reading_a_direct_order_does_what_was_asked_and_allowed(action: Action) -> None:
    """For generated policies, requests and accounts; what is not asked by ID is never an order of itself."""
    tried = Counter[str]()

    @settings(max_examples=2_000 if DEEP else 150, deadline=None, derandomize=not DEEP, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(cases(action))
    def judge(case: Case) -> None:
        made, asked, account = case
        decision = decide(policies(*made), TEAM, asked, NOW_MS)
        tried[type(decision).__name__] += 1
        if not isinstance(decision, Permit):
            return
        rule = next(rule for rule in made if rule.name == decision.rule)
        assert asked.action in rule.actions
        if not isinstance(decision.effective.selection, ByIds):
            assert decision.resolution is not None
            with pytest.raises(TypeError):
                order_of(decision.effective)
            return
        if decision.resolution is not None:
            return
        tried["direct"] += 1
        assert decision.effective == asked
        assert admits(rule, asked)
        may, order = wanted(asked), order_of(decision.effective)
        assert order.headers == ()
        there = {(kind, one.run_id) for kind, things in account.items() for one in things}
        for reading in READINGS:
            done = deeds(order, account, reading)
            assert done <= may, (reading.path, reading.query.name)
            if reading.query.name not in ("first value only", "last value only"):
                assert {(deed.kind, deed.name) for deed in done} >= {(deed.kind, deed.name) for deed in may} & there

    judge()
    assert tried["direct"] >= LEAST_DIRECT * (tried["Permit"] + tried["Denial"]), tried


@pytest.mark.parametrize("action", [Action.RESUME_DLQ, Action.RESTART_DLQ, Action.PAUSE])
def test_only_what_was_asked_for_is_sent_as_a_header(action: Action) -> None:
    """An override as it was read; how long a pause lasts is for the gateway alone."""
    field = OPERATIONS[action].fields[0]
    asked = ActionRequest(ByIds(("d_1",), field), 1, action=action, overrides=OVERRIDDEN[action])
    if action is Action.PAUSE:
        assert order_of(asked).headers == ()
        return
    assert order_of(asked).headers == OVERRIDDEN[action]
    assert [order.headers for order in OPERATIONS[action].orders([listed("d_1")], asked)] == [OVERRIDDEN[action]]


def listed(name: str) -> Listed:
    """Something that a look-up found."""
    return Listed(name, "https://a.example/api", NOW_MS, STARTED)


@pytest.mark.parametrize("action", [action for action in OTHERS if action in KINDS])
@pytest.mark.parametrize("number", [0, 1, 50, 51, 130])
def test_under_every_reading_the_orders_of_a_look_up_reach_only_what_was_chosen(action: Action, number: int) -> None:
    """No reading of a list reaches another entry, or one twice; where nothing was chosen nothing is sent."""
    operation, names = OPERATIONS[action], [f"x_{at}" for at in range(2 * number + 2)]
    account = {kind: [thing(name) for name in names] for kind in KINDS[action][:1]}
    asked = ActionRequest(FailedFilter(labels=("theirs",)), 1000, action=action)
    orders = operation.orders([listed(name) for name in names[:number]], asked)
    assert bool(orders) is bool(number)
    assert all(len(order.selection.ids) <= operation.most_ids for order in orders)  # type: ignore[union-attr]
    for reading in READINGS:
        reached = [deed.name for order in orders for deed in deeds(order, account, reading)]
        assert len(set(reached)) == len(reached)
        assert set(reached) <= set(names[:number])


@pytest.mark.parametrize("action", OTHERS)
@pytest.mark.parametrize("selection", [Everything(), FailedFilter(labels=("l",)), ByFilter(labels=("l",))])
def test_no_order_can_be_made_of_anything_but_ids(action: Action, selection: Selection) -> None:
    """Neither from a request nor by hand: how upstream reads the filters of these calls is not known."""
    with pytest.raises(TypeError):
        Order(selection, 100, action)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        order_of(ActionRequest(selection, 100, action=action))


@dataclass(frozen=True)
class Wrong:
    """What a gateway would send that is wrong in one way, and the reading of it that does more than was meant."""

    bug: str
    call: str
    path: str = "as it is"
    query: str = "repeated values are OR"


OURS: Account = {
    "failed": [thing("d_ours", "nightly"), thing("d_theirs")],
    "dead": [thing("e_ours"), thing("e_theirs")],
    "messages": [thing("m_ours"), thing("m_theirs")],
}
ALLOWED = (
    Rule("p", "dlq", Effect.ALLOW, {"dlqIds": RunIdCondition(prefix=("d_ours", "e_ours"))}, owner_unchecked=True,
         actions=frozenset(action for action in OTHERS if "dlqIds" in OPERATIONS[action].fields)),
    Rule("p", "messages", Effect.ALLOW, {"messageIds": RunIdCondition(prefix=("m_ours",))}, owner_unchecked=True,
         actions=frozenset((Action.CANCEL_MESSAGES,))),
    *(Rule("p", field, Effect.ALLOW, {field: ValueCondition(field, frozenset(("ours", "a b")))},
           actions=frozenset((Action.PAUSE, Action.RESUME))) for field in SWITCHES),
)  # fmt: skip
MEANT = {"d_ours", "e_ours", "m_ours", "ours"}
WRONG = (
    Wrong("a filter is sent on, and means other things there", "POST /v2/workflows/dlq/restart?host=ours&count=100"),
    Wrong("nothing selects", "DELETE /v2/workflows/dlq?count=100"),
    Wrong("an empty list is sent", "DELETE /v2/messages"),
    Wrong("the first ID is judged", "DELETE /v2/messages?messageIds=m_ours&messageIds=m_theirs"),
    Wrong("the first ID is judged", "DELETE /v2/dlq?dlqIds=e_ours&dlqIds=e_theirs", query="last value only"),
    Wrong("a comma is part of an ID", "POST /v2/dlq/retry?dlqIds=e_ours,e_theirs", query="commas split"),
    Wrong("an escape is part of an ID", "DELETE /v2/dlq?dlqIds=e_ours%252Ce_theirs", query="decoded twice"),
    Wrong("a bad escape is sent on", "POST /v2/workflows/dlq/resume?dlqIds=d_ours%zz", query="bad pairs dropped"),
    Wrong("names are compared by their case", "POST /v2/workflows/dlq/resume?DLQIDS=d_theirs",
          query="names case-folded"),
    Wrong("an empty value is sent on", "DELETE /v2/workflows/dlq?dlqIds=", query="empty value is no filter"),
    Wrong("a filter stands beside IDs", "DELETE /v2/workflows/dlq?dlqIds=d_ours&label=theirs",
          query="run IDs and filters join"),
    Wrong("count is taken for a bound", "DELETE /v2/messages?count=1", query="count is ignored"),
    Wrong("a pause is sent for an ID that was not judged", "POST /v2/flowControl/theirs/pause"),
    Wrong("an empty ID in the path", "DELETE /v2/messages/"),
    Wrong("an escaped ID in the path", "DELETE /v2/dlq/e%5Ftheirs", path="unescaped"),
    Wrong("an ID escaped twice", "DELETE /v2/dlq/e%255Ftheirs", path="unescaped twice"),
    Wrong("an ID is spliced in as it is", "DELETE /v2/messages/../dlq", path="dots resolved"),
    Wrong("a key is spliced in as it is", "POST /v2/flowControl/ours/../theirs/pause", path="dots resolved"),
    Wrong("a semicolon is part of an ID", "DELETE /v2/dlq/e_theirs;e_ours", path="without its end after a semicolon"),
    Wrong("a plus is part of a name", "POST /v2/queues/the+irs/pause", path="plus is a space"),
)  # fmt: skip


def does(method: str, target: str, reading: Reading) -> set[str]:
    """The names of what such a server does something to that is not meant."""
    return {deed.name for deed in reading.deeds(method, target, OURS)} - MEANT


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.bug}: {wrong.call}")
def test_a_wrong_gateway_is_seen_and_ours_is_not_like_it(wrong: Wrong) -> None:
    """What it sends reaches something of others under one reading; ours sends nothing that does so under any."""
    method, _, target = wrong.call.partition(" ")
    [model] = [model for model in MODELS if model.name == wrong.query]
    assert does(method, target, Reading(wrong.path, model))
    asked = read(method, target)
    decision = None if asked is None else decide(policies(*ALLOWED), TEAM, asked, NOW_MS)
    if isinstance(decision, Permit):
        method, target = OPERATIONS[decision.effective.action].target(order_of(decision.effective))
        assert not any(does(method, target, reading) for reading in READINGS)
    else:
        assert decision is None or isinstance(decision, Denial)


def test_every_reading_of_a_path_is_needed() -> None:
    """Each sees a wrong gateway that reading the path as it is does not see."""
    assert {wrong.path for wrong in WRONG} == set(PATHS)
    plain = [wrong for wrong in WRONG if wrong.path != "as it is"]
    for wrong in plain:
        method, _, target = wrong.call.partition(" ")
        assert does(method, target, Reading("as it is", MODELS[0])) <= {target.rpartition("/")[2], "the+irs"}
