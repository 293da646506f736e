"""The read-only side of the simulated account: the paged workflow log, and the progress of bulk actions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.simulator import golang
from gateway.simulator.asked import Contract, first, list_in_query
from gateway.simulator.runs import Run

MAX_PAGE = 10
KEPT_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Action:
    """A bulk cancel in the background. It reports progress for `duration_ms`, then its end for seven days."""

    action_id: str
    created_ms: int
    total: int
    duration_ms: int
    filter: dict[str, object]

    def report(self, now_ms: int) -> dict[str, object] | None:
        """Return the progress report, or None if it is no longer kept."""
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


@dataclass(frozen=True, slots=True)
class LogManner:
    """The behaviour of the workflow log.

    It shows the runs as they were `lag_ms` ago, and answers `burst` readings in each `burst_ms` (0: no limit).
    If it is `shifting`, a cursor counts the runs already listed, so a change between two pages shifts the second.
    """

    lag_ms: int = 0
    burst: int = 0
    burst_ms: int = 1_000
    shifting: bool = False


class Burst:
    """The limit on the readings that upstream answers in each window of time; 0 means no limit."""

    def __init__(self, limit: int, window_ms: int) -> None:
        self._limit = limit
        self._window_ms = window_ms
        self._ends_ms = 0
        self._left = 0

    def take(self, now_ms: int) -> tuple[bool, tuple[tuple[str, str], ...]]:
        """Count one more reading. Return whether it is answered, and the headers that report the limit, if any."""
        if not self._limit:
            return True, ()
        if now_ms >= self._ends_ms:
            self._ends_ms, self._left = now_ms + self._window_ms, self._limit
        answered = self._left > 0
        self._left = max(self._left - 1, 0)
        # Rounded up: in the second that is named the window has ended.
        said = {"Limit": self._limit, "Remaining": self._left, "Reset": -(-self._ends_ms // 1000)}
        return answered, tuple((f"Burst-RateLimit-{name}", str(value)) for name, value in said.items())


def log_page(runs: Iterable[Run], query: str, at_ms: int, *, shifting: bool = False) -> dict[str, object]:
    """Return one page of the workflow log as it was at `at_ms`: newest first, at most ten runs.

    If the log is `shifting`, a cursor counts the runs already listed, so a change between two pages shifts the second.

    Raises: ValueError if the cursor is not one that this log gives out.
    """
    asked = golang.query_values(query)
    filters = _Asked.of(asked)
    found = [run for run in runs if filters.lists(run, at_ms)]
    found.sort(key=_position, reverse=True)
    cursor = first(asked, "cursor")
    begin = _begin(cursor, found, shifting=shifting) if cursor else 0
    size = min(golang.parse_int(first(asked, "count")) or MAX_PAGE, MAX_PAGE)
    end = begin + max(size, 1)
    page = found[begin:end]
    with_bodies = not golang.parse_bool(first(asked, "trimBody"))
    last = str(end) if shifting or not page else f"{page[-1].created_ms}-{page[-1].run_id}"
    return {
        "cursor": last if len(found) > end else "",
        "runs": [_entry(run, at_ms, with_bodies=with_bodies) for run in page],
    }


@dataclass(frozen=True, slots=True)
class _Asked:
    """The filters of one reading; `single` holds those that match one value exactly."""

    single: dict[str, str]
    labels: frozenset[str]
    from_ms: int
    to_ms: int | None

    @staticmethod
    def of(values: dict[str, list[str]]) -> _Asked:
        """Read the filters of a query. Unlike the cancel, the log matches a URL exactly and takes only one."""
        names = ("state", "workflowUrl", "workflowRunId", "flowControlKey", "callerIp")
        # The log takes several labels under both contracts; the cancel of contract 2025 takes only one.
        return _Asked(
            {name: value for name in names if (value := first(values, name))},
            frozenset(list_in_query(values.get("label", []), Contract.V2026_09)),
            golang.parse_int(first(values, "fromDate")) or 0,
            golang.parse_int(first(values, "toDate")) or None,
        )

    def lists(self, run: Run, at_ms: int) -> bool:
        """Return whether the log lists the run: it had begun and meets every filter. Both dates are included."""
        state = run.state_at(at_ms)
        if state is None or run.created_ms < self.from_ms or (self.to_ms is not None and run.created_ms > self.to_ms):
            return False
        if self.labels and self.labels.isdisjoint(run.labels):
            return False
        return all(wanted == _value(run, name, state) for name, wanted in self.single.items())


def _value(run: Run, name: str, state: str) -> str:
    match name:
        case "state":
            return state
        case "workflowUrl":
            return run.url
        case "workflowRunId":
            return run.run_id
        case "flowControlKey":
            return run.flow_control_key
        case _:
            return run.caller_ip


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


def _begin(cursor: str, found: list[Run], *, shifting: bool) -> int:
    if shifting:
        number = golang.parse_int(cursor)
        if number is None:
            raise ValueError("invalid cursor")
        return number
    start = read_cursor(cursor)
    return sum(_position(run) >= start for run in found)


def read_cursor(cursor: str) -> tuple[int, str]:
    """Return the position that a cursor names: a time in Unix milliseconds, and an ID.

    Raises: ValueError if it is no cursor that was given out.
    """
    created, dash, run_id = cursor.partition("-")
    created_ms = golang.parse_int(created)
    if not dash or created_ms is None:
        raise ValueError("invalid cursor")
    return created_ms, run_id
