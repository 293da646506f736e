"""Workflow runs as the simulated account holds them, and a generator of plausible ones."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace

STARTED = "RUN_STARTED"
CANCELED = "RUN_CANCELED"
SUCCESS = "RUN_SUCCESS"

_ID_CHARACTERS = string.ascii_letters + string.digits + "_-"
_LABELS = (("nightly",), ("batch",), ("nightly", "batch"), ("on-demand",), ())

# The URLs are neighbours on purpose: invoice is a prefix of invoice-v2, and one host is a prefix of another's.
_WORKFLOWS = (
    ("https://billing.example.com/api/invoice", "wfr_"),
    ("https://billing.example.com/api/invoice", "wfr_billing_"),
    ("https://billing.example.com/api/invoice-v2", "wfr_"),
    ("https://search.example.com/api/reindex", "wfr_search_"),
    ("https://billing.example.com/api/invoice", "wfr_"),
    ("https://billing.example.com/api/reminder", "wfr_billing_"),
    ("https://search.example.com/api/reindex", "wfr_"),
    ("https://billing.example.com/api/invoice", "wfr_billing_"),
    ("https://billing.example.com/api/reminder", "wfr_"),
    ("https://billing.example.com.evil.example/x", "wfr_"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One workflow run; times are Unix milliseconds."""

    run_id: str
    url: str
    created_ms: int
    caller_ip: str = "203.0.113.7"
    labels: tuple[str, ...] = ()
    flow_control_key: str = ""
    state: str = STARTED
    ended_ms: int | None = None

    @property
    def running(self) -> bool:
        """True if a cancel can still stop the run."""
        return self.state == STARTED

    def ended(self, state: str, at_ms: int) -> Run:
        """Return the same run, ended in `state` at `at_ms`."""
        return replace(self, state=state, ended_ms=at_ms)

    def state_at(self, at_ms: int) -> str | None:
        """Return the state that an index as old as `at_ms` shows, or None if the run had not begun."""
        if self.created_ms > at_ms:
            return None
        return STARTED if self.ended_ms is not None and self.ended_ms > at_ms else self.state

    def wire(self) -> dict[str, object]:
        """Return the run with the names of the workflow log."""
        return {
            "workflowRunId": self.run_id,
            "workflowUrl": self.url,
            "workflowState": self.state,
            "workflowRunCreatedAt": self.created_ms,
            "workflowRunCallerIp": self.caller_ip,
            "labels": list(self.labels),
            "flowControlKey": self.flow_control_key,
            **({} if self.ended_ms is None else {"workflowRunCompletedAt": self.ended_ms}),
        }


def run_of(wire: Mapping[str, object]) -> Run:
    """Read a run that has the names of the workflow log.

    Raises: ValueError if `workflowRunId`, `workflowUrl` or `workflowRunCreatedAt` is missing or of another type.
    """
    run_id, url, created_ms = (wire.get(key) for key in ("workflowRunId", "workflowUrl", "workflowRunCreatedAt"))
    if not isinstance(run_id, str) or not isinstance(url, str) or type(created_ms) is not int:
        raise ValueError("a run has workflowRunId, workflowUrl and workflowRunCreatedAt (milliseconds)")
    labels = wire.get("labels", [])
    ended_ms = wire.get("workflowRunCompletedAt")
    return Run(
        run_id=run_id,
        url=url,
        created_ms=created_ms,
        caller_ip=str(wire.get("workflowRunCallerIp", "203.0.113.7")),
        labels=tuple(map(str, labels)) if isinstance(labels, list) else (),
        flow_control_key=str(wire.get("flowControlKey", "")),
        state=str(wire.get("workflowState", STARTED)),
        ended_ms=ended_ms if isinstance(ended_ms, int) else None,
    )


def make_runs(n: int, now_ms: int, seed: int) -> tuple[Run, ...]:
    """Return `n` runs of several workflows, oldest first, half a minute apart up to `now_ms`; every 25th has ended."""
    source = random.Random(seed)  # noqa: S311 (the same seed makes the same runs; nothing here is secret)
    return tuple(_make(source, index, now_ms - (n - index) * 30_000) for index in range(n))


def _make(source: random.Random, index: int, created_ms: int) -> Run:
    url, id_prefix = _WORKFLOWS[index % len(_WORKFLOWS)]
    run = Run(
        run_id=id_prefix + "".join(source.choices(_ID_CHARACTERS, k=21)),
        url=url,
        created_ms=created_ms,
        caller_ip=f"203.0.113.{source.randrange(1, 5)}",
        labels=source.choice(_LABELS),
        flow_control_key=source.choice(("billing", "search", "")),
    )
    return run.ended(SUCCESS, created_ms + 5_000) if index % 25 == 24 else run
