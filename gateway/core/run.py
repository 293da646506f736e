"""One workflow run as upstream's log lists it, how runs are looked up, and what a look-up came to; pure values."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

STARTED = "RUN_STARTED"
CANCELLED = "RUN_CANCELED"


@dataclass(frozen=True, slots=True)
class Run:
    """One run, every value as upstream gave it and in the request grammar; `created_ms` is Unix milliseconds.

    Two runs under one ID differ in `created_ms`: a custom ID can be started again.
    """

    run_id: str
    workflow_url: str
    created_ms: int
    state: str = field(default=STARTED, compare=False)
    caller_ip: str | None = None
    flow_control_key: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        """Whether a cancel can still stop it."""
        return self.state == STARTED


@dataclass(frozen=True, slots=True)
class Listing:
    """Runs as upstream's log showed them, each ID once; `unreadable` are those with a value outside the grammar, by ID.

    An ID that cannot be read either stands as `?`. Where upstream's log was `narrowed` to what was asked for, a second
    run under one of the IDs may not have shown.
    """

    runs: tuple[Run, ...]
    unreadable: tuple[str, ...] = ()
    pages: int = 0
    narrowed: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a permit says of the look-up: at most `max_runs` may be left, those younger than `older_than_ms` are not."""

    max_runs: int | None = None
    older_than_ms: int = 0


class Skip(StrEnum):
    """Why a run that the request means is not cancelled."""

    YOUNG = "young"
    FINISHED = "finished"
    RESTARTED = "restarted"
    UNREADABLE = "unreadable"
    BEYOND_COUNT = "beyond_count"


MOST_GROUPS = 50
"""How many workflows and labels are told apart where runs are counted."""

Skipped = Mapping[Skip, tuple[str, ...]]


def joined(*parts: Skipped) -> Skipped:
    """All the runs that were skipped, each under the first reason it was skipped for."""
    found: dict[Skip, tuple[str, ...]] = {}
    seen: set[str] = set()
    for part in parts:
        for why, run_ids in part.items():
            fresh = tuple(run_id for run_id in run_ids if run_id not in seen)
            seen.update(fresh)
            if fresh:
                found[why] = (*found.get(why, ()), *fresh)
    return found


@dataclass(frozen=True)
class Resolved:
    """The runs that a permitted request means now: those to cancel, oldest first, and those skipped, by run ID.

    What is shown of them is counted once; two thousand runs may have two hundred thousand labels.
    """

    runs: tuple[Run, ...]
    skipped: Skipped = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the runs to cancel: ID and creation time, in order."""
        lines = "".join(f"{run.run_id} {run.created_ms}\n" for run in self.runs)
        return hashlib.sha256(lines.encode("ascii")).hexdigest()

    @cached_property
    def by_workflow(self) -> dict[str, int]:
        """How many runs of a URL are to be cancelled, of the 50 with most."""
        return dict(Counter(run.workflow_url for run in self.runs).most_common(MOST_GROUPS))

    @cached_property
    def by_label(self) -> dict[str, int]:
        """How many runs of a label are to be cancelled, of the 50 with most; a run with two counts for both."""
        return dict(Counter(label for run in self.runs for label in run.labels).most_common(MOST_GROUPS))

    def counted(self) -> Resolved:
        """The same, with everything counted now that is shown later."""
        _ = self.digest, self.by_workflow, self.by_label
        return self
