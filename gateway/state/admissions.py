"""What is bound and reserved in the store before an intent, in one transaction, and settled after it.

An admission belongs to one decision. It holds the runs that the decision may cancel of a budget, the Idempotency-Key
that it came with, or both. It is withdrawn where no intent came of it, else closed with what is certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.core.plan import Budget

ONCE_MS = 24 * 3_600_000
"""How long an Idempotency-Key stays bound, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Runs, and one request, taken of the budget of a rule. `scope` is whose budget: requests of one scope share it.

    They count for the `team` as well (None: for every team). With `unapproved` they are taken only if they need no
    approval.
    """

    rule: str
    scope: str
    runs: int
    budget: Budget
    team: str | None = None
    unapproved: Unapproved | None = None


@dataclass(frozen=True, slots=True)
class Unapproved:
    """What may be done without approval: at most `over` runs of the rule and the team within `within_ms`."""

    over: int
    within_ms: int


@dataclass(frozen=True, slots=True)
class Binding:
    """An Idempotency-Key of a principal, by the SHA-256 (hex) of both, and that of the request it came with."""

    key_sha256: str
    request_sha256: str


@dataclass(frozen=True, slots=True)
class Admission:
    """What one decision takes before its intent. `instance` is the gateway that sends it."""

    decision_id: str
    instance: str
    reservation: Reservation | None = None
    binding: Binding | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a budget, and when (Unix milliseconds) all of it would be there again; None: no such bound."""

    runs: int | None
    requests: int | None
    resets_ms: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """The admission holds; `left` is what is left of the budget after it, if there is one."""

    left: Left | None = None


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Not enough is left, so nothing was taken; `left` is what there is."""

    left: Left


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """Others have to approve it, so nothing was taken: with the `before` of the same team it would be too many runs."""

    before: int


class Progress(StrEnum):
    """How far a decision has come whose Idempotency-Key was seen before."""

    UNDER_WAY = "under_way"
    ANSWERED = "answered"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer that a decision was given: the status, and the bytes of the body."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Bound:
    """The key is taken, so nothing was: by whom, with which request, and what came of it.

    `gone` says that the gateway that sends it has not beaten for a while, so that nobody will say what came of it.
    `cancelled` is the number of runs that is certain, if it is known by now.
    """

    decision_id: str
    request_sha256: str
    progress: Progress
    gone: bool = False
    answer: Answered | None = None
    cancelled: int | None = None


Verdict = Admitted | Exhausted | NeedsApproval | Bound
"""What came of asking for an admission."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of an admission: how many runs are certainly cancelled, and the answer, where there is one to repeat.

    `runs` None keeps the reservation, because nobody knows: it is settled later, or its window passes. With
    `free_binding` (nothing was sent) the key is free again.
    """

    runs: int | None
    answer: Answered | None = None
    free_binding: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """An admission that nobody has closed or withdrawn."""

    decision_id: str
    instance: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What a decision has taken of a budget, from the record: as it would stand in the store had that not been lost.

    `runs` and `requests` count against the budget of the scope from `at_ms` on; `cancelled` is None where nobody knows.
    """

    decision_id: str
    instance: str
    at_ms: int
    rule: str
    scope: str
    runs: int
    requests: int
    cancelled: int | None
    closed: bool
    team: str | None = None


def team_scope(rule: str, team: str | None) -> str:
    """Return the scope in which the requests of a team under a rule are counted."""
    return f"{rule} team:{team}"
