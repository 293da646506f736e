"""A case may be about any action: its request, the headers beside it, and what a look-up would find."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.authoring.cases import Verdict, judge_cases, parse_cases, unreached
from gateway.core.errors import InvalidConfiguration
from gateway.policy.format.load import load_policies

POLICY = """\
version: 1
name: own
teams: [billing]
deny:
  - {id: kept, action: restart_dlq, label: {any_of: [keep]}}
allow:
  - id: failed
    action: restart_dlq
    workflowUrl: {exact: ["https://a.example/x"]}
    flowControlKey: {any_of: [slow], optional: true}
    resolve: true
    runs: {max: 2}
    overrides: true
  - {id: messages, action: cancel_messages, messageIds: {max: 2}, owner: unchecked}
  - {id: queue, action: pause, queue: {any_of: [mail]}}
"""
ENTRIES = """\
    runs:
      - {id: dlq_1, url: "https://a.example/x", created: "2026-01-01T10:00:00Z", workflowRunId: wfr_1}
      - {id: dlq_2, url: "https://a.example/x", created: "2026-01-01T09:00:00Z", labels: [LABEL]}
"""
LINE = "POST /v2/workflows/dlq/restart?workflowUrl=https%3A%2F%2Fa.example%2Fx"
FIELDS = "{workflowUrl: https://a.example/x, count: 9}"


def judged(directory: Path, text: str) -> list[Verdict]:
    """The verdicts on one case, of the team billing."""
    (directory / "own.yaml").write_text(POLICY)
    content = f"version: 1\ncases:\n  - it: x\n    team: billing\n    {text}\n".encode()
    return list(judge_cases(load_policies(directory), parse_cases("t.cases.yaml", content)))


HOLDING = {
    "a line": f"request: {LINE}\n    expect: permit\n    rule: own/failed\n    resolve: true",
    "typed fields": f"request: {FIELDS}\n    action: restart_dlq\n    expect: permit\n    rule: own/failed",
    "a query": "request: dlqIds=a\n    action: restart_dlq\n    expect: deny",
    "another action": f"request: {FIELDS}\n    action: delete_dlq\n    expect: deny",
    "entries": f"request: {LINE}\n    expect: permit\n    cancels: [dlq_1, dlq_2]\n{ENTRIES}",
    "entries that are kept": (
        f"request: {LINE}\n    expect: deny\n    rule: own/kept\n{ENTRIES.replace('LABEL', 'keep')}"
    ),
    "a failed run": (f"request: {LINE}&workflowRunId=wfr_1\n    expect: permit\n    cancels: [dlq_1]\n{ENTRIES}"),
    "headers": (
        f"request: {LINE}\n    headers: {{Upstash-Retries: 3, Upstash-Flow-Control-Key: slow}}\n    expect: permit\n"
        "    effective: {Upstash-Retries: 3, count: 100}"
    ),
    "a header that no rule admits": (
        f"request: {LINE}\n    headers: {{Upstash-Flow-Control-Key: fast}}\n    expect: deny"
    ),
    "headers beside fields": (
        f"request: {FIELDS}\n    action: restart_dlq\n    headers: {{Upstash-Delay: 10m}}\n    expect: permit\n"
        "    effective: {Upstash-Delay: 600s}"
    ),
    "messages": "request: DELETE /v2/messages?messageIds=msg_1\n    expect: permit\n    rule: own/messages",
    "all messages": "request: DELETE /v2/messages\n    expect: deny",
    "a queue": "request: POST /v2/queues/mail/pause\n    expect: permit\n    rule: own/queue",
    "a queue by its field": "request: {queue: mail}\n    action: pause\n    expect: permit\n    rule: own/queue",
    "a pause that ends by itself": (
        "request: POST /v2/queues/mail/pause\n    headers: {Gateway-Until: 2h}\n    expect: deny"  # no rule on resume
    ),
    "a schedule of that name": "request: POST /v2/schedules/mail/pause\n    expect: deny",
}


@pytest.mark.parametrize("name", HOLDING)
def test_a_case_of_any_action_holds(tmp_path: Path, name: str) -> None:
    """As a line, as a query or as typed fields; what is found stands for entries where entries are looked up."""
    [verdict] = judged(tmp_path, HOLDING[name].replace("LABEL", "batch"))
    assert verdict.differences == ()


def test_what_is_left_as_it_is_differs_in_the_words_of_the_action(tmp_path: Path) -> None:
    """An entry is not called a run, and to restart is no cancel."""
    [verdict] = judged(tmp_path, f"request: {LINE}\n    expect: permit\n    cancels: []\n{ENTRIES}")
    assert verdict.differences == ("expected to restart no entry, found dlq_2, dlq_1",)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("request: DELETE /v2/workflows/runs?count=5\n    action: pause\n    expect: deny", "cancel_runs, not pause"),
        ("request: {queue: mail}\n    expect: deny", "cannot be judged"),
        ("request: {label: a}\n    action: pause\n    expect: deny", "pause names one of flowControlKey"),
        ("request: {queue: a}\n    action: stop\n    expect: deny", "'stop': expected cancel_runs or"),
        ("request: {queue: a}\n    action: any\n    expect: deny", "'any': expected cancel_runs or"),
        ("request: {queue: a}\n    action: pause\n    headers: {Upstash-Retries: 3}\n    expect: deny", "not passed"),
        ("request: {queue: a, Upstash-Retries: 3}\n    action: pause\n    expect: deny", "unknown key"),
        (f"request: {LINE}\n    headers: {{Upstash-Label: a}}\n    expect: deny", "unknown key 'Upstash-Label'"),
    ],
)
def test_a_case_that_the_call_could_not_say_is_refused(tmp_path: Path, text: str, part: str) -> None:
    """The gateway would not read it, so no case does."""
    with pytest.raises(InvalidConfiguration, match=part):
        judged(tmp_path, text)


def test_a_rule_about_any_action_is_reached_by_a_case(tmp_path: Path) -> None:
    """A rule without a case is named, whatever it is about."""
    verdicts = judged(tmp_path, HOLDING["a queue"])
    assert unreached(load_policies(tmp_path), verdicts) == ["own/failed", "own/kept", "own/messages"]
