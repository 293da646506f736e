"""Scripted changes of the simulated account between two calls: runs end, start, or start again under the same ID."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.simulator.exchange import Kind
from gateway.simulator.runs import STARTED, SUCCESS, Run, run_of


@dataclass(frozen=True, slots=True)
class Change:
    """A change right before a call of the kind `on`, after `after` other calls of that kind have been carried out.

    `end` and `restart` name existing runs. `start` holds new runs; each replaces the run with its ID, if there is one.
    """

    on: Kind = Kind.LOGS
    after: int = 0
    end: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    start: tuple[Run, ...] = ()

    def of(self, runs: Mapping[str, Run], now_ms: int) -> dict[str, Run]:
        """Return, by ID, the runs that the change adds or alters."""
        ended = {run_id: runs[run_id].ended(SUCCESS, now_ms) for run_id in self.end if run_id in runs}
        again = {run_id: _again(runs[run_id], now_ms) for run_id in self.restart if run_id in runs}
        return ended | again | {run.run_id: run for run in self.start}


def change_of(wire: Mapping[str, object]) -> Change:
    """Read a change from JSON with the names of the fields; runs are written as in the workflow log.

    Raises: ValueError if a name is unknown or a value is not valid.
    """
    unknown = wire.keys() - {"on", "after", "end", "restart", "start"}
    after, start = wire.get("after", 0), wire.get("start", [])
    if unknown or type(after) is not int or after < 0 or not isinstance(start, list):
        raise ValueError("a change has on, after (0 or more), end, restart (run IDs) and start (runs)")
    return Change(
        on=Kind(str(wire.get("on", Kind.LOGS))),
        after=after,
        end=_run_ids(wire.get("end", [])),
        restart=_run_ids(wire.get("restart", [])),
        start=tuple(run_of(run) for run in start),
    )


def _again(run: Run, now_ms: int) -> Run:
    return replace(run, created_ms=now_ms, state=STARTED, ended_ms=None)


def _run_ids(listed: object) -> tuple[str, ...]:
    if not isinstance(listed, list):
        raise ValueError("end and restart are lists of run IDs")  # noqa: TRY004 - one error for a bad body
    return tuple(map(str, listed))
