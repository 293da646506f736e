"""Notices as the store keeps them, on their way to the receivers that the configuration names (`notify`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

KEPT_DELIVERED_MS = 86_400_000
"""How long a delivered notice is still known, in milliseconds, so that it is not kept anew by whoever repeats it."""

UNSERVED_MS = 30 * 86_400_000
"""How long a notice is kept, in milliseconds, whose receiver no gateway has tried since."""

Event = Literal["approval", "freeze", "over_cancelled", "filter_wider", "reload_refused", "audit_unavailable"]
EVENTS: tuple[Event, ...] = get_args(Event)
"""What receivers can ask to be told of."""

Format = Literal["cloudevents", "slack"]
FORMATS: tuple[Format, ...] = get_args(Format)

ApprovalState = Literal["awaiting_approval", "approved", "rejected", "expired", "void"]


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """One notice for one receiver. `notice_id` is the same for all receivers, and whenever it is sent again.

    `receiver` is the name of the receiver in the store. Notices of one `subject` are delivered in the order of
    `at_ms` (Unix milliseconds), then of `notice_id`. `document` is the notice as JSON.
    """

    notice_id: str
    receiver: str
    subject: str
    at_ms: int
    document: bytes


@dataclass(frozen=True, slots=True)
class TakenNotice:
    """A notice that this gateway alone delivers now, until its lease ends; `attempts` are those that failed so far."""

    notice_id: str
    receiver: str
    document: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class ApprovalStep:
    """What a notice says of a plan that needs approval, without its runs: how many there are, and who decides.

    The number of `runs`, or of other things, and the `action` are known where the plan begins to wait; later steps do
    not say them (None).
    `team` and `principal` are those who asked, `by` the teams that may approve, `needed` how many of them have to, and
    `given` the principals who have. `decided_by` and `reason` belong to this step. Times are Unix milliseconds.
    """

    plan_id: str
    state: ApprovalState
    at_ms: int
    team: str
    principal: str
    rule: str
    runs: int | None
    until_ms: int
    by: tuple[str, ...]
    needed: int = 1
    given: tuple[str, ...] = ()
    action: str | None = None
    decided_by: str | None = None
    reason: str | None = None
