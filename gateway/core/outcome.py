"""The outcomes of a call to upstream: five values, one of them *unknown*. After the intent nothing raises."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

from gateway.core.run import Skipped


class Made(NamedTuple):
    """What an action made, as a run that was started again: its ID, and its creation in Unix milliseconds if told."""

    made_id: str
    created_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Upstream answered how many things it did it to; `upstream_status` is None if there was nothing to send.

    That is the number of runs it cancelled, of entries it deleted, or of what else the action is about. `action_id`
    names the bulk action under which upstream keeps the true total, if it has one; `made` is what came into being.
    """

    upstream_status: int | None
    cancelled: int
    action_id: str | None = None
    made: tuple[Made, ...] = ()

    name: ClassVar[Literal["cancelled"]] = "cancelled"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Upstream works on the cancel in the background under `action_id`; the number of runs is not known yet."""

    upstream_status: int
    action_id: str

    name: ClassVar[Literal["accepted"]] = "accepted"


class Pace(NamedTuple):
    """The pace that upstream asks for in an answer with 429; None stands for what it did not say in exactly one way.

    `now_s` is its `Date` and `reset_s` its `Burst-RateLimit-Reset`, both in Unix seconds by its own clock;
    `retry_after_s` is its `Retry-After` in seconds.
    """

    now_s: int | None = None
    reset_s: int | None = None
    retry_after_s: int | None = None


NO_PACE = Pace()


@dataclass(frozen=True, slots=True)
class Refused:
    """Upstream refused with 401, 403, 412 or 429, so nothing was cancelled; `text` is safe to show.

    `retry_after_s` is the wait to tell the caller, bounded; `burst` holds upstream's `Burst-RateLimit-*` headers, and
    `pace` what upstream itself said of when to come again. They are set for 429 only.
    """

    upstream_status: int
    text: str
    retry_after_s: int | None = None
    burst: tuple[tuple[str, str], ...] = ()
    pace: Pace = NO_PACE

    name: ClassVar[Literal["refused"]] = "refused"


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request was sent, for certain; `cause` is a fixed word."""

    cause: str

    name: ClassVar[Literal["not_sent"]] = "not_sent"
    upstream_status = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a plan of several orders: the runs cancelled for certain, the IDs not sent or of unknown fate."""

    cancelled: int
    unsent: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Bytes may have arrived, and no trustworthy answer came back; `cause` is a fixed word.

    `progress` is set if several orders were to be sent and not all of them were carried out.
    """

    cause: str
    upstream_status: int | None = None
    progress: Progress | None = None

    name: ClassVar[Literal["unknown"]] = "unknown"


NOTHING_SKIPPED: Skipped = MappingProxyType({})

Outcome = Cancelled | Accepted | Refused | NotSent | Unknown


class Closing(NamedTuple):
    """The result of a plan: its outcome, the number of runs cancelled above the count sent, and how the call went.

    `skipped` holds the runs that a second look left out, just before their order. `joins_left_out` counts the identical
    requests that arrived during the call after the limit on joins was reached: each was refused and has no `joined`
    record. `stopped_by` names the principal that stopped the plan before all of its orders were sent, if one did.
    """

    outcome: Outcome
    over_cancelled: int
    duration_ms: int
    caller_gone: bool
    skipped: Skipped = NOTHING_SKIPPED
    joins_left_out: int = 0
    stopped_by: str | None = None


class Excess(NamedTuple):
    """More than was sent: QStash cancelled `runs` above the count, or, where that is None, works on a wider filter.

    Of another `action` the `runs` are its things: entries deleted.
    """

    decision_id: str
    team: str
    rule: str | None
    runs: int | None = None
    action: str = "cancel_runs"
