"""The older dialect byte for byte, without a client: a JSON body arrives, a query goes upstream."""

from __future__ import annotations

import json

from tests.clients.account import INVOICE, TEST_POLICIES
from tests.clients.conftest import Serve
from tests.support.gateway import REAL_TOKEN, RunningGateway

OUR_HEADERS = {"host", "accept", "accept-encoding", "user-agent", "traceparent", "tracestate", "connection"}


def as_recorded(gateway: RunningGateway, body: bytes) -> bytes:
    """What `@upstash/workflow` 1.1.1 puts on the wire for a cancel."""
    head = (
        "DELETE /v2/workflows/runs HTTP/1.1\r\n"
        f"host: 127.0.0.1:{gateway.port}\r\n"
        "connection: keep-alive\r\n"
        f"Authorization: Bearer {gateway.key()}\r\n"
        "Content-Type: application/json\r\n"
        "accept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\n"
        "accept-encoding: gzip, deflate\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answered(raw: bytes) -> tuple[int, dict]:
    """The status and the members of a raw answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


def test_ids_in_a_body_go_upstream_as_a_query_of_our_own(serve: Serve) -> None:
    """Of the caller's bytes nothing reaches upstream: no body, none of its headers, and `count` stands explicitly."""
    simulator, gateway = serve()
    answer = gateway.raw(as_recorded(gateway, b'{"workflowRunIds":["wfr_billing_nightly","wfr_billing_batch"]}'))
    assert answered(answer) == (200, {"cancelled": 2})
    (entry,) = simulator.ledger
    assert (entry.call.method, entry.call.path, entry.call.body) == ("DELETE", "/v2/workflows/runs", b"")
    assert entry.call.query == "workflowRunIds=wfr_billing_nightly&workflowRunIds=wfr_billing_batch&count=2"
    assert {name for name, _ in entry.call.headers} <= OUR_HEADERS
    assert REAL_TOKEN.encode() not in answer
    assert [record["dialect"] for record in gateway.records("intent")] == ["body"]


def test_a_url_in_a_body_is_a_prefix_and_is_sent_as_one(serve: Serve) -> None:
    """A string, which today's server rejects in a body, is a prefix request and goes upstream in the query form."""
    simulator, gateway = serve(policies=TEST_POLICIES)
    answer = gateway.raw(as_recorded(gateway, json.dumps({"workflowUrl": f"{INVOICE}/"}).encode()))
    assert answered(answer) == (200, {"cancelled": 1})
    (entry,) = simulator.ledger
    assert entry.call.query.endswith("&count=100")
    assert set(entry.run_ids) == {"wfr_below_invoice"}


def test_an_empty_object_cancels_nothing(serve: Serve) -> None:
    """`{}` is how the older client says everything."""
    simulator, gateway = serve()
    status, members = answered(gateway.raw(as_recorded(gateway, b"{}")))
    assert (status, members["code"], simulator.ledger) == (403, "policy_denied", ())
    assert "Name the runs" in str(members["error"])
