"""What a small account holds besides runs, with the IDs that the recorded requests name."""

from __future__ import annotations

from gateway.simulator.holdings.held import Holdings, Manner, Waiter
from gateway.simulator.holdings.things import DlqEntry, Message
from gateway.simulator.runs import Run

NOW_MS = 1_790_000_000_000
MINUTE_MS = 60_000
URL = "https://a.example/x"

RUNS = (
    Run("wfr_1", URL, NOW_MS - 2 * MINUTE_MS, labels=("l",)),
    Run("wfr_2", f"{URL}-v2", NOW_MS - MINUTE_MS),
)

FAILED_RUNS = frozenset(("d1", "d2", "d3"))
FAILED_MESSAGES = frozenset(("d", "e"))
MESSAGES = frozenset(("m", "m1", "m2", "step"))


def failed_run(
    dlq_id: str, url: str = URL, *, age_min: int = 1, labels: tuple[str, ...] = (), key: str = ""
) -> DlqEntry:
    """A failed workflow run that entered the DLQ so many minutes ago."""
    created_ms = NOW_MS - age_min * MINUTE_MS
    return DlqEntry(
        dlq_id=dlq_id,
        message_id=f"msg_of_{dlq_id}",
        url=url,
        created_ms=created_ms,
        labels=labels,
        flow_control_key=key,
        run_id=f"wfr_of_{dlq_id}",
        workflow_url=url,
        workflow_created_ms=created_ms - MINUTE_MS,
    )


def failed_message(dlq_id: str, url: str, *, age_min: int, labels: tuple[str, ...] = ()) -> DlqEntry:
    """A message that could not be delivered."""
    created_ms = NOW_MS - age_min * MINUTE_MS
    return DlqEntry(dlq_id=dlq_id, message_id=f"msg_of_{dlq_id}", url=url, created_ms=created_ms, labels=labels)


def small_holdings(manner: Manner | None = None) -> Holdings:
    """Three failed runs, two failed messages, four messages (`step` is a step of `wfr_1`), and some of the rest."""
    held = Holdings(
        switches=dict.fromkeys(("flowControl/k", "flowControl/b", "queues/qn", "schedules/s", "schedules/s1"), False),
        topics={"g"},
        waiters=[Waiter("e1", run.run_id, run.url) for run in RUNS],
        manner=manner or Manner(),
    )
    held.add(
        [
            failed_run("d1", age_min=1, labels=("l",), key="k"),
            failed_run("d2", f"{URL}-v2", age_min=2, labels=("m",)),
            failed_run("d3", "https://a.example.evil.example/x", age_min=3),
            failed_message("d", "https://a.example/hook", age_min=4, labels=("l",)),
            failed_message("e", "https://a.example/hook-v2", age_min=5),
        ],
        [
            Message(message_id="m", url="https://a.example/hook", created_ms=NOW_MS - MINUTE_MS, labels=("l",)),
            Message(message_id="m1", url="https://a.example/hook-v2", created_ms=NOW_MS - 2 * MINUTE_MS, queue="qn"),
            Message(message_id="m2", url="https://b.example/hook", created_ms=NOW_MS - 3 * MINUTE_MS),
            Message(message_id="step", url=URL, created_ms=NOW_MS - 2 * MINUTE_MS, run_id="wfr_1"),
        ],
    )
    return held


BY_ID = {
    "billing.yaml": """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: failed, action: [delete_dlq, resume_dlq, restart_dlq], dlqIds: {any: true}, owner: unchecked}
  - {id: messages, action: cancel_messages, messageIds: {any: true}, owner: unchecked}
  - {id: dead, action: [delete_message_dlq, retry_message_dlq], dlqIds: {any: true}, owner: unchecked}
  - {id: keys, action: [pause, resume], flowControlKey: {any: true}}
  - {id: queues, action: [pause, resume], queue: {any: true}}
  - {id: schedules, action: [pause, resume], schedule: {any: true}}
  - {id: overriding, action: [resume_dlq, restart_dlq], dlqIds: {any: true}, owner: unchecked, overrides: true}
""",
    "search.yaml": """\
version: 1
name: search
teams: [search]
allow:
  - id: failed
    action: [delete_dlq, resume_dlq, restart_dlq]
    workflowUrl: {exact: ["https://a.example/x"]}
    resolve: true
    runs: {max: 100}
""",
}
"""Policies: `billing` may do everything by ID, and `search` to its own failed runs, which are looked up."""
