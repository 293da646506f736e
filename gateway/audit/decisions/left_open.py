"""The outcomes that earlier processes left open and nobody settled, so that this process may follow them.

Only a chain that no process writes is looked at, and its last chain stays locked for as long as somebody follows: of
two processes that start at once, one has it, and a third that starts later finds what was settled, or the lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gateway.audit.chain import parse_line
from gateway.audit.decisions.joined import Members, is_last
from gateway.audit.decisions.lines import Seen, seen
from gateway.audit.reader import first_record, lines_of, origin_of
from gateway.audit.segment import ChainLock, Disk, chains_in

MOST_BYTES = 64 * 1024 * 1024
"""How much of the newest chains is read, once or, if something was left open, a few times."""
MOST_LEFT = 128
LINES_A_TURN, REST_S = 200, 0.002
"""After so many lines the thread rests: it reads while the gateway serves."""

Chains = Mapping[str, list[Path]]


class Left(NamedTuple):
    """An outcome that left something open: its records, and the `plan` record of its runs, if they were looked up."""

    intent: Members
    outcome: Members
    plan: Members | None


@dataclass(slots=True)
class Following:
    """What was left open, and the locks that keep other processes from following it too; `release` ends that."""

    left: list[Left] = field(default_factory=list)
    locks: list[ChainLock] = field(default_factory=list)

    def release(self) -> None:
        """Let other processes follow what has not been settled."""
        locks, self.locks = self.locks, []
        for lock in locks:
            lock.release()


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """The search for what was left open in a directory after `since`, a time as records have it.

    `since_s` is the same time in Unix seconds: files that were not written since are not read.
    """

    directory: Path
    since: str
    since_s: float
    disk: Disk

    def found(self) -> Following:
        """Return it, locked against other processes; at most the newest MOST_LEFT. Raises: OSError."""
        chains = recent_chains(self.directory, self.since_s)
        first = _Findings(self.since)
        first.read(chains)
        if not first.open:
            return Following()
        following = Following()
        try:
            held = self._locked(first, following)
            # What another process settled until now is on record now.
            now = _Findings(self.since)
            now.read(chains := recent_chains(self.directory, self.since_s))
            following.left = self._with_intents(now, held, chains)
        except BaseException:
            following.release()
            raise
        if not following.left:
            following.release()
        return following

    def _locked(self, findings: _Findings, following: Following) -> set[str]:
        """Lock the last chain of each process that left something open; return the chains of those that have ended."""
        listed = chains_in(self.directory.iterdir())
        held: dict[str, bool] = {}
        for chain in {chain for chain, _ in findings.open.values()}:
            last = findings.last_of(chain)
            last = last if last in listed else chain
            if last not in held and last in listed:  # the chain of a process that serves, this one too, is locked
                lock = ChainLock.take(self.disk, self.directory, last, first=listed[last][0][1])
                held[last] = lock is not None
                following.locks += [] if lock is None else [lock]
        return {last for last, mine in held.items() if mine}

    def _with_intents(self, findings: _Findings, held: set[str], chains: Chains) -> list[Left]:
        """Join each open outcome with its intent, and that with the plan of its runs."""
        outcomes = {
            decision_id: members
            for decision_id, (chain, members) in findings.open.items()
            if chain in held or findings.last_of(chain) in held
        }
        outcomes = dict(list(outcomes.items())[-MOST_LEFT:])
        wider = {**chains, **self._before(chains)}
        intents = _records(wider, "intent", outcomes.keys())
        plans = _records(wider, "plan", {_plan_of(intent) for intent in intents.values() if "digest" in intent})
        return [
            Left(intent, outcomes[decision_id], plans.get(_plan_of(intent))) for decision_id, intent in intents.items()
        ]

    def _before(self, chains: Chains) -> Chains:
        """Return the chains that these continue: an intent may stand in the one, its outcome in the other."""
        listed, found = chains_in(self.directory.iterdir()), {}
        for paths in chains.values():
            with suppress(OSError):
                origin = origin_of(first_record(paths[0], ()))
                if origin is not None and origin.chain in listed:
                    found[origin.chain] = [path for _, path in listed[origin.chain]]
        return found


def _plan_of(intent: Members) -> str:
    return str(intent.get("plan") or intent.get("decision_id"))


@dataclass(slots=True)
class _Findings:
    """The outcomes left open since a time, by decision, each with its chain; and how chains continue each other."""

    since: str
    open: dict[str, tuple[str, Members]] = field(default_factory=dict)
    successors: dict[str, str] = field(default_factory=dict)

    def read(self, chains: Chains) -> None:
        """Read chains, in any order."""
        settled: set[str] = set()
        for chain, at, line in lines_of_events(chains, (b"outcome", b"settled", b"stop")):
            if at.event == b"settled" and at.decision_id is not None:
                settled.add(at.decision_id.decode("ascii"))
            elif at.event == b"stop" or _may_be_open(line):
                self._note(chain, line)
        for decision_id in settled:
            self.open.pop(decision_id, None)
        self.open = dict(sorted(self.open.items()))

    def last_of(self, chain: str) -> str:
        """Return the last of the chains that continue this one: the one that its process wrote when it ended."""
        passed = set()
        while chain in self.successors and chain not in passed:
            passed.add(chain)
            chain = self.successors[chain]
        return chain

    def _note(self, chain: str, line: bytes) -> None:
        members = parse_line(line)
        if isinstance(members, str):
            return
        successor = members.get("continued_by")
        if isinstance(successor, str):
            self.successors[chain] = successor
        elif members["event"] == "outcome" and not is_last(members) and str(members["ts"]) >= self.since:
            self.open[str(members["decision_id"])] = (chain, members)


def _may_be_open(line: bytes) -> bool:
    return any(word in line for word in (b'"outcome":"unknown"', b'"outcome":"accepted"', b'"action_id":'))


def _records(chains: Chains, event: str, wanted: Iterable[str]) -> dict[str, Members]:
    """Return the record of an event of each decision that is wanted."""
    names = {name.encode("ascii", "replace") for name in wanted}
    found: dict[str, Members] = {}
    if names:
        for _, at, line in lines_of_events(chains, (event.encode("ascii"),)):
            members = parse_line(line) if at.decision_id in names else ""
            if isinstance(members, Mapping):
                found[str(members["decision_id"])] = members
    return found


def recent_chains(directory: Path, since_s: float) -> Chains:
    """Return the chains that were written since a time in Unix seconds, the newest first, up to MOST_BYTES."""
    found: list[tuple[float, int, str, list[Path]]] = []
    for chain, files in chains_in(directory.iterdir()).items():
        with suppress(OSError):
            states = [path.stat() for _, path in files]
            at_s = max(state.st_mtime for state in states)
            if at_s >= since_s:
                found.append((at_s, sum(state.st_size for state in states), chain, [path for _, path in files]))
    chains: dict[str, list[Path]] = {}
    size = 0
    for _, bytes_of_it, chain, paths in sorted(found, reverse=True):
        size += bytes_of_it
        if chains and size > MOST_BYTES:
            break
        chains[chain] = paths
    return chains


def lines_of_events(
    chains: Chains, events: tuple[bytes, ...], rest: Callable[[float], None] = time.sleep
) -> Iterator[tuple[str, Seen, bytes]]:
    """Yield the lines of these events, without their newlines. A file that cannot be read is passed over."""
    number = 0
    for chain, paths in chains.items():
        for path in paths:
            with suppress(OSError):
                for line in lines_of(path):
                    number += 1
                    if number % LINES_A_TURN == 0:
                        rest(REST_S)
                    at = seen(line)
                    if at is not None and at.event in events and line.endswith(b"\n"):
                        yield chain, at, line[:-1]
