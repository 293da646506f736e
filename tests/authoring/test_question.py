"""A question is read by the reader of requests, whichever way it is written."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given

from gateway.authoring.question import from_line, from_wire
from gateway.core.errors import MalformedRequest
from gateway.core.forms.times import instant_ms
from gateway.core.parse import Body
from gateway.core.request import ActionRequest, ByIds, Everything
from gateway.operations.calls.cancel_runs import parse_cancel
from tests.core.strategies import requests


@given(requests())
def test_a_recorded_request_is_rebuilt_as_it_was(request: ActionRequest) -> None:
    """What the record keeps in `asked` is all that the judgement needs."""
    assert from_wire(request.wire()) == request


@given(requests())
def test_every_way_to_write_a_request_line_reads_the_same(request: ActionRequest) -> None:
    """Request line, target and bare query are what the gateway itself would read."""
    pairs = [
        *request.selection.pairs(),
        *([] if isinstance(request.selection, ByIds) else [("count", request.count)]),
    ]
    query = urlencode(pairs, quote_via=quote, safe="")
    target = f"/v2/workflows/runs?{query}"
    read = parse_cancel(query.encode(), Body())
    for text in (query, f"?{query}", target, f"DELETE {target}", f"DELETE {target} HTTP/1.1"):
        assert from_line(text) == read


@pytest.mark.parametrize("query", ["", "?", "?cancel=true"])
def test_a_run_in_the_path_is_the_question_about_its_id(query: str) -> None:
    """As the gateway reads it; a body beside it is as malformed as there."""
    target = f"/v2/workflows/runs/wfr_1{query}"
    for text in (target, f"DELETE {target}", f"DELETE {target} HTTP/1.1"):
        assert from_line(text) == from_line("workflowRunIds=wfr_1")
    with pytest.raises(MalformedRequest):
        from_line(target, body=b"{}")


@pytest.mark.parametrize("text", ["", "DELETE /v2/workflows/runs", "/v2/workflows/runs?"])
def test_a_request_without_anything_is_everything(text: str) -> None:
    """Nothing named is every run, here as on the wire."""
    assert from_line(text).selection == Everything()


@pytest.mark.parametrize(
    "text",
    [
        "GET /v2/workflows/runs?label=x", "DELETE /v2/workflows/runs/?label=x", "DELETE /v2/queues/q", "label",
        "label=x y", "delete /v2/workflows/runs", "DELETE /v2/workflows/runs?label=x HTTP/2",
        "https://gw/v2/workflows/runs?label=x", "DELETE /v2/workflows/runs?Label=x", "label=x&count=01",
        "GET /v2/workflows/runs/wfr_1", "/v2/workflows/runs/..", "/v2/workflows/runs/undefined",
        "/v2/workflows/runs/a/b", "/v2/workflows/runs/wfr_1?cancel=false", "/v2/workflows/runs/wfr_1?count=1",
    ],
)  # fmt: skip
def test_what_the_gateway_would_not_read_is_not_judged(text: str) -> None:
    """Another method, path or spelling is an error, never a request that looks close."""
    with pytest.raises((MalformedRequest, ValueError)):
        from_line(text)


@pytest.mark.parametrize(
    "members",
    [
        {"label": []}, {"label": ["a", 1]}, {"label": "a,b"}, {"count": "5"}, {"count": True}, {"fromDate": 5.0},
        {"workflowUrlExactMatch": "true"}, {"host": "X"}, {"path": "x"}, {"workflowRunIds": ["a", "b"], "count": 3},
        {"workflowRunIds": ["a"], "label": ["x"]}, {"workflowUrlExactMatch": True},
    ],
)  # fmt: skip
def test_fields_of_another_type_are_not_guessed_at(members: dict) -> None:
    """A record or case that says something else than a request is an error."""
    with pytest.raises((MalformedRequest, ValueError)):
        from_wire(members)


def test_a_body_is_read_as_older_clients_send_it() -> None:
    """Beside a request line without a query, JSON is the request."""
    assert from_line("DELETE /v2/workflows/runs", body=b'{"workflowRunIds": ["a"]}') == from_wire(
        {"workflowRunIds": ["a"]}
    )
    with pytest.raises(MalformedRequest):
        from_line("label=x", body=b"{}")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-03-29T01:30:00+01:00", 1_774_744_200_000),
        ("2026-03-29T00:30:00.000999Z", 1_774_744_200_000),
    ],
)
def test_a_time_has_its_offset(text: str, milliseconds: int) -> None:
    """The same instant whatever the offset; milliseconds are cut, not rounded."""
    assert instant_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["2026-03-29", "2026-03-29T01:30:00", "2026-02-30T00:00:00Z", "1774744200000", "now"])
def test_a_time_without_offset_is_refused(text: str) -> None:
    """A time that two machines could read differently is none."""
    with pytest.raises(ValueError, match="time"):
        instant_ms(text)
