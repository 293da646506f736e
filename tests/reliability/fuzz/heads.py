"""The targets `target` and `body`: a request as it arrives, read, judged and rendered."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl

from gateway.core.errors import MalformedRequest, Refusal
from gateway.core.parse import Body
from gateway.core.request import ActionRequest, Everything
from gateway.edge.head import Head, check_head
from gateway.operations.calls.cancel_runs import parse_cancel
from tests.reliability.fuzz.forward import check_denied, check_forward, check_read, fixed_policies

MAX_SENTENCE_CHARS = 600
CONTENT_TYPES = (
    (b"application/json",),
    (b'application/json; charset="utf-8"',),
    (b"application/json", b"text/plain"),
    (b"text/plain",),
    (),
)
"""What the first byte of an input for `body` chooses from."""


def check_target(data: bytes) -> None:
    """One request line and its headers, a line each: refused with a sentence, or nothing unsafe is sent."""
    head = head_of(data)
    try:
        check_head(head)
    except Refusal as refusal:
        check_refusal(refusal)
        return
    check_said_by_http(head)
    query = head.target.partition(b"?")[2]
    request = read(query, Body(content_encodings=tuple(head.values(b"content-encoding"))))
    if request is None:
        return
    check_nothing_dropped(query, request)
    check_read(request)
    check_forward(request, fixed_policies())
    check_denied(request)


def check_body(data: bytes) -> None:
    """A body under the content type that the first byte chooses."""
    content = data[1:]
    body = Body(content, CONTENT_TYPES[data[0] % len(CONTENT_TYPES)] if data else ())
    request = read(b"", body)
    if request is None:
        return
    if content:
        check_go_reads_the_same(content, request)
    check_read(request)
    check_forward(request, fixed_policies())
    check_denied(request)


def head_of(data: bytes) -> Head:
    """`METHOD target HTTP/x.y`, then `name: value` lines; total, so that every input is a head."""
    first, *lines = data.split(b"\n")
    method, _, rest = first.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    halves = (line.partition(b":") for line in lines)
    headers = tuple((name.lower().strip(), value.strip()) for name, _, value in halves)
    return Head(method, target, version.removeprefix(b"HTTP/").decode("latin-1"), headers)


def read(query: bytes, body: Body) -> ActionRequest | None:
    """The request, or None where it is refused; any other error leaves and is a finding."""
    try:
        return parse_cancel(query, body)
    except MalformedRequest as refusal:
        check_refusal(refusal)
        return None


def check_refusal(refusal: Refusal) -> None:
    """The record gets a fixed word, the person a short sentence without control characters."""
    assert re.fullmatch("[a-z0-9_]+", refusal.cause), refusal.cause
    assert refusal.sentence.isprintable(), refusal.sentence
    assert len(refusal.sentence) <= MAX_SENTENCE_CHARS, refusal.sentence


def check_said_by_http(head: Head) -> None:
    """What no accepted head may be, said again without the expressions of the code under test."""
    names = [name for name, _ in head.headers]
    for_probes = head.target.partition(b"?")[0].endswith((b"/healthz", b"/readyz"))
    assert names.count(b"host") == 1 or (for_probes and names.count(b"host") == 0 and head.version == "1.0")
    assert names.count(b"authorization") <= 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert {value.lower() for name, value in head.headers if name == b"upgrade"} <= {b"h2c"}
    assert head.version == "1.1" or b"upgrade" not in names
    assert head.version == "1.0" or b"expect" not in names
    assert head.target[:1] == b"/" != head.target[1:2] or (for_probes and head.target[:4].lower() == b"http")
    assert b"#" not in head.target
    assert all(0x20 < byte < 0x7F for byte in head.target)
    assert head.version in ("1.0", "1.1")


def check_nothing_dropped(query: bytes, request: ActionRequest) -> None:
    """Every pair that another parser finds is in the request, and nothing else is."""
    asked = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query))
    unsaid = {("workflowUrlExactMatch", "false"), ("count", str(request.count))}
    assert set(asked) - unsaid == set(request.selection.pairs()) - unsaid
    assert len(asked) >= len(request.selection.pairs())


def check_go_reads_the_same(content: bytes, request: ActionRequest) -> None:
    """Go's reading of the JSON (keys fold, the last wins, unknown ones are ignored) selects the same."""
    members = {name.lower(): value for name, value in json.loads(content).items()}
    ids, urls = members.get("workflowrunids") or [], members.get("workflowurl") or []
    pairs = [("workflowRunIds", value) for value in ids]
    pairs += [("workflowUrl", value) for value in ([urls] if isinstance(urls, str) else urls)]
    assert pairs == request.selection.pairs()
    assert bool(pairs) != isinstance(request.selection, Everything)
