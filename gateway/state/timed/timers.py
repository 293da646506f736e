"""Pauses that end by themselves, as the store keeps them: which gateway resumes what, when, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MOST_TIMERS = 256
"""The most timers that are read at a time, the first due first."""

SHOWN_MS = 30 * 86_400_000
"""How long a timer stands that ended nothing, in milliseconds, unless what it is about is paused or resumed again."""


class Stage(StrEnum):
    """How far a timer has come."""

    PREPARED = "prepared"
    """The pause is on its way."""
    WAITING = "waiting"
    """The pause is certain; it ends at `due_ms`."""
    TAKEN = "taken"
    """One gateway resumes it, under the decision `resume_id`."""
    STUCK = "stuck"
    """Nothing is done any more: `why` says what people have to know."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A pause that ends `lasts_ms` milliseconds after it is certain; `decision_id` is its decision.

    `field` and `name` say what is paused, `team`, `subject` and `key_id` by whom. `instance` is the gateway that sends
    the pause, or the resume; `gone` says that it does not beat any more. Times are Unix milliseconds of the store.
    """

    decision_id: str
    field: str
    name: str
    team: str
    subject: str
    key_id: str | None
    lasts_ms: int
    instance: str
    stage: Stage = Stage.PREPARED
    due_ms: int | None = None
    resume_id: str | None = None
    why: str | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Switched:
    """What came of a pause or resume: `certain` (None: nobody knows) whether it was done.

    Where it `replaces`, earlier timers of the same name are over.
    """

    decision_id: str
    field: str
    name: str
    certain: bool | None
    replaces: bool


@dataclass(frozen=True, slots=True)
class Timers:
    """The timers of the store at one moment."""

    now_ms: int
    timers: tuple[Timer, ...]
