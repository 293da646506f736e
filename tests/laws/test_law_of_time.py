"""Every parser of a stranger's bytes does at most linear work: with twice the text no more than 2.5 times as much.

A new parser is one line of `PARSERS`, a new trap one unit of `UNITS`.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.authoring import lint
from gateway.authoring.question import from_line, from_wire
from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.keysets import UnusableKeySet, parse_key_set
from gateway.callers.tokens import TokenVerifier
from gateway.core import grammar
from gateway.core.errors import GatewayError
from gateway.core.forms import strict_json
from gateway.core.forms.shown import PLAN_ID, skipped_in
from gateway.core.forms.times import instant_ms
from gateway.core.parse import Body, parse_reason
from gateway.edge.head import Head, check_head
from gateway.edge.pages.questions import question_in
from gateway.files import secrecy
from gateway.files.source import parse_document
from gateway.operations.calls.cancel_runs import NAMES, parse_cancel
from gateway.policy.format.load import parse_policy
from gateway.upstream.runs import entries, query
from gateway.upstream.runs.pages import wait_s
from gateway.upstream.token import UpstreamToken
from tests.laws.growth import too_much

SIZE = 5000
"""Characters, measured against twice as many: enough for a square to show, too few for it to take long."""

APPLY = Route("/gateway/v1/plans/{plan}/apply", lambda _: PlainTextResponse(""), methods=["POST"])
APPLYING = {"type": "http", "method": "POST"}

UNITS = (
    *(
        "=",
        "&",
        "%",
        "%25",
        "%2",
        '"',
        "\\",
        "[",
        "]",
        "{",
        '{"a":',
        "a.",
        ".",
        " ",
        "\t",
        "1",
        "0",
        "a",
        "Z",
        "é",
        "\n",
    ),
    *(
        "/",
        "/a",
        "/%2E",
        "?",
        ":",
        ":1",
        "-",
        "_",
        ",",
        ", ",
        ";",
        "+",
        "|",
        "*",
        "<",
        "#",
        "# ",
        "~",
        "''",
        "- ",
        "a: ",
    ),
    *("a=1&", "label=a&", "workflowUrl=", '"a",', '"\\u0061', "[1,", "1.", "1e", "10.0.0.1, ", "::", "qgk_", "qgk_a-"),
    *("qgk_a_", "Bearer ", "DELETE ", "DELETE /", "# lint: ignore ", "lint:", 'a=("', 'a=("a" ', "young=();n=1, "),
    *("https://", "https://h", "a/", "a?", "AA.", "e30.", "T00:", "2026-"),
)
"""What a parser may stumble over, repeated."""

SHAPES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("alone", lambda text: text),
    ("and what does not fit", lambda text: text + " x"),
    ("and a sign", lambda text: text + "!"),
    ("behind a name", lambda text: "label=" + text),
    ("in a comment", lambda text: f"# lint: ignore{text}!"),
)

VERIFIER = TokenVerifier(())
AUTHENTICATOR = Authenticator((), is_upstream_token=lambda digest: False, tokens=VERIFIER)
PROXIES = TrustedProxies([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")])
TOKEN = UpstreamToken("qstash-token-" + base64.b64encode(b"0123456789" * 6).decode("ascii"))
JSON = (b"application/json",)


def head(**headers: str) -> Head:
    """A request head with these headers beside its Host."""
    named = {"host": "h", **headers}
    lines = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in named.items())
    return Head(b"DELETE", b"/v2/workflows/runs", "1.1", lines)


def body(content: bytes) -> object:
    """A cancel with this body."""
    return parse_cancel(b"", Body(content, JSON))


def page(members: object) -> Body:
    """A JSON body of the gateway's own pages."""
    return Body(json.dumps(members).encode(), JSON)


def part(text: str) -> str:
    """One part of a signed token."""
    return base64.urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")


def forwarded(text: str) -> object:
    """The caller behind a proxy that is trusted."""
    return PROXIES.remote({"client": ("10.0.0.9", 1), "headers": [(b"x-forwarded-for", text.encode())]})


def run(**members: object) -> object:
    """One entry of upstream's log."""
    whole = {
        "workflowRunId": "wfr_1",
        "workflowUrl": "https://h/",
        "workflowState": "RUN_STARTED",
        "workflowRunCreatedAt": 10**12,
    }
    return entries.read_entry(whole | members)


# One line a parser: what a caller sends, then what upstream, an issuer or a file brings.
PARSERS: dict[str, Callable[[str], object]] = {
    "query": lambda text: parse_cancel(text.encode(), Body()),
    "query value": lambda text: parse_cancel(b"label=" + text.encode(), Body()),
    "query of values": lambda text: parse_cancel("&".join(f"label={v}" for v in text.split("&")).encode(), Body()),
    "exact URL": lambda text: parse_cancel(f"workflowUrlExactMatch=true&workflowUrl=https://h/{text}".encode(), Body()),
    "dates and counts": lambda text: parse_cancel(f"fromDate={text}&count={text}&callerIp={text}".encode(), Body()),
    "body": lambda text: body(text.encode()),
    "body in an object": lambda text: body(b'{"workflowRunIds":' + text.encode()),
    "body of one value": lambda text: body(json.dumps({"workflowUrl": text}).encode()),
    "body of values": lambda text: body(json.dumps({"workflowRunIds": text.split("a")}).encode()),
    "body of names": lambda text: body(json.dumps(dict.fromkeys(text.split(",")), separators=(",", ":")).encode()),
    "body of a number": lambda text: body(b'{"count":' + text.encode() + b"}"),
    "Content-Type": lambda text: parse_cancel(b"", Body(b"{}", (text.encode(),))),
    "Content-Type's parameter": lambda text: parse_cancel(b"", Body(b"{}", (b"application/json" + text.encode(),))),
    "Gateway-Reason": lambda text: parse_reason((text.encode(),)),
    "target": lambda text: check_head(Head(b"DELETE", text.encode(), "1.1", ((b"host", b"h"),))),
    "path": lambda text: (
        APPLY.matches({**APPLYING, "path": f"/gateway/v1/plans/{text}"}),
        PLAN_ID.fullmatch(text),
    ),
    "Host": lambda text: check_head(head(host=text)),
    "Content-Length": lambda text: check_head(head(content_length=text)),
    "Transfer-Encoding": lambda text: check_head(head(transfer_encoding=text)),
    "Authorization": lambda text: AUTHENTICATOR.authenticate(text.encode(), 10**12),
    "credential": lambda text: AUTHENTICATOR.authenticate(b"Bearer " + text.encode(), 10**12),
    "token": lambda text: VERIFIER.is_token(text) and VERIFIER.verify(text, now_ms=10**12),
    "token's header": lambda text: VERIFIER.verify(f"{part(text)}.{part('{}')}.e", now_ms=10**12),
    "token's claims": lambda text: VERIFIER.verify(f"{part('{}')}.{part('{' + text)}.e", now_ms=10**12),
    "X-Forwarded-For": forwarded,
    "explain's request": lambda text: question_in(page({"request": text})),
    "explain's target": lambda text: question_in(page({"request": f"/v2/workflows/runs?{text}"})),
    "explain's body": lambda text: question_in(page({"request": "", "body": text})),
    "explain's body as an object": lambda text: question_in(page({"request": "", "body": {text: [text]}})),
    "explain's reason": lambda text: question_in(page({"request": "label=a", "reason": text})),
    "request line": from_line,
    "recorded request": lambda text: from_wire({"label": [text, text]}),
    "time": instant_ms,
    "logs query": lambda text: query.parse_question(text.encode(), events=False),
    "logs values": lambda text: query.parse_question(f"state={text}&label={text}".encode(), events=False),
    "cursor": lambda text: query.parse_question(f"cursor={text}".encode(), events=False),
    "run ID": grammar.run_id,
    "ID prefix": grammar.id_prefix,
    "key": grammar.key,
    "address": grammar.ip_address,
    "URL": grammar.url_prefix,
    "URL's host": lambda text: grammar.url_prefix(f"https://{text}/"),
    "URL's path": lambda text: grammar.url_prefix(f"https://h/{text}"),
    "reason": grammar.reason,
    "secret in a request": lambda text: secrecy.holds_secret(text, TOKEN.traces),
    "caller's own credential": lambda text: secrecy.holds_text(text, "qgk_billing_0123456789"),
    "name that is not known": lambda text: grammar.unknown_name(text, NAMES),
    "value that is shown": secrecy.masked,
    "upstream's text": TOKEN.scrub,
    "upstream's wait": lambda text: wait_s(429, {"retry-after": text}, now_ms=0),
    "upstream's page": lambda text: strict_json.page_object(text.encode()),
    "upstream's page of runs": lambda text: strict_json.page_object(b'{"runs":[' + text.encode()),
    "upstream's run": lambda text: run(workflowRunId=text, workflowUrl=text, flowControlKey=text),
    "upstream's labels": lambda text: run(labels=text.split("a"), label=text[:1]),
    "upstream's address": lambda text: run(workflowRunCallerIp=text),
    "upstream's cursor": entries.checked_cursor,
    "key set": lambda text: parse_key_set(text.encode(), ("RS256",)),
    "file": lambda text: parse_document("f", text.encode()),
    "policy": lambda text: parse_policy("f", f"version: 1\nname: {text}\n".encode()),
    "comments of a policy": lambda text: list(lint._silences("f", text.split("\n"))),
    "gateway's own header": skipped_in,
}


def refused_or_read(parser: Callable[[str], object], text: str) -> Callable[[], None]:
    """One call, whatever comes of it; an error that is none of the parser's own fails the test."""

    def call() -> None:
        with suppress(GatewayError, ValueError, UnusableKeySet):
            parser(text)

    return call


@pytest.mark.parametrize("name", PARSERS)
def test_twice_the_text_is_at_most_twice_the_work(name: str) -> None:
    """No pattern, loop or decoder looks at a text again for each of its characters."""
    parser = PARSERS[name]
    found = []
    for unit in UNITS:
        for shape, made in SHAPES:

            def call(size: int, unit: str = unit, made: Callable[[str], str] = made) -> Callable[[], None]:
                return refused_or_read(parser, made((unit * size)[:size]))

            if (why := too_much(call, size=SIZE)) is not None:
                found.append(f"{unit!r} {shape}: {why}")
                break  # The other shapes of a trap that is one already would only take their time.
    assert found == []
