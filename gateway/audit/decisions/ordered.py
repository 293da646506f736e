"""The runs that earlier processes ordered of late, as the record says: a process that begins does not order them again.

    plan     names the runs of a decision, with their creation times
    intent   names its orders, before the first is sent
    chunk    says what came of one of them, before the next is sent

    settled  says that the states of the runs were read back

So the orders that may have been carried out are those with a chunk that does not rule it out and, where the process
ended before it closed the intent, the one after the last chunk, or that of the last chunk if it was to be sent again.
Those that were carried out only in part, and those whose runs were read back, are left out: QStash's list says what is
true of them.

Entries and messages are ordered by IDs that are never given again. So an order that names them counts also without a
plan, by its outcome, and if it was carried out in part: nobody knows which of them were restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs

from gateway.audit.chain import parse_line
from gateway.audit.decisions.joined import Members
from gateway.audit.decisions.left_open import lines_of_events, recent_chains
from gateway.audit.decisions.lines import seen
from gateway.audit.reader import lines_of
from gateway.core.outcome import Progress
from gateway.core.request import CANCEL_RUNS

_EVENTS = (b"plan", b"intent", b"chunk", b"outcome", b"settled")
_NOT_CARRIED_OUT = ("refused", "not_sent")
_LOOKED_UP = ("workflowRunIds", "dlqIds", "messageIds")


class Ordered(NamedTuple):
    """One run that was ordered under a decision: its creation time is Unix milliseconds, `at_s` Unix seconds.

    `field` is the wire name under which the order named it, which tells a run from an entry with the same ID. The time
    may be unknown (None) of what is no run. `certain` says that QStash has cancelled it, or done what it was ordered to
    do.
    """

    field: str
    run_id: str
    created_ms: int | None
    at_s: float
    decision_id: str
    certain: bool


@dataclass(slots=True)
class _Orders:
    """The orders of one decision; `last` is the number of the last one with a chunk.

    `of_runs` says that they cancel runs, and `looked_up` that each has a chunk once it has ended. `came` holds what
    chunks say of orders, and `ended` what the process that sent them said in its outcome. Both may stand in a newer
    chain than the intent and be read before it, so nothing is made of them until all is read.
    """

    plan_id: str = ""
    of_runs: bool = True
    looked_up: bool = True
    at_s: float = 0.0
    queries: list[str] = field(default_factory=list)
    came: list[tuple[str, Members]] = field(default_factory=list)
    ended: Members | None = None
    last: int = 0
    read_back: bool = False

    @property
    def field(self) -> str:
        """The wire name under which the orders name things; those of one decision have the same."""
        names = parse_qs(self.queries[0]) if self.queries else ()
        return next((name for name in _LOOKED_UP if name in names), _LOOKED_UP[0])

    def may_have_arrived(self) -> list[tuple[list[str], bool]]:
        """Return the run IDs of each order that may have been carried out, and whether it certainly was."""
        if self.read_back:
            return []
        if self.ended is None:
            in_flight = self.queries[self.last : self.last + 1]
            return [*self._sent(self.came), *((_ids(query), False) for query in in_flight)]
        whole = [] if self.looked_up or self.of_runs else [(query, self.ended) for query in self.queries]
        return self._sent([*self.came, *whole])

    def _sent(self, came: Sequence[tuple[str, Members]]) -> list[tuple[list[str], bool]]:
        """Return the IDs of the orders that may have been carried out, by the members that say how many they hit."""
        found: list[tuple[list[str], bool]] = []
        for query, members in came:
            run_ids, outcome, cancelled = _ids(query), members["outcome"], members.get("cancelled")
            whole = isinstance(cancelled, int) and cancelled >= len(run_ids)
            if outcome not in _NOT_CARRIED_OUT and (whole or outcome != "cancelled" or not self.of_runs):
                found.append((run_ids, whole))
        return found


def ordered_since(directory: Path, since_s: float) -> list[Ordered]:
    """Return the runs that were ordered since a time in Unix seconds, the oldest first. Raises: OSError."""
    created: dict[str, dict[str, int]] = {}
    orders: dict[str, _Orders] = {}
    for members in _records(directory, since_s):
        decision_id = str(members["decision_id"])
        if members["event"] == "plan":
            created[decision_id] = dict(_runs(members))
        else:
            _take(orders.setdefault(decision_id, _Orders()), members, decision_id)
    found = [
        Ordered(field, run_id, known.get(run_id), one.at_s, decision_id, certain)
        for decision_id, one in orders.items()
        if one.at_s >= since_s
        for known, field in ((created.get(one.plan_id, {}), one.field),)
        for run_ids, certain in one.may_have_arrived()
        for run_id in run_ids
        if run_id in known or not one.of_runs
    ]
    return sorted(found, key=lambda one: one.at_s)


def _records(directory: Path, since_s: float) -> Iterator[Members]:
    for _, _, line in lines_of_events(recent_chains(directory, since_s), _EVENTS):
        members = parse_line(line)
        if not isinstance(members, str):
            yield members


def _take(orders: _Orders, members: Members, decision_id: str) -> None:
    """Add what one record says of the orders of its decision."""
    match members:
        case {"event": "intent", "orders": list(queries), "ts": str(at)}:
            orders.queries = [str(query) for query in queries]
            orders.plan_id = str(members.get("plan") or decision_id)
            orders.at_s = datetime.fromisoformat(at).timestamp()
            orders.of_runs = members.get("action", CANCEL_RUNS) == CANCEL_RUNS
            orders.looked_up = "digest" in members
        case {"event": "chunk", "order": str(query), "outcome": str(), "number": int(number)}:
            orders.last = max(orders.last, number - _may_be_sent_again(members))
            orders.came.append((query, members))
        case {"event": "settled", "cancelled": int()}:
            orders.read_back = True
        case {"event": "outcome", "outcome": str()} if members.get("cause") != "recovered":
            orders.ended = members


def _may_be_sent_again(chunk: Members) -> bool:
    """Return whether upstream refused the order for the pace, so that it may have been sent again since."""
    return chunk.get("outcome") == "refused" and chunk.get("attempt") is not None


@dataclass(slots=True)
class _Cut:
    """The orders of a plan whose process ended, by their queries, and the last chunk of each by its number."""

    queries: list[str]
    chunks: dict[int, Members] = field(default_factory=dict)

    def progress(self) -> Progress:
        """Return how many runs were certainly cancelled, and which were certainly not sent; the others are unknown."""
        cancelled, unknown, certain = 0, list[str](), set[str]()
        for chunk in self.chunks.values():
            run_ids, outcome, runs = _ids(str(chunk.get("order"))), chunk.get("outcome"), chunk.get("cancelled")
            if outcome == "cancelled":
                cancelled += runs if isinstance(runs, int) else 0
                certain.update(run_ids)
            elif outcome not in _NOT_CARRIED_OUT:
                unknown += run_ids
        number = max(self.chunks, default=0)
        last = self.chunks.get(number, {"outcome": "cancelled"})
        # An order whose runs had all ended has no chunk: it is not certain which order was the next.
        first = number - 1 if _may_be_sent_again(last) else number if last.get("outcome") == "cancelled" else None
        left = [run_id for query in self.queries for run_id in _ids(query) if run_id not in {*certain, *unknown}]
        open_ones = set() if first is None else {one for query in self.queries[first:] for one in _ids(query)}
        unknown += [run_id for run_id in left if run_id in open_ones]
        return Progress(cancelled, tuple(run_id for run_id in left if run_id not in open_ones), tuple(unknown))


def progress_in(
    paths: Sequence[Path], wanted: Collection[str], *, on_read: Callable[[int], None]
) -> dict[str, Progress]:
    """Return how far the plans among these decisions had come whose intent stands in the files, which are one chain.

    `on_read` is called with the size of every line in bytes, and may raise to stop the reading. Raises: OSError.
    """
    cut: dict[str, _Cut] = {}
    names = {name.encode("ascii", "replace") for name in wanted}
    for line in (line for path in paths if names for line in lines_of(path)):
        on_read(len(line))
        at = seen(line)
        if at is None or at.decision_id not in names or at.event not in (b"intent", b"chunk"):
            continue
        members = parse_line(line.removesuffix(b"\n"))
        if isinstance(members, str):
            continue
        match members:
            case {"event": "intent", "digest": str(), "orders": list(queries), "decision_id": str(name)}:
                cut[name] = _Cut([str(query) for query in queries])
            case {"event": "chunk", "number": int(number), "decision_id": str(name)} if name in cut:
                cut[name].chunks[number] = members
    return {name: one.progress() for name, one in cut.items()}


def _ids(query: str) -> list[str]:
    """Return what an order names of that which is looked up: runs, entries, messages."""
    values = parse_qs(query)
    return [one for name in _LOOKED_UP for one in values.get(name, ())]


def _runs(plan: Members) -> Iterator[tuple[str, int]]:
    runs = plan.get("runs")
    for run in runs if isinstance(runs, list) else ():
        match run:
            case [str(run_id), _, int(created_ms)]:
                yield run_id, created_ms
