"""What became of decisions: the newest from memory, the others from the chains, found through the index.

A decision is shown to the team that made it, and to operators, who ask for that of any team (None). To any other team
it is as one that never was.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gateway.audit.chain import MacKey, parse_line
from gateway.audit.decisions.index import Place, Reading
from gateway.audit.decisions.joined import Members, RecordedDecision, is_last
from gateway.audit.decisions.keeper import Keeper
from gateway.audit.decisions.latest import Latest
from gateway.audit.decisions.lines import SHOWN, id_of, key_of, seen, take_all, team_named
from gateway.audit.segment import open_segment, segment_path

Fresh = Mapping[bytes, Sequence[bytes]]

NEWEST = b"\xff" * 16
"""Above every decision, where a listing begins."""


MOST_OPEN = 4096
"""The most decisions that are followed from their beginning; of others the chain is read again."""

_CLOSING = frozenset(("denied", "outcome", "settled"))

LOOK_AGAIN_S = 0.3
"""How long one that is not found waits for another look at the chains."""


class IndexBehind(Exception):
    """Raised when older decisions cannot be found now: the index is being made, or cannot be read."""


class Page(NamedTuple):
    """Some decisions, the newest first; `after` is the key of the last if there are more, else None."""

    decisions: list[RecordedDecision]
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions on record in `directory`. `latest` holds the lines that this process wrote last.

    `keys` are those that seal its records, if they are sealed.
    """

    directory: Path
    latest: Latest
    keeper: Keeper
    keys: tuple[MacKey, ...] = ()

    def in_memory(self, decision_id: str, team: str | None) -> RecordedDecision | None:
        """Return a team's decision that began within the latest lines, with all that is known; None for any other.

        It takes milliseconds: never call it on the event loop.
        """
        decision = RecordedDecision(decision_id)
        take_all(decision, self.latest.of(decision_id))
        return decision if _is_of(decision, team) else None

    def find(self, decision_id: str, team: str | None) -> RecordedDecision | None:
        """Return a team's decision by reading the index and the chains; None if it has none. Raises: IndexBehind."""
        found = self._found(decision_id, team)
        if found is None and self.keeper.looks(LOOK_AGAIN_S):
            # Another process may have written it since the chains were last looked at.
            found = self._found(decision_id, team)
        return found

    def _found(self, decision_id: str, team: str | None) -> RecordedDecision | None:
        with self._reading() as reading:
            return self._joined([key_of(decision_id)], team, reading, self._fresh(reading))[0]

    def of_team(self, team: str | None, *, before: bytes = NEWEST, most: int) -> Page:
        """Return a team's decisions whose keys are below `before`, the newest first. Raises: IndexBehind.

        A request that joined another is not listed: the decision that it joined is.
        """
        found: list[RecordedDecision] = []
        with self._reading() as reading:
            fresh = self._fresh(reading)
            self.keeper.look_now()
            begun = {key for key, lines in fresh.items() if any(_begins(line, team) for line in lines)}
            while len(found) <= most:
                wanted = most + 1 - len(found)
                keys = set(reading.of_team(team, before=before, most=wanted))
                keys |= {key for key in begun if key < before}
                chosen = sorted(keys, reverse=True)[:wanted]
                if not chosen:
                    break
                before = chosen[-1]
                # A file may have gone since it was indexed.
                found += [one for one in self._joined(chosen, team, reading, fresh) if one is not None]
        more = len(found) > most
        return Page(found[:most], key_of(found[most - 1].decision_id) if more else None)

    def records(self, decision_id: str, team: str | None) -> list[Members]:
        """Return the records of a team's decision, in their order; none if it has none. Raises: IndexBehind."""
        lines = self.latest.of(decision_id)
        found = self._whole(decision_id, team, lines)
        if not found:
            with self._reading() as reading:
                key = key_of(decision_id)
                lines = [*self._lines(reading.places(team, key)), *self._fresh(reading).get(key, ())]
            found = self._whole(decision_id, team, lines)
        return found

    def _whole(self, decision_id: str, team: str | None, lines: Iterable[bytes]) -> list[Members]:
        parsed = [parse_line(line.removesuffix(b"\n")) for line in lines]
        found: list[Members] = [
            one for one in parsed if isinstance(one, dict) and one.get("decision_id") == decision_id
        ]
        decision = RecordedDecision(decision_id)
        for members in found:
            decision.take(members)
        # What another process began is found through the index, from its beginning.
        return found if decision.begun is not None and _is_of(decision, team) else []

    def _reading(self) -> _Guarded:
        if not self.keeper.caught_up:
            self.keeper.look_now()
            raise IndexBehind
        return _Guarded(self.directory, self.keeper)

    def _fresh(self, reading: Reading) -> Fresh:
        """Return the lines that are not indexed yet, by decision."""
        lines = self.latest.beyond(reading.indexed)
        if lines is None:
            self.keeper.look_now()
            raise IndexBehind
        fresh: dict[bytes, list[bytes]] = {}
        for line in lines:
            at = seen(line)
            if at is not None and at.decision_id is not None:
                fresh.setdefault(key_of(at.decision_id.decode("ascii")), []).append(line)
        return fresh

    def _joined(
        self, keys: Sequence[bytes], team: str | None, reading: Reading, fresh: Fresh
    ) -> list[RecordedDecision | None]:
        """Return each decision joined from its lines, None if no record of the team begins or joins it."""
        found: list[RecordedDecision | None] = []
        for key in keys:
            decision = RecordedDecision(id_of(key))
            take_all(decision, self._lines(reading.places(team, key)))
            take_all(decision, fresh.get(key, ()))
            # The index says where to look, and the record whose it is.
            found.append(decision if _is_of(decision, team) else None)
        return found

    def _lines(self, places: Iterable[Place]) -> Iterable[bytes]:
        for place in places:
            with suppress(OSError), open_segment(segment_path(self.directory, place.chain, place.file)) as file:
                yield os.pread(file.fileno(), place.size, place.offset)


@dataclass(slots=True)
class Closings:
    """The decisions that this process closes, in their order. They are read behind the record, so no cancel waits."""

    decisions: Decisions
    _seqs: dict[bytes, int] = field(default_factory=dict)
    _open: dict[str, RecordedDecision] = field(default_factory=dict)

    def skip(self) -> None:
        """Leave out what was closed before now."""
        for line in self.decisions.latest.kept():
            if (at := seen(line)) is not None:
                self._seqs[at.instance] = at.seq

    def since(self) -> list[RecordedDecision]:
        """Return what was closed since the last call, each decision as far as it is known.

        It takes milliseconds: never call it on the event loop.
        """
        lines = self.decisions.latest.beyond(lambda instance: self._seqs.get(instance, 0))
        if lines is None:
            # More was written than is kept: what is still here is read, the rest is found through the chain.
            lines = self.decisions.latest.kept()
        return [closed for line in lines for closed in self._taken(line)]

    def _taken(self, line: bytes) -> Iterator[RecordedDecision]:
        at = seen(line)
        if at is None:
            return
        self._seqs[at.instance] = at.seq
        members = parse_line(line.removesuffix(b"\n")) if at.event in SHOWN and at.decision_id is not None else None
        if not isinstance(members, dict):
            return
        name = str(members["decision_id"])
        decision = self._open.pop(name, None) or RecordedDecision(name)
        decision.take(members)
        if decision.begun is None and members["event"] in _CLOSING:
            # It was begun before this process was, or before what is followed.
            with suppress(IndexBehind):
                decision = self.decisions.find(name, None) or decision
        if members["event"] != "denied" and not is_last(members) and decision.begun is not None:
            self._open[name] = decision
            if len(self._open) > MOST_OPEN:
                del self._open[next(iter(self._open))]
        if decision.begun is not None and members["event"] in _CLOSING:
            yield decision


class _Guarded:
    """A reading of the index; what fails in it is IndexBehind, and a damaged index is made anew."""

    def __init__(self, directory: Path, keeper: Keeper) -> None:
        self._directory = directory
        self._keeper = keeper
        self._reading: Reading | None = None

    def __enter__(self) -> Reading:
        try:
            self._reading = Reading.open(self._directory)
        except sqlite3.Error as fault:
            self._keeper.unread(fault)
            raise IndexBehind from fault
        return self._reading

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        if self._reading is not None:
            with suppress(sqlite3.Error):
                self._reading.link.close()
        if isinstance(fault, sqlite3.Error):
            self._keeper.unread(fault)
            raise IndexBehind from fault


def _is_of(decision: RecordedDecision, team: str | None) -> bool:
    """Return whether a decision was found at all, and is of this team (None: of any)."""
    return decision.team is not None and team in (None, decision.team)


def _begins(line: bytes, team: str | None) -> bool:
    """Return whether a decision of this team (None: of any) begins with the line."""
    at = seen(line)
    return at is not None and at.begins and at.team is not None and team in (None, team_named(at.team))
