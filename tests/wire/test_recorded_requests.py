"""Every request that official clients were recorded to send is read in the one right way.

The table is written by hand from upstream's documentation: the method, target and body, and what they ask for.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.core.errors import MalformedRequest
from gateway.core.parse import Body
from gateway.core.request import ActionRequest, ByFilter, ByIds, Dialect, Everything
from gateway.edge.head import Head, check_head
from gateway.operations.calls.cancel_runs import RUNS, parse_cancel, parse_single_cancel
from gateway.operations.table import asked_by
from tests.support.files import recorded


@dataclass(frozen=True)
class Malformed:
    """Refused, with this word for the record."""

    cause: str


@dataclass(frozen=True)
class AnotherCall:
    """No cancel: its path is not ours."""


Reading = ActionRequest | Malformed | AnotherCall

EVERYTHING = ActionRequest(Everything(), 100)
EVERYTHING_BODY = ActionRequest(Everything(), 100, Dialect.BODY)


def ids(*run_ids: str, dialect: Dialect = Dialect.QUERY) -> ActionRequest:
    return ActionRequest(ByIds(run_ids), len(run_ids), dialect)


def exact(*urls: str, count: int = 100) -> ActionRequest:
    return ActionRequest(ByFilter(workflow_urls=urls, exact=True), count)


def prefix(url: str, dialect: Dialect = Dialect.QUERY) -> ActionRequest:
    return ActionRequest(ByFilter(workflow_urls=(url,)), 100, dialect)


def labelled(*labels: str) -> ActionRequest:
    return ActionRequest(ByFilter(labels=labels), 100)


HUNDRED_IDS = tuple(f"wfr_{number:021d}" for number in range(100))
ALL_FIELDS = ByFilter(
    workflow_urls=("https://app.example.com/wf",),
    exact=True,
    caller_ips=("10.0.0.1",),
    flow_control_keys=("k",),
    labels=("l",),
    from_date=1_700_000_000_000,
    to_date=1_700_000_001_000,
)
APP = "https%3A%2F%2Fapp.example.com%2F"

# fmt: off
READINGS: dict[tuple[str, str], Reading] = {
    # Run IDs
    (f"{RUNS}?workflowRunIds=a&workflowRunIds=b", ""): ids("a", "b"),
    (f"{RUNS}?workflowRunIds=wfr_1", ""): ids("wfr_1"),
    (f"{RUNS}?workflowRunIds=wfr_1&workflowRunIds=wfr_2", ""): ids("wfr_1", "wfr_2"),
    (f"{RUNS}?" + "&".join(f"workflowRunIds={run_id}" for run_id in HUNDRED_IDS), ""): ids(*HUNDRED_IDS),
    (RUNS, '{"workflowRunIds":["wfr_1"]}'): ids("wfr_1", dialect=Dialect.BODY),
    (RUNS, '{"workflowRunIds":["wfr_1","wfr_2"]}'): ids("wfr_1", "wfr_2", dialect=Dialect.BODY),
    # Filters
    (f"{RUNS}?fromDate=1700000000000&toDate=1700000001000&count=100", ""):
        ActionRequest(ByFilter(from_date=1_700_000_000_000, to_date=1_700_000_001_000), 100),
    ((f"{RUNS}?label=l&fromDate=1700000000000&toDate=1700000001000&callerIp=10.0.0.1&flowControlKey=k"
      f"&workflowUrl={APP}wf&workflowUrlExactMatch=true&count=5"), ""): ActionRequest(ALL_FIELDS, 5),
    (f"{RUNS}?label=l1&label=l2&count=100", ""): labelled("l1", "l2"),
    (f"{RUNS}?label=x&count=100", ""): labelled("x"),
    (f"{RUNS}?workflowUrl={APP}api%2Fwf&workflowUrlExactMatch=true&count=100", ""):
        exact("https://app.example.com/api/wf"),
    ((f"{RUNS}?workflowUrl=https%3A%2F%2Fa.example%2Fx&workflowUrl=https%3A%2F%2Fb.example%2Fy"
      "&workflowUrlExactMatch=true&count=100"), ""): exact("https://a.example/x", "https://b.example/y"),
    (f"{RUNS}?workflowUrl={APP}&count=100", ""): prefix("https://app.example.com/"),
    (f"{RUNS}?workflowUrl={APP}api&count=100", ""): prefix("https://app.example.com/api"),
    (RUNS, '{"workflowUrl":"https://app.example.com/api"}'): prefix("https://app.example.com/api", Dialect.BODY),
    # Everything, mostly by accident
    (f"{RUNS}?count=100", ""): EVERYTHING,
    (f"{RUNS}?count=50", ""): ActionRequest(Everything(), 50),
    (RUNS, "{}"): EVERYTHING_BODY,
    # Malformed, though upstream would find something to cancel in each
    (f"{RUNS}?workflowRunIds=", ""): Malformed("empty_value"),
    (f"{RUNS}?label=&count=100", ""): Malformed("empty_value"),
    (f"{RUNS}?workflowRunIds=wfr+a%26b%3Dc%2F%C3%A9", ""): Malformed("value"),
    (f"{RUNS}?count=0", ""): Malformed("value"),
    (f"{RUNS}?host=h&async=true&count=100", ""): Malformed("unknown_parameter"),
    (f"{RUNS}?label=l&count=100&cursor=c1", ""): Malformed("unknown_parameter"),
    (f"{RUNS}?workflowRunId=wfr_1&count=100", ""): Malformed("unknown_parameter"),
    (f"{RUNS}?workflowUrl=https%3A%2F%2Fa.example%2Fx%3Fi%3D1%2C2&workflowUrlExactMatch=true&count=100", ""):
        Malformed("comma"),
    # One run in the path, or what a client writes there that was given none
    (f"{RUNS}/wfr_life?cancel=true", ""): ids("wfr_life"),
    (f"{RUNS}/undefined?cancel=true", ""): AnotherCall(),
}
# fmt: on


def values(request: dict, wanted: str) -> tuple[bytes, ...]:
    return tuple(value.encode() for name, value in request["headers"] if name.lower() == wanted)


def read(request: dict) -> Reading:
    """What the gateway makes of a recorded request, by the bytes of its target, headers and body."""
    path, _, query = request["target"].partition("?")
    found = asked_by(request["method"], path)
    if found is None:
        return AnotherCall()
    run_id = found[1].named(path) if path != RUNS else None
    content = Body(request["body"].encode(), values(request, "content-type"), values(request, "content-encoding"))
    try:
        if run_id is not None:
            return parse_single_cancel(run_id, query.encode("ascii"), content)
        return parse_cancel(query.encode("ascii"), content)
    except MalformedRequest as malformed:
        return Malformed(malformed.cause)


@pytest.mark.parametrize("request_", recorded(), ids=lambda item: f"{item['call'][:60]}@{item['versions'][0]}")
def test_a_recorded_request_has_the_one_right_reading(request_: dict) -> None:
    """Run IDs, a filter, everything, malformed or another call: as the table says, dialect included."""
    assert request_["method"] == "DELETE"
    expected = READINGS[(request_["target"], request_["body"])]
    found = read(request_)
    assert found == expected
    if isinstance(found, ActionRequest) and isinstance(expected, ActionRequest):
        assert found.dialect is expected.dialect


@pytest.mark.parametrize("request_", recorded(), ids=lambda item: f"{item['call'][:60]}@{item['versions'][0]}")
def test_the_head_of_a_recorded_request_is_not_refused(request_: dict) -> None:
    """What official clients send besides the target never stands in a request's way."""
    headers = [(name.lower().encode(), value.encode()) for name, value in request_["headers"]]
    check_head(Head(b"DELETE", request_["target"].encode(), "1.1", ((b"host", b"gateway.example"), *headers)))


def test_every_line_of_the_table_was_recorded() -> None:
    """The table holds no request that no client sends, so none of it is dead."""
    assert {(request["target"], request["body"]) for request in recorded()} == set(READINGS)
