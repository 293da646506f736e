"""One chain on disk: commits batches of records to its newest segment, rotates, and goes on after a bad one.

What is true of the files is kept here and changes only with them: the head, and the intents without an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from gateway.audit.chain import GENESIS, Head, MacKey, Record, Sealer
from gateway.audit.record import Members, continued_members
from gateway.audit.segment import AppendFailed, Disk, Segment, segment_path


class Committed(NamedTuple):
    """What a commit wrote: each record's sequence number (0: it had been closed before), and all lines."""

    seqs: list[int]
    lines: list[bytes]


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How the log is kept.

    `segment_bytes` is the size from which the next file is begun, `wait_s` the longest wait for the disk,
    `retry_s` the pause between tries after a failed write, and `queue_records` how many records may wait before
    intents are refused.
    """

    directory: Path
    durability: Literal["fsync", "os"] = "fsync"
    stdout: bool = False
    mac_key: MacKey | None = None
    segment_bytes: int = 64 * 1024 * 1024
    queue_records: int = 10_000
    wait_s: float = 2.0
    retry_s: float = 0.5

    @property
    def durable(self) -> bool:
        """Whether a record survives the power cut, not only the process."""
        return self.durability == "fsync"


class Journal:
    """The only writer of one chain. Not for two threads at once."""

    def __init__(
        self, settings: AuditSettings, *, chain: str, sealer: Sealer, disk: Disk, clock: Callable[[], int]
    ) -> None:
        self.head = GENESIS
        self.open_intents: dict[str, None] = {}
        self.notice: str | None = None
        self._settings = settings
        self._chain = chain
        self._sealer = sealer
        self._disk = disk
        self._clock = clock
        self._number = 0
        self._segment: Segment | None = None
        self._suspects: list[str] = []
        self._intrusions: list[Members] = []

    def resume(self, segment: Segment, *, number: int, head: Head, open_intents: Iterable[str]) -> None:
        """Goes on with a chain that another process began; `number` is that of its last file."""
        self._segment, self._number, self.head = segment, number, head
        self.open_intents = dict.fromkeys(open_intents)

    def commit(self, records: Sequence[Record]) -> Committed:
        """Appends the records as one batch. An outcome for an intent that is not open is left out: never closed twice.

        Raises: AppendFailed: none of them is in the log, and nothing else changed.
        """
        segment = self._writable()
        notices = self._notices()
        wanted, seqs, still_open = self._admit(records, first_seq=self.head.seq + len(notices) + 1)
        lines, head = self._sealer.seal(self.head, [*notices, *wanted])
        try:
            segment.append(b"".join(lines))
        except AppendFailed as failed:
            if failed.suspect:
                self._set_aside(segment)
            raise
        except BaseException:
            # No disk's error: what of the batch is in the file nobody knows.
            self._set_aside(segment)
            raise
        self.head, self.open_intents = head, still_open
        self._suspects, self._intrusions = [], []
        return Committed(seqs, lines)

    def _admit(self, records: Sequence[Record], *, first_seq: int) -> tuple[list[Record], list[int], dict[str, None]]:
        opened = self.open_intents.copy()
        wanted: list[Record] = []
        seqs: list[int] = []
        for record in records:
            decision_id = str(record.members.get("decision_id"))
            if record.event == "outcome" and opened.pop(decision_id, self) is self:
                seqs.append(0)
                continue
            if record.event == "intent":
                opened[decision_id] = None
            seqs.append(first_seq + len(wanted))
            wanted.append(record)
        return wanted, seqs, opened

    def _writable(self) -> Segment:
        if self._segment is not None and (reason := self._segment.intrusion()):
            self.notice = reason
            self._intrusions.append({"reason": reason, "segment": self._segment.path.name})
            self._segment.close()
            self._segment = None
        if self._segment is None or self._segment.size >= self._settings.segment_bytes:
            self._segment = self._next_segment()
        return self._segment

    def _next_segment(self) -> Segment:
        # The number is used up even if this fails, so that no half-made file is ever taken for the next one.
        self._number += 1
        path = segment_path(self._settings.directory, self._chain, self._number)
        fresh = Segment.create(self._disk, path, durable=self._settings.durable)
        if self._segment is not None:
            self._segment.close()
        return fresh

    def _set_aside(self, segment: Segment) -> None:
        self._suspects.append(segment.path.name)
        self.notice = "segment_suspect"
        segment.close()
        self._segment = None

    def _notices(self) -> list[Record]:
        notices: list[Members] = []
        if self._suspects:
            last_good = {"seq": self.head.seq, "head": self.head.digest}
            notices.append({"reason": "segment_suspect", "suspect": list(self._suspects), "last_good": last_good})
        return [self._continued(found) for found in [*notices, *self._intrusions]]

    def _continued(self, found: Members) -> Record:
        reason = str(found["reason"])
        members = continued_members(reason, open_intents=len(self.open_intents), left_out=0, found=found)
        return Record(self._clock(), "recovery", members)

    def checkpoint(self) -> Members:
        """The head now, signed, for keeping somewhere else."""
        return self._sealer.checkpoint(self._chain, self.head, self._clock())

    def close(self) -> None:
        """Gives the file back."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
