"""Where fuzzing begins: recorded clients, the shipped files, known attacks; and the words of each format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType

from gateway.operations.calls.cancel_runs import NAMES
from tests.reliability.fuzz.lines import chain
from tests.support.files import recorded, recorded_actions

PROJECT = Path(__file__).parents[3]
HOST = b"Host: gateway.example"

QUERIES = (
    b"",
    b"count=100",
    b"workflowRunIds=wfr_a_1&workflowRunIds=wfr_a_2",
    b"workflowUrl=https%3A%2F%2Fa.example%2Fapi%2Finvoice&workflowUrlExactMatch=true&count=100",
    b"workflowUrl=https://a.example/api/&count=5",
    b"workflowUrl=https://a.example/api",
    b"workflowUrl=https://a.example/api/x%2520y/&workflowUrlExactMatch=false",
    b"workflowUrl=https://[2001:db8::1]:8443/a?b=c&workflowUrlExactMatch=true",
    b"workflowUrl=https://c.example/&label=nightly&workflowUrl=https://c.example/b/",
    b"label=nightly&label=batch&count=999999999",
    b"label=nightly&label=frozen",
    b"flowControlKey=K.1&callerIp=2001:db8::1&fromDate=1789999999000&toDate=1790000000000",
    b"fromDate=1789999999000",
    b"flowControlKey=K.1",
    b"callerIp=10.0.0.1",
    b"workflowUrl=https://a.example/api-v2&workflowUrlExactMatch=true",
    b"workflowUrl=https://a.example/api/x&workflowUrl=https://a.example/api-v2&workflowUrlExactMatch=true",
    b"workflowUrl=https://a.example/api/invoice-v2&workflowUrlExactMatch=true",
    b"label=nightly&count=1%EF%BC%90",
    b"label=a%2Cb",
    b"label=a;label=b",
    b"label=%zz",
    b"label=%C3%28",
    b"label=&label",
    b"Label=x",
    b"label[]=x",
    b"workflowRunIds=wfr_1&count=1",
    b"toDate=1&fromDate=2",
    b"workflowUrlExactMatch=true",
)
HEADS = (
    b"DELETE /v2/workflows/runs?label=nightly#x HTTP/1.1\n" + HOST,
    b"DELETE http://other.example/v2/workflows/runs HTTP/1.1\n" + HOST,
    b"DELETE //other.example/v2/workflows/runs HTTP/1.1\n" + HOST,
    b"DELETE /v2/workflows/runs HTTP/1.1\n" + HOST + b"\nHost: two",
    b"DELETE /v2/workflows/runs HTTP/1.1\nHost: [::1]:8080\nContent-Length: 5",
    b"DELETE /v2/workflows/runs HTTP/1.1\n" + HOST + b"\nContent-Length: 5\nTransfer-Encoding: chunked",
    b"DELETE /v2/workflows/runs HTTP/1.1\n" + HOST + b"\nTransfer-Encoding: chunked, identity",
    b"DELETE /v2/workflows/runs HTTP/1.0\n" + HOST + b"\nTransfer-Encoding: chunked",
    b"DELETE /v2/workflows/runs HTTP/1.1\n" + HOST + b"\nUpgrade: h2c\nExpect: 100-continue",
    b"DELETE /v2/workflows/runs?label=a HTTP/1.1\n" + HOST + b"\nUpgrade: h2c\nConnection: Upgrade, HTTP2-Settings",
    b"GET http://10.0.0.1:8081/healthz?x HTTP/1.0",
    b"DELETE /v2/workflows/runs HTTP/1.1\n" + HOST + b"\nAuthorization: Bearer a\nAuthorization: Bearer b",
)
BODIES = (
    b"{}",
    b"[]",
    b"null",
    b'{"workflowRunIds":["wfr_a_1","wfr_b_2"]}',
    b'{"workflowRunIds":[]}',
    b'{"workflowRunIds":["a"],"workflowRunIds":["b"]}',
    b'{"workflowRunIds":["a"],"WorkflowRunIds":["b"]}',
    b'{"workflowUrl":"https://a.example/api/"}',
    b'{"workflowUrl":["https://a.example/api/","https://a.example/api/x/"]}',
    b'{"workflowUrl":"https:\\/\\/a.example\\/api\\u002f"}',
    b'{"workflowUrl":"https://a.example/,h"}',
    b'{"workflowRunIds":["wfr_a_1"],"workflowUrl":null}',
    b'{"workflowRunIds":[1]}',
    b'{"workflowUrl":NaN}',
    b'\xef\xbb\xbf{"workflowRunIds":["a"]}',
)
POLICY = b"""version: 1
name: all-kinds
description: Every key that a policy file knows.
teams: [billing, "search"]
except: [oncall]
mode: enforce
deny:
  - {id: everything, selects: [everything], message: "Name the runs."}
  - id: other
    mode: shadow
    except: [billing]
    workflowUrl: {exact: ["https://a.example/x"], prefix: ["https://a.example"]}
    label: {any_of: [frozen]}
    created: {within_last: 24h}
  - {id: other-ids, selects: [run_ids], workflowRunIds: {prefix: [wfr_other_]}}
require:
  - {id: exact-url, workflowUrlExactMatch: true, except: [oncall]}
  - {id: capped, count: {cap: 100, max: 5000}}
  - {id: recent, created: {within_last: 30m, max_span: 6h, optional: true}, callerIp: {any: true}}
allow:
  - id: own
    workflowUrl: {prefix: ["https://billing.example.com/api"]}
    label: {any_of: [nightly, 'batch'], optional: true}
    flowControlKey: {any: true}
    count: {any: true}
  - id: ids
    workflowRunIds: {max: 20, prefix: ["wfr_billing_"]}
    owner: unchecked
    message: >-
      folded
      text
"""
CONFIG = b"""version: 1
listen: "[::1]:0"
upstream: {url: "http://127.0.0.1:9", token: {env: QSTASH_TOKEN}, contract: "2025", connect_timeout_s: 1,
  total_timeout_s: 2, max_connections: 3}
callers:
  keys:
    - {id: ci, team: billing, sha256: "%b", expires: 2027-06-30}
    - {id: ci, team: search, sha256: "%b"}
policies: policies
audit: {directory: var/audit, durability: os, stdout: true, mac_key: {file: key}}
limits: {max_run_ids: 10, per_principal: {in_flight: 0, requests_per_minute: 0}}
trusted_proxies: [10.0.0.0/8, "::1"]
shutdown_grace_s: 35
""" % (b"0123456789abcdef" * 4, b"123456789abcdef0" * 4)
YAML_TRAPS = (
    b"a: 1\na: 2\n", b"&a [*a]", b"!!python/object:x {}", b"%YAML 1.2\n---\na", b"a: 0100", b"a: 1e3", b"a: yes",
    b"<<: {a: 1}", b"? [a]\n: b", b'a: "\\u202e"', b"- " * 40, b"--- a\n--- b\n", b"'\\xff'", b"\xff\xfea",
)  # fmt: skip

BULK_CALLS = (
    b"DELETE /v2/workflows/dlq", b"POST /v2/workflows/dlq/resume", b"POST /v2/workflows/dlq/restart", b"DELETE /v2/dlq",
    b"POST /v2/dlq/retry", b"DELETE /v2/messages",
)  # fmt: skip
CALL_ENDS = (
    b"", b"?", b"/", b"/d_1", b"/undefined", b"/d_1?count=1", b"/d%5F1", b"/../dlq", b"?dlqIds=d_1&dlqIds=d_1x",
    b"?messageIds=m_1", b"?dlqIds=d_1,d_2", b"?dlqIds=d_1&label=l", b"?dlqIds=", b"?DlqIds=d_1", b"?dlqIds=d;x",
    b"?workflowUrl=https://a.example/x", b"?workflowRunId=wfr_1&fromDate=1789999999000",
)  # fmt: skip
OVERRIDES = (
    b"Upstash-Retries: 5", b"Upstash-Delay: 1d10h30m50s", b"Upstash-Retry-Delay: max(1000, pow(2, retried) * 100)",
    b"Upstash-Retry-Delay: ((((((((((1))))))))))", b"Upstash-Label: l", b"Upstash-Failure-Callback: https://e.example",
    b"Upstash-Retries: 1\nUpstash-Retries: 2", b"Upstash-Flow-Control-Value: rate=1",
)  # fmt: skip

_WORDS = {
    "target": (*NAMES, "DELETE ", " HTTP/1.1", "/v2/workflows/runs", "&", "=", "%2C", "%2F", "%25", "%00", ";", "+",
               "https://", "a.example", "\nHost: a", "\nContent-Length: ", "\nTransfer-Encoding: chunked",
               "\nUpgrade: ", "\nExpect: ", "\nContent-Encoding: gzip", "true", "false", "1790000000000", "wfr_a_",
               "#", "//", ".."),
    "body": ("workflowRunIds", "workflowUrl", "https://a.example/", '":["', '","', '"]}', "\\u002c", "null", "NaN",
             "{}"),
    "policy": ("version: 1", "name: ", "teams: ", "deny:", "require:", "allow:", "- {id: ", "mode: shadow", "except: ",
               "message: ", "optional: true", "any: true", "any_of: ", "exact: ", "prefix: ", "within_last: ",
               "max_span: ", "selects: ", "everything", "count: ", "cap: ", "max: ", "owner: unchecked",
               "resolve: true", "workflowUrl: ", "workflowRunIds: ", "label: ", "created: ", "!!", "&a", "*a", "<<: ",
               ">-"),
    "config": ("version: 1", "listen: ", "upstream: ", "url: ", "token: ", "file: ", "env: ", "contract: ", "callers: ",
               "keys: ", "sha256: ", "expires: ", "policies: ", "audit: ", "directory: ", "durability: ", "stdout: ",
               "mac_key: ", "limits: ", "per_principal: ", "trusted_proxies: ", "http://", "https://", "127.0.0.1",
               "[::1]"),
    "call": ("DELETE ", "POST ", "PATCH ", " HTTP/1.1", "\nHost: a", "/v2/workflows/dlq", "/v2/dlq", "/v2/messages",
             "/resume", "/restart", "/retry", "/pause", "/v2/flowControl/", "/v2/queues/", "/v2/schedules/", "dlqIds=",
             "messageIds=", "&", "label=", "workflowUrl=", "count=100", "undefined", "..", "%2F", "%2C", ";", "{}",
             '{"dlqIds":["', "\nUpstash-Retries: 3", "\nUpstash-Delay: 1d", "\nUpstash-Label: l",
             "\nUpstash-Retry-Delay: pow(2, retried) * 1000", "\nUpstash-Flow-Control-Key: k",
             "\nUpstash-Flow-Control-Value: parallelism=1", "\nGateway-Until: 10m"),
    "audit": ('{"v":1,"seq":', ',"ts":"', '","event":"', '","instance":"', ',"prev":null', ',"mac":null}',
              "decision_id", "start", "intent", "outcome", "recovery", "suspect", "last_good", "heads", "\n", "null",
              "true"),
}  # fmt: skip


def seeds(target: str) -> list[bytes]:
    """The first inputs of a target."""
    makers: dict[str, Callable[[], Iterator[bytes]]] = {
        "target": _target_seeds, "body": _body_seeds, "policy": _policy_seeds, "config": _config_seeds,
        "audit": _audit_seeds, "call": _call_seeds,
    }  # fmt: skip
    return list(dict.fromkeys(makers[target]()))


def words(target: str) -> tuple[str, ...]:
    """What the fuzzer may put into an input as a whole."""
    return MappingProxyType(_WORDS)[target]


def _target_seeds() -> Iterator[bytes]:
    for request in recorded():
        headers = request["headers"]
        assert isinstance(headers, list)
        lines = [f"{name}: {value}" for name, value in headers]
        first = f"{request['method']} {request['target']} HTTP/1.1"
        yield "\n".join([first, HOST.decode(), *lines]).encode("latin-1")
    for query in QUERIES:
        yield b"DELETE /v2/workflows/runs" + (b"?" + query if query else b"") + b" HTTP/1.1\n" + HOST
    yield from HEADS


def _call_seeds() -> Iterator[bytes]:
    for request in recorded_actions():
        lines = [f"{name}: {value}" for name, value in request["headers"]]
        first = f"{request['method']} {request['target']} HTTP/1.1"
        yield "\n".join([first, HOST.decode(), *lines, "", request["body"]]).encode("latin-1")
    for line, more in ((line, more) for line in BULK_CALLS for more in CALL_ENDS):
        yield line + more + b" HTTP/1.1\n" + HOST
    restart, value = b"POST /v2/workflows/dlq/restart?dlqIds=d_1 HTTP/1.1\n" + HOST, b"\nUpstash-Flow-Control-Value: "
    for headers in OVERRIDES:
        yield restart + b"\n" + headers
    yield restart + b"\nUpstash-Flow-Control-Key: k" + value + b"parallelism=1, rate=2, period=1m"
    yield b"POST /v2/queues/q/pause HTTP/1.1\n" + HOST + b"\nGateway-Until: 10m"


def _body_seeds() -> Iterator[bytes]:
    for content in (*(str(request["body"]).encode() for request in recorded()), *BODIES):
        yield b"\0" + content
    yield from (bytes([kind]) + BODIES[3] for kind in range(1, 5))


def _policy_seeds() -> Iterator[bytes]:
    yield POLICY
    yield POLICY.replace(b"teams: ", b"teams:\t")
    yield from (path.read_bytes() for path in sorted((PROJECT / "policies").glob("*.yaml")))
    yield from YAML_TRAPS


def _config_seeds() -> Iterator[bytes]:
    yield CONFIG
    yield (PROJECT / "config.example.yaml").read_bytes()
    yield from YAML_TRAPS


def _audit_seeds() -> Iterator[bytes]:
    whole = chain(None)
    yield from (b"\0" + line for line in whole.splitlines())
    yield b"\1" + whole
    yield b"\1" + whole[:-10]
    for choice in (b"\2", b"\3"):
        yield choice + b"\0\0\0"
        yield from (choice + at.to_bytes(2, "big") + b"\1x" for at in range(0, len(whole), 97))
        yield from (choice + (whole.rfind(b"\n", 0, -1) + 1).to_bytes(2, "big") + bytes([n]) for n in (1, 80, 255))
