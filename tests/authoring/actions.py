"""Requests for every action, as a request line with its headers, and a policy that allows some of each."""

from __future__ import annotations

from gateway.authoring.question import Headers, from_line
from gateway.core.request import Action, ActionRequest
from gateway.operations.table import OPERATIONS

DLQ = "/v2/workflows/dlq"
URL = "https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice"
HEADERS = (("Upstash-Retries", "3"), ("Upstash-Delay", "600s"))

LINES: dict[Action, list[tuple[str, Headers]]] = {
    Action.CANCEL_RUNS: [
        ("DELETE /v2/workflows/runs?workflowRunIds=wfr_1&workflowRunIds=wfr_2", ()),
        ("DELETE /v2/workflows/runs/wfr_1", ()),
        (f"DELETE /v2/workflows/runs?workflowUrl={URL}&workflowUrlExactMatch=true&count=5", ()),
        ("DELETE /v2/workflows/runs?count=100", ()),
    ],
    Action.DELETE_DLQ: [
        (f"DELETE {DLQ}?dlqIds=a&dlqIds=b", ()),
        (f"DELETE {DLQ}/a", ()),
        (f"DELETE {DLQ}?workflowUrl={URL}&label=nightly&count=7", ()),
        (f"DELETE {DLQ}?workflowRunId=wfr_1&fromDate=1790000000000", ()),
        (f"DELETE {DLQ}?count=100", ()),
    ],
    Action.RESUME_DLQ: [
        (f"POST {DLQ}/resume?dlqIds=a", HEADERS),
        (f"POST {DLQ}/resume/a", (("Upstash-Flow-Control-Key", "k"),)),
        (f"POST {DLQ}/resume?workflowUrl={URL}", ()),
    ],
    Action.RESTART_DLQ: [
        (f"POST {DLQ}/restart?dlqIds=a&dlqIds=b", ()),
        (f"POST {DLQ}/restart/a", HEADERS),
        (f"POST {DLQ}/restart?label=nightly&count=3", ()),
        (f"POST {DLQ}/restart", ()),
    ],
    Action.CANCEL_MESSAGES: [
        ("DELETE /v2/messages?messageIds=msg_1&messageIds=msg_2", ()),
        ("DELETE /v2/messages/msg_1", ()),
        ("DELETE /v2/messages", ()),
    ],
    Action.DELETE_MESSAGE_DLQ: [("DELETE /v2/dlq?dlqIds=a&dlqIds=b", ()), ("DELETE /v2/dlq/a", ())],
    Action.RETRY_MESSAGE_DLQ: [("POST /v2/dlq/retry?dlqIds=a", ()), ("POST /v2/dlq/retry/a", ())],
    Action.PAUSE: [
        ("POST /v2/flowControl/k/pause", ()),
        ("POST /v2/queues/mail/pause", ()),
        ("PATCH /v2/schedules/s/pause", ()),
        ("POST /v2/schedules/s/pause", ()),
        ("POST /v2/flowControl/k/pause", (("Gateway-Until", "90m"),)),
        ("POST /v2/queues/mail/pause", (("Gateway-Until", "2h"),)),
    ],
    Action.RESUME: [
        ("POST /v2/flowControl/k/resume", ()),
        ("POST /v2/queues/mail/resume", ()),
        ("POST /v2/schedules/s/resume", ()),
    ],
}
"""Calls of each action."""

ASKED = [(action, *call) for action in OPERATIONS for call in LINES[action]]
"""All of them, of the actions that are passed."""

POLICY = """\
version: 1
name: own
teams: [billing]
allow:
  - {id: runs, workflowRunIds: {max: 5, prefix: [wfr_]}, owner: unchecked}
  - {id: entries, action: [delete_dlq, restart_dlq], dlqIds: {max: 20}, owner: unchecked}
  - id: failed
    action: [delete_dlq, resume_dlq, restart_dlq]
    workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}
    resolve: true
    runs: {max: 50}
  - {id: messages, action: cancel_messages, messageIds: {max: 9}, resolve: true, runs: {max: 9}}
  - {id: dead, action: [delete_message_dlq, retry_message_dlq], dlqIds: {max: 3, prefix: [a]}, owner: unchecked}
  - {id: key, action: [pause, resume], flowControlKey: {any_of: [k]}}
  - {id: queue, action: pause, queue: {any: true}}
"""
"""A policy of the team billing that has a rule about each action."""


def read(line: str, headers: Headers) -> ActionRequest:
    """The request of a call."""
    return from_line(line, headers=headers)
