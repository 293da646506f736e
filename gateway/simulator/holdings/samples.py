"""A little of everything, to try the calls on."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.simulator.holdings.held import Holdings, Waiter
from gateway.simulator.holdings.things import DlqEntry, Message
from gateway.simulator.runs import Run

MINUTE_MS = 60_000

# Neighbours as among the runs: one URL is the beginning of the next, and one host of another's.
_FAILED = (
    ("https://billing.example.com/api/invoice", ("nightly",), "billing"),
    ("https://billing.example.com/api/invoice", ("batch",), "billing"),
    ("https://billing.example.com/api/invoice-v2", (), "billing"),
    ("https://billing.example.com/api/reminder", ("nightly", "batch"), ""),
    ("https://search.example.com/api/reindex", ("nightly",), "search"),
    ("https://billing.example.com.evil.example/x", (), ""),
)
_WAITING = (
    ("https://billing.example.com/hooks/paid", ("nightly",), "billing", "emails"),
    ("https://billing.example.com/hooks/paid-v2", (), "billing", ""),
    ("https://search.example.com/hooks/crawl", ("batch",), "search", "thumbnails"),
)


def sampled(runs: Iterable[Run]) -> Holdings:
    """Return the holdings of an account that has these runs: failed runs, messages, and what can be paused.

    The times are minutes before that of the newest run. One message is a step of the oldest running run.
    """
    known = sorted(runs, key=lambda run: run.created_ms)
    now_ms = known[-1].created_ms if known else 0
    held = Holdings(
        switches=dict.fromkeys(
            (
                "flowControl/billing",
                "flowControl/search",
                "queues/emails",
                "queues/thumbnails",
                "schedules/nightly-report",
                "schedules/hourly-sync",
            ),
            False,
        ),
        topics={"invoices"},
        waiters=[Waiter("approved", run.run_id, run.url) for run in known if run.running][:2],
    )
    held.add(_entries(now_ms), _messages(known, now_ms))
    return held


def _entries(now_ms: int) -> list[DlqEntry]:
    runs = [
        DlqEntry(
            dlq_id=f"dlq_run_{place}",
            message_id=f"msg_run_{place}",
            url=url,
            created_ms=now_ms - place * MINUTE_MS,
            labels=labels,
            flow_control_key=key,
            run_id=f"wfr_failed_{place}",
            workflow_url=url,
            workflow_created_ms=now_ms - (place + 10) * MINUTE_MS,
            failure_state="CALLBACK_FAIL",
        )
        for place, (url, labels, key) in enumerate(_FAILED, start=1)
    ]
    messages = [
        DlqEntry(
            dlq_id=f"dlq_msg_{place}",
            message_id=f"msg_failed_{place}",
            url=url,
            created_ms=now_ms - place * MINUTE_MS,
            labels=labels,
            flow_control_key=key,
            queue=queue,
        )
        for place, (url, labels, key, queue) in enumerate(_WAITING, start=1)
    ]
    return [*runs, *messages]


def _messages(known: list[Run], now_ms: int) -> list[Message]:
    waiting = [
        Message(
            message_id=f"msg_{place}",
            url=url,
            created_ms=now_ms - place * MINUTE_MS,
            labels=labels,
            flow_control_key=key,
            queue=queue,
        )
        for place, (url, labels, key, queue) in enumerate(_WAITING, start=1)
    ]
    steps = [
        Message(message_id="msg_step", url=run.url, created_ms=run.created_ms, labels=run.labels, run_id=run.run_id)
        for run in known
        if run.running
    ]
    return [*waiting, *steps[:1]]
