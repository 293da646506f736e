"""The workflow runs that upstream's log lists, the bounds on a look-up, and its result; pure values."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from gateway.core import grammar

STARTED = "RUN_STARTED"
CANCELLED = "RUN_CANCELED"
HANDLED = "HANDLED_BY_US"
"""The state of a run that an order of ours has cancelled while upstream's index still shows it as running."""
ORDERED = "ORDERED_BY_US"
"""The same where the order is on its way, or it is not known what came of it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Every value is as upstream gave it and fits the request grammar; `created_ms` is Unix milliseconds.

    Two runs with one ID differ in `created_ms`: a custom ID can be started again.

    An entry of the dead letter queue, and a message, stand in the same form, so that they are matched, judged and
    ordered as runs are: `run_id` is then their own ID, and `failed_run_id` the run that an entry is about.
    """

    run_id: str
    workflow_url: str
    created_ms: int
    state: str = field(default=STARTED, compare=False)
    caller_ip: str | None = None
    flow_control_key: str | None = None
    labels: tuple[str, ...] = ()
    failed_run_id: str | None = None

    @property
    def running(self) -> bool:
        """Whether a cancel can still stop the run."""
        return self.state == STARTED

    @property
    def host(self) -> str:
        """The host of the URL, with its port if it has one."""
        return grammar.host_of(self.workflow_url)

    @property
    def path(self) -> str:
        """The path of the URL, without the `?query`."""
        return grammar.path_of(self.workflow_url)


@dataclass(frozen=True, slots=True)
class Listing:
    """The runs as upstream's log showed them, each ID once; `unreadable` names those with a value outside the grammar.

    If the ID itself cannot be read, `?` stands for it. If upstream was asked for a `narrowed` part of its log, or if
    the reading `ended_early`, it may not have shown a second run with one of the IDs. `as_of_ms` is upstream's time
    when the listing began, if known; `much_news` says that more runs were started about then than a second look reads.
    """

    runs: tuple[Run, ...]
    unreadable: tuple[str, ...] = ()
    pages: int = 0
    narrowed: bool = False
    as_of_ms: int | None = None
    ended_early: bool = False
    much_news: bool = False


@dataclass(frozen=True, slots=True)
class LookUpBounds:
    """The bounds on what one look-up costs: the most `runs` that may match, and the most `seconds` that it may take."""

    runs: int = 10_000
    seconds: float = 60


@dataclass(slots=True)
class LookUp:
    """A look-up under way: how many pages were read, runs listed on them, and runs matched.

    It may end as soon as it has found `enough` runs created until `latest_ms` (Unix milliseconds; None: any) that are
    not among those `handled`, by ID and creation time; with `enough` None it reads to the end.
    """

    enough: int | None = None
    latest_ms: int | None = None
    handled: Container[tuple[str, int]] = ()
    pages: int = 0
    listed: int = 0
    matched: int = 0

    def counts(self, run: Run) -> bool:
        """Return whether a run that matches is one of those looked for."""
        old_enough = self.latest_ms is None or run.created_ms <= self.latest_ms
        return run.running and old_enough and (run.run_id, run.created_ms) not in self.handled

    def words(self) -> str:
        """Return how far it came, in words."""
        return f"{self.matched:,} of the {self.listed:,} runs read so far match"


@dataclass(frozen=True, slots=True)
class Resolution:
    """The bounds on a look-up: runs younger than `older_than_ms` are left out.

    Of those that remain more than `max_runs` refuse the request, and at most `cap` are taken.
    """

    max_runs: int | None = None
    older_than_ms: int = 0
    cap: int | None = None


class Skip(StrEnum):
    """The reason why a run that the request means is not cancelled. `done`: an order of ours has cancelled it."""

    YOUNG = "young"
    FINISHED = "finished"
    RESTARTED = "restarted"
    UNREADABLE = "unreadable"
    BEYOND_COUNT = "beyond_count"
    DONE = "done"


LEFT = frozenset((Skip.YOUNG, Skip.RESTARTED, Skip.UNREADABLE, Skip.BEYOND_COUNT))
"""The reasons that leave a matching run at work, as far as is known."""


MOST_GROUPS = 50
"""The most workflows, and the most labels, that are counted separately: those with the most runs."""

Skipped = Mapping[Skip, tuple[str, ...]]


def merged(*parts: Skipped) -> Skipped:
    """Merge skipped runs; each run keeps the first reason it was skipped for."""
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

    With `more` others match as well: they were beyond the count, or the list was not read to its end.

    The numbers to show are counted once: two thousand runs may have two hundred thousand labels.
    """

    runs: tuple[Run, ...]
    skipped: Skipped = field(default_factory=dict)
    more: bool = False

    @cached_property
    def digest(self) -> str:
        """The SHA-256 (hex) over the runs to cancel: ID and creation time, in order."""
        lines = "".join(f"{run.run_id} {run.created_ms}\n" for run in self.runs)
        return hashlib.sha256(lines.encode("ascii")).hexdigest()

    @cached_property
    def by_workflow(self) -> dict[str, int]:
        """The number of runs to cancel for each URL, for the 50 with the most."""
        return dict(Counter(run.workflow_url for run in self.runs).most_common(MOST_GROUPS))

    @cached_property
    def by_label(self) -> dict[str, int]:
        """The number of runs to cancel for each label, for the 50 with the most; a run with two counts for both."""
        return dict(Counter(label for run in self.runs for label in run.labels).most_common(MOST_GROUPS))

    def counted(self) -> Resolved:
        """Count now everything that is shown later, and return the same object."""
        _ = self.digest, self.by_workflow, self.by_label
        return self
