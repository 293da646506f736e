"""The target `call`: a call that asks for another action, read and rendered; it is ordered by IDs, or not at all."""

from __future__ import annotations

import re

from gateway.core.errors import Refusal
from gateway.core.parse import Body
from gateway.core.plan import Denial, Order, order_of
from gateway.core.request import Action, ActionRequest, ByIds
from gateway.edge.head import check_head
from gateway.operations.operation import Asked
from gateway.operations.overrides import NAMES
from gateway.operations.table import OPERATIONS, asked_by
from gateway.policy.conditions import RunIdCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.laws.calls import Account
from tests.laws.orders import READINGS, SWITCHES, deeds, thing, wanted
from tests.reliability.fuzz.forward import EVERYONE, MOST_NEAR, NOW_MS, TEAM
from tests.reliability.fuzz.heads import check_refusal, head_of

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[ -~]{1,1000}")


def _widest() -> Policies:
    others = {action: one for action, one in OPERATIONS.items() if action is not Action.CANCEL_RUNS}
    rules = []
    for field in dict.fromkeys(field for one in others.values() for field in one.fields):
        about = frozenset(action for action, one in others.items() if field in one.fields)
        wide = (
            ValueCondition(field, any=True, optional=True)
            if field in SWITCHES
            else RunIdCondition(any=True, optional=True)
        )
        rules.append(Rule("p", field, Effect.ALLOW, {field: wide}, owner_unchecked=True, teams=EVERYONE, actions=about))
    return Policies(tuple(rules), "0" * 64)


BY_ID = _widest()
"""Everything by ID is allowed to everyone, and nothing else."""


def check_call(data: bytes) -> None:
    """A request line and headers, a line each, and behind an empty line a body."""
    above, _, content = data.partition(b"\n\n")
    head = head_of(above)
    if not all(_TOKEN.fullmatch(name) for name, _ in head.headers):
        return  # the parser of HTTP refuses it
    try:
        check_head(head)
    except Refusal as refusal:
        check_refusal(refusal)
        return
    path, _, query = head.target.partition(b"?")
    found = asked_by(head.method.decode("latin-1"), path.decode("ascii"))
    if found is None or found[0].action is Action.CANCEL_RUNS:
        return
    operation, form = found
    body = Body(content, tuple(head.values(b"content-type")), tuple(head.values(b"content-encoding")))
    try:
        named = form.named(path.decode("ascii"))
        request = operation.read(form, Asked(named, query, body, head.values, head.headers))
    except Refusal as refusal:
        check_refusal(refusal)
        return
    check_order(request)


def check_order(request: ActionRequest) -> None:
    """Exactly what is named is ordered, in a canonical call; of anything else no order can be made, and no rule is."""
    if not isinstance(request.selection, ByIds):
        assert isinstance(decide(BY_ID, TEAM, request, NOW_MS), Denial)
        check_no_order(request)
        return
    order = order_of(request)
    check_reads_back(order)
    check_headers(order)
    account = near(request.selection)
    may = wanted(request)
    for reading in READINGS:
        assert deeds(order, account, reading) <= may, reading


def check_no_order(request: ActionRequest) -> None:
    """What was not named by ID cannot be sent."""
    try:
        order_of(request)
    except TypeError:
        return
    raise AssertionError(request)


def check_reads_back(order: Order) -> None:
    """What is sent, read as a request of a caller, asks for the same."""
    method, target = OPERATIONS[order.action].target(order)
    assert re.fullmatch(r"/[A-Za-z0-9/._~?&=%-]+", target), target
    path, _, query = target.partition("?")
    found = asked_by(method, path)
    assert found is not None, target
    asked = Asked(found[1].named(path), query.encode("ascii"), Body(), lambda _: (), ())
    again = found[0].read(found[1], asked)
    assert (again.action, again.selection) == (order.action, order.selection)


def check_headers(order: Order) -> None:
    """Only overrides are sent, each once and in printable ASCII, and only where something is started again."""
    names = [name for name, _ in order.headers]
    assert len(set(names)) == len(names)
    assert set(names) <= set(NAMES) - {"Upstash-Label", "Upstash-Failure-Callback"}
    assert not names or order.action in (Action.RESUME_DLQ, Action.RESTART_DLQ)
    assert all(_VALUE.fullmatch(value) for _, value in order.headers), order.headers


def near(selection: ByIds) -> Account:
    """Things whose names are those that were asked for, or near to them, of every kind."""
    asked = [name + tail for name in selection.ids[:MOST_NEAR] for tail in ("", "x")]
    names = [*asked, *(name[:-1] for name in selection.ids[:MOST_NEAR] if name[1:]), "d_1", "pause"]
    things = [thing(name, label) for name in dict.fromkeys(names) for label in ("nightly",)]
    return {"runs": [thing("wfr_1")], "failed": things, "dead": things, "messages": things}
