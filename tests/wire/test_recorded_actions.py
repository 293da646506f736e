"""Every recorded request of the calls that destroy is read in the one right way, or is none that the gateway passes.

The table is written by hand from upstream's documentation: the method, target and body, and what they ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from gateway.core.errors import MalformedRequest
from gateway.core.parse import Body
from gateway.core.request import Action, ActionRequest, ByIds, Dialect, Everything, FailedFilter
from gateway.edge.head import Head, check_head
from gateway.operations.operation import Asked
from gateway.operations.table import OPERATIONS, asked_by
from gateway.operations.vendor import Treatment, call_of
from tests.support.files import recorded_actions

REQUESTS = recorded_actions()


@dataclass(frozen=True)
class Malformed:
    """Refused, with this word for the record."""

    cause: str


@dataclass(frozen=True)
class NotAsked:
    """No action: the call is shown to a team, or refused with a sentence that says what to do instead."""

    treatment: Treatment


Reading = ActionRequest | Malformed | NotAsked

SHOWN, REFUSED = NotAsked(Treatment.SHOWN), NotAsked(Treatment.REFUSED)
RETRIES = ("Upstash-Retries", "3")
FLOW = (("Upstash-Flow-Control-Key", "k"), ("Upstash-Flow-Control-Value", "parallelism=1"))


def ids(action: str, *named: str, dialect: Dialect = Dialect.QUERY, **more: Any) -> ActionRequest:
    """A request for exactly these entries or messages."""
    field = {"cancel_runs": "workflowRunIds", "cancel_messages": "messageIds"}.get(action, "dlqIds")
    return ActionRequest(ByIds(named, field), len(named), dialect, action=Action(action), **more)


def one(action: str, field: str, name: str) -> ActionRequest:
    """A request for what the path names."""
    return ActionRequest(ByIds((name,), field), 1, action=Action(action), in_path=True)


def everything(action: str) -> ActionRequest:
    """An accident: nothing selects."""
    return ActionRequest(Everything(), 100, action=Action(action))


def failed(action: str, **fields: Any) -> ActionRequest:
    """A filter of failed runs."""
    return ActionRequest(FailedFilter(**fields), 100, action=Action(action))


URL = "https%3A%2F%2Fa.example%2Fx"
DLQ = "/v2/workflows/dlq"
# fmt: off
READINGS: dict[tuple[str, str, str], Reading] = {
    ("DELETE", "/v2/workflows/runs?workflowRunIds=wfr_1", ""): ids("cancel_runs", "wfr_1"),
    # Failed runs
    ("GET", f"/v2/dlq?workflowUrl={URL}&label=l&source=workflow", ""): SHOWN,
    ("DELETE", f"{DLQ}?dlqIds=d1", ""): ids("delete_dlq", "d1"),
    ("DELETE", f"{DLQ}?label=l&count=100", ""): failed("delete_dlq", labels=("l",)),
    ("DELETE", f"{DLQ}?count=100", ""): everything("delete_dlq"),
    ("DELETE", f"{DLQ}?workflowUrl={URL}&count=100", ""):
        failed("delete_dlq", workflow_urls=("https://a.example/x",), exact=True),
    ("POST", f"{DLQ}/resume?dlqIds=d1", ""): ids("resume_dlq", "d1"),
    ("POST", f"{DLQ}/resume?label=l&count=100", ""): failed("resume_dlq", labels=("l",)),
    ("POST", f"{DLQ}/resume?count=100", ""): everything("resume_dlq"),
    ("POST", f"{DLQ}/restart?count=100", ""): everything("restart_dlq"),
    ("POST", f"{DLQ}/restart?dlqIds=d1", ""): ids("restart_dlq", "d1"),
    ("POST", f"{DLQ}/callback/d1", ""): REFUSED,
    # Events
    ("POST", "/v2/notify/wfr_1/e1", '{"a":1}'): REFUSED,
    ("GET", "/v2/waiters/e1", ""): REFUSED,
    # Messages
    ("DELETE", "/v2/messages/m", ""): one("cancel_messages", "messageIds", "m"),
    ("DELETE", "/v2/messages?messageIds=m1&messageIds=m2", ""): ids("cancel_messages", "m1", "m2"),
    ("DELETE", "/v2/messages?count=100", ""): everything("cancel_messages"),
    ("DELETE", "/v2/messages", '{"messageIds": []}'): Malformed("body_shape"),
    # The DLQ of messages
    ("GET", "/v2/dlq", ""): SHOWN,
    ("DELETE", "/v2/dlq/d", ""): one("delete_message_dlq", "dlqIds", "d"),
    ("DELETE", "/v2/dlq?dlqIds=d1&dlqIds=d2", ""): ids("delete_message_dlq", "d1", "d2"),
    ("DELETE", "/v2/dlq", '{"dlqIds": ["d1", "d2"]}'): ids("delete_message_dlq", "d1", "d2", dialect=Dialect.BODY),
    ("DELETE", "/v2/dlq?dlqIds=d1", ""): ids("delete_message_dlq", "d1"),
    ("DELETE", "/v2/dlq?count=100", ""): everything("delete_message_dlq"),
    ("POST", "/v2/dlq/retry?count=100", ""): everything("retry_message_dlq"),
    ("POST", "/v2/dlq/retry?label=l&count=100", ""): Malformed("unknown_parameter"),
    # What can be paused and removed
    ("PATCH", "/v2/schedules/s1/resume", ""): one("resume", "schedule", "s1"),
    ("PATCH", "/v2/schedules/s/pause", ""): one("pause", "schedule", "s"),
    ("POST", "/v2/queues/qn/resume", ""): one("resume", "queue", "qn"),
    ("POST", "/v2/queues/qn/pause", ""): one("pause", "queue", "qn"),
    ("POST", "/v2/flowControl/k/pause", ""): one("pause", "flowControlKey", "k"),
    ("POST", "/v2/flowControl/k/resume", ""): one("resume", "flowControlKey", "k"),
    ("POST", "/v2/flowControl/k/unpin?parallelism=true", ""): REFUSED,
    ("POST", "/v2/flowControl/k/resetRate", ""): REFUSED,
    ("GET", "/v2/flowControl/k", ""): REFUSED,
    ("DELETE", "/v2/schedules/s1", ""): REFUSED,
    ("DELETE", "/v2/schedules/s", ""): REFUSED,
    ("DELETE", "/v2/queues/qn", ""): REFUSED,
    ("DELETE", "/v2/topics/g", ""): REFUSED,
    ("POST", "/v2/keys/rotate", ""): REFUSED,
}
# fmt: on
OVERRIDES = {"upstash-retries": RETRIES, **{name.lower(): (name, value) for name, value in FLOW}}


def key_of(request: dict[str, Any]) -> tuple[str, str, str]:
    """The line of the table that a recorded request belongs to."""
    return request["method"], request["target"], request["body"]


def values(request: dict[str, Any], wanted: str) -> tuple[bytes, ...]:
    """Every value of a header, by its name in lower case."""
    return tuple(value.encode() for name, value in request["headers"] if name.lower() == wanted)


def read(request: dict[str, Any]) -> Reading:
    """What the gateway makes of a recorded request, by its method and the bytes of its target, headers and body."""
    path, _, query = request["target"].partition("?")
    found = asked_by(request["method"], path)
    if found is None:
        call = call_of(request["method"], path)
        assert call is not None
        return NotAsked(call.treatment)
    operation, form = found
    content = Body(request["body"].encode(), values(request, "content-type"), values(request, "content-encoding"))
    headers = [(name.lower().encode(), value.encode()) for name, value in request["headers"]]
    asked = Asked(
        form.named(path), query.encode("ascii"), content, lambda name: values(request, name.decode()), headers
    )
    try:
        return operation.read(form, asked)
    except MalformedRequest as malformed:
        return Malformed(malformed.cause)


def named(request: dict[str, Any]) -> str:
    return f"{request['call'][:60]}@{request['versions'][0]}"


@pytest.mark.parametrize("request_", REQUESTS, ids=named)
def test_a_recorded_request_has_the_one_right_reading(request_: dict[str, Any]) -> None:
    """IDs, a filter, everything, malformed or no action: as the table says, dialect, place and headers included."""
    expected, found = READINGS[key_of(request_)], read(request_)
    assert isinstance(found, ActionRequest) == isinstance(expected, ActionRequest), found
    if not (isinstance(expected, ActionRequest) and isinstance(found, ActionRequest)):
        assert found == expected
        return
    assert (found.action, found.selection, found.count) == (expected.action, expected.selection, expected.count)
    assert (found.dialect, found.in_path) == (expected.dialect, expected.in_path)
    sent = [OVERRIDES[name] for name, _ in request_["headers"] if name in OVERRIDES]
    assert sorted(found.overrides) == sorted(sent)


@pytest.mark.parametrize("request_", REQUESTS, ids=named)
def test_the_head_of_a_recorded_request_is_not_refused(request_: dict[str, Any]) -> None:
    """What official clients send besides the target never stands in a request's way."""
    if isinstance(READINGS[key_of(request_)], NotAsked):
        return
    headers = [(name.lower().encode(), value.encode()) for name, value in request_["headers"]]
    target = request_["target"].encode()
    check_head(Head(request_["method"].encode(), target, "1.1", ((b"host", b"gateway.example"), *headers)))


def test_every_line_of_the_table_was_recorded() -> None:
    """The table holds no request that no client sends, so none of it is dead."""
    assert {key_of(request) for request in REQUESTS} == set(READINGS)


def test_every_action_was_recorded() -> None:
    """So the table says of each how a client asks for it."""
    asked = {reading.action for reading in READINGS.values() if isinstance(reading, ActionRequest)}
    assert asked == set(OPERATIONS) == set(Action)
