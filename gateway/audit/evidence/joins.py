"""The decisions of a record, one after the other, each joined from all of its records.

One pass is enough, in bounded memory: the lines of a decision are held until its last record. When too many are held,
the oldest decision is given as far as it is known; `strays` then counts the records that come too late for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from gateway.audit.decisions.joined import CONTINUING, MOST_HELD, RecordedDecision, is_last
from gateway.audit.decisions.lines import take_all

MOST_BYTES = 64 * 1024 * 1024
"""The most bytes of lines that are held. An order of ten thousand runs has a line of a megabyte."""

Members = Mapping[str, object]
Lines = list[bytes]


class Joins:
    """The decisions whose first record is `wanted`. Records must be given in order."""

    def __init__(
        self, wanted: Callable[[Members], bool], *, most: int = MOST_HELD, most_bytes: int = MOST_BYTES
    ) -> None:
        self._wanted = wanted
        self._most, self._most_bytes = most, most_bytes
        self._held: dict[str, Lines] = {}
        self._bytes = 0
        self.strays = 0

    def take(self, members: Members, line: bytes) -> Iterator[RecordedDecision]:
        """Take one record and its line, and yield the decisions that are complete now, or have to give way."""
        decision_id, event = str(members.get("decision_id")), members.get("event")
        if event == "denied" and self._wanted(members):
            yield _joined(decision_id, [line])
        elif event == "intent":
            # What is not wanted is held as well, without its lines: what comes of it is no stray.
            self._hold(decision_id, [line] if self._wanted(members) else [])
            yield from self._above_the_bounds()
        elif event in CONTINUING:
            yield from self._continue(decision_id, members, line)

    def _continue(self, decision_id: str, members: Members, line: bytes) -> Iterator[RecordedDecision]:
        lines = self._held.get(decision_id)
        if lines is None:
            self.strays += 1
            return
        if lines:
            lines.append(line)
            self._bytes += len(line)
        if is_last(members):
            yield from self._let_go(decision_id)
        else:
            yield from self._above_the_bounds()

    def rest(self) -> Iterator[RecordedDecision]:
        """Yield the decisions of which no last record was taken, the oldest first."""
        while self._held:
            yield from self._let_go(next(iter(self._held)))

    def _hold(self, decision_id: str, lines: Lines) -> None:
        if decision_id not in self._held:
            self._held[decision_id] = lines
            self._bytes += sum(map(len, lines))

    def _above_the_bounds(self) -> Iterator[RecordedDecision]:
        while len(self._held) > self._most or self._bytes > self._most_bytes:
            yield from self._let_go(next(iter(self._held)))

    def _let_go(self, decision_id: str) -> Iterator[RecordedDecision]:
        lines = self._held.pop(decision_id)
        if lines:
            self._bytes -= sum(map(len, lines))
            yield _joined(decision_id, lines)


def _joined(decision_id: str, lines: Lines) -> RecordedDecision:
    decision = RecordedDecision(decision_id)
    take_all(decision, lines)
    return decision
