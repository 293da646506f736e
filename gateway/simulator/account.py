"""The reading side of the simulated account: the workflow log in pages, and bulk actions in progress."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.simulator import golang
from gateway.simulator.asked import Contract, list_in_query
from gateway.simulator.runs import Run

MAX_PAGE = 10
KEPT_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Action:
    """A bulk cancel in the background; it reports progress over `duration_ms`, then for seven days that it is done."""

    action_id: str
    created_ms: int
    total: int
    duration_ms: int
    filter: dict[str, object]

    def report(self, now_ms: int) -> dict[str, object] | None:
        """The progress report, or None when it is no longer kept."""
        age_ms = now_ms - self.created_ms
        if age_ms > self.duration_ms + KEPT_MS:
            return None
        finished = age_ms >= self.duration_ms
        return {
            "actionId": self.action_id,
            "kind": "workflow.cancel",
            "state": "FINISHED" if finished else "IN_PROGRESS",
            "total": self.total,
            "processed": self.total if finished else self.total * age_ms // self.duration_ms,
            "createdAt": self.created_ms,
            **({"completedAt": self.created_ms + self.duration_ms} if finished else {}),
            "filter": self.filter,
        }


def log_page(runs: Iterable[Run], query: str, contract: Contract, at_ms: int) -> dict[str, object]:
    """One page of the workflow log as an index of the age `at_ms` shows it, newest first, at most ten runs.

    Raises: ValueError if the cursor is not one of ours.
    """
    asked = golang.query_values(query)
    found = [run for run in runs if _listed(run, asked, contract, at_ms)]
    found.sort(key=_position, reverse=True)
    cursor = _first(asked, "cursor")
    if cursor:
        start = _read_cursor(cursor)
        found = [run for run in found if _position(run) < start]
    size = min(golang.parse_int(_first(asked, "count")) or MAX_PAGE, MAX_PAGE)
    page = found[: max(size, 1)]
    with_bodies = not golang.parse_bool(_first(asked, "trimBody"))
    more = len(found) > len(page)
    return {
        "cursor": f"{page[-1].created_ms}-{page[-1].run_id}" if more else "",
        "runs": [_entry(run, at_ms, with_bodies=with_bodies) for run in page],
    }


def _listed(run: Run, asked: dict[str, list[str]], contract: Contract, at_ms: int) -> bool:
    state = run.state_at(at_ms)
    if state is None:
        return False
    # Unlike the cancel, the log matches a URL exactly and takes only one.
    single = {
        "state": state,
        "workflowUrl": run.url,
        "workflowRunId": run.run_id,
        "flowControlKey": run.flow_control_key,
        "callerIp": run.caller_ip,
    }
    if any(_first(asked, name) not in ("", value) for name, value in single.items()):
        return False
    labels = list_in_query(asked.get("label", []), contract)
    if labels and set(labels).isdisjoint(run.labels):
        return False
    from_ms = golang.parse_int(_first(asked, "fromDate")) or 0
    to_ms = golang.parse_int(_first(asked, "toDate")) or run.created_ms
    return from_ms <= run.created_ms <= to_ms


def _entry(run: Run, at_ms: int, *, with_bodies: bool) -> dict[str, object]:
    step: dict[str, object] = {"stepId": 0, "stepName": "init", "stepType": "Initial", "callType": "step"}
    if with_bodies:
        step["out"] = "{}"
    return {
        **run.wire(),
        "workflowState": run.state_at(at_ms),
        "steps": [{"type": "sequential", "steps": [step]}],
    }


def _position(run: Run) -> tuple[int, str]:
    return run.created_ms, run.run_id


def _read_cursor(cursor: str) -> tuple[int, str]:
    created, dash, run_id = cursor.partition("-")
    created_ms = golang.parse_int(created)
    if not dash or created_ms is None:
        raise ValueError("invalid cursor")
    return created_ms, run_id


def _first(values: dict[str, list[str]], name: str) -> str:
    return values.get(name, [""])[0]
