"""Scripted changes of the simulated account between two calls: runs end, start or start again, entries come and go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.simulator.exchange import Kind
from gateway.simulator.holdings.held import Holdings
from gateway.simulator.holdings.things import DlqEntry, entry_of
from gateway.simulator.runs import STARTED, SUCCESS, Run, run_of


@dataclass(frozen=True, slots=True)
class Change:
    """A change right before a call of the kind `on`, after `after` other calls of that kind have been carried out.

    `end` and `restart` name existing runs. `start` holds new runs; each replaces the run with its ID, if there is one.
    `leave` names entries of the DLQ and messages that go, `fail` holds entries that enter the DLQ.
    """

    on: Kind = Kind.LOGS
    after: int = 0
    end: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    start: tuple[Run, ...] = ()
    leave: tuple[str, ...] = ()
    fail: tuple[DlqEntry, ...] = ()

    def of(self, runs: Mapping[str, Run], now_ms: int) -> dict[str, Run]:
        """Return, by ID, the runs that the change adds or alters."""
        ended = {run_id: runs[run_id].ended(SUCCESS, now_ms) for run_id in self.end if run_id in runs}
        again = {run_id: _again(runs[run_id], now_ms) for run_id in self.restart if run_id in runs}
        return ended | again | {run.run_id: run for run in self.start}

    def touch(self, held: Holdings, now_ms: int) -> None:
        """Change what the account holds besides runs."""
        for left in self.leave:
            held.messages.pop(left, None)
            if left in held.dlq:
                held.drop(held.dlq[left], now_ms)
        held.add(self.fail)


def change_of(wire: Mapping[str, object]) -> Change:
    """Read a change from JSON with the names of the fields; runs are written as in the workflow log.

    Raises: ValueError if a name is unknown or a value is not valid.
    """
    unknown = wire.keys() - {"on", "after", "end", "restart", "start", "leave", "fail"}
    after, start, fail = wire.get("after", 0), wire.get("start", []), wire.get("fail", [])
    if unknown or type(after) is not int or after < 0 or not isinstance(start, list) or not isinstance(fail, list):
        raise ValueError(
            "a change has on, after (0 or more), end, restart, leave (IDs), start (runs) and fail (entries)"
        )
    return Change(
        on=Kind(str(wire.get("on", Kind.LOGS))),
        after=after,
        end=_ids(wire.get("end", [])),
        restart=_ids(wire.get("restart", [])),
        start=tuple(run_of(run) for run in start),
        leave=_ids(wire.get("leave", [])),
        fail=tuple(entry_of(entry) for entry in fail),
    )


def _again(run: Run, now_ms: int) -> Run:
    return replace(run, created_ms=now_ms, state=STARTED, ended_ms=None)


def _ids(listed: object) -> tuple[str, ...]:
    if not isinstance(listed, list):
        raise ValueError("end, restart and leave are lists of IDs")  # noqa: TRY004 - one error for a bad body
    return tuple(map(str, listed))
