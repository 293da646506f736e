"""Approvals as the store keeps them: a plan that waits for other people, and what each of them has said of it; pure.

What is said counts only once it is on record: it is taken, recorded, and then confirmed. Whatever fails in between, the
same person may say it again. A plan waits in the same way: nobody sees or approves it before it is on record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from gateway.core.request import ActionRequest, Principal
from gateway.state.once import request_sha256

MOST_OF_ONE = 4
MOST_OF_A_TEAM = 16
"""How many plans of one principal, and of one team, may wait for approval at a time."""

SHOWN_MS = 600_000
"""How long after its end a plan that waited is still shown, in milliseconds."""

Word = Literal["approve", "reject"]


class End(StrEnum):
    """The ways in which the wait of a plan ends; `over` means that it was applied or stopped, as other records say."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Voice:
    """What one principal says of a plan, and by which right: `person` tells persons apart as far as that is known.

    `credential` says which key or which statements of a token it came with, so that it can be asked whether that is
    still in force. `plan_digest` and `policy_digest` are what was approved; `at_ms` is Unix milliseconds of the store.
    """

    voice_id: str
    plan_id: str
    principal: str
    person: str
    credential: str
    word: Word
    reason: str | None
    plan_digest: str
    policy_digest: str
    at_ms: int = 0
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A plan that waits for `needed` principals of the teams in `by`, until `until_ms` by the store's clock.

    The plan's ID is the decision id of the request that it began with. `requester` is who asked, `person` and
    `request_sha256` what tells that person and the typed request with its reason from others. `instance` is the gateway
    that records its end. `now_ms` is the store's time when it was read; `claimed_by` is the gateway that applies it, or
    has. It is `asked` once it is on record that it waits. Of the `voices` only the confirmed ones count.
    """

    plan_id: str
    instance: str
    team: str
    requester: str
    person: str
    request_sha256: str
    rule: str
    by: tuple[str, ...]
    needed: int
    plan_digest: str
    policy_digest: str
    within_ms: int
    asked_ms: int = 0
    until_ms: int = 0
    now_ms: int = 0
    claimed_by: str | None = None
    asked: bool = False
    end: End | None = None
    voices: tuple[Voice, ...] = ()

    @property
    def claimed(self) -> bool:
        """Whether a gateway applies it, or has."""
        return self.claimed_by is not None

    @property
    def late(self) -> bool:
        """Whether its time is up."""
        return self.now_ms >= self.until_ms

    def given(self) -> tuple[Voice, ...]:
        """Return the approvals on record, of these runs under these policies, the oldest first."""
        bound = (self.plan_digest, self.policy_digest)
        return tuple(
            one
            for one in self.voices
            if one.confirmed and one.word == "approve" and (one.plan_digest, one.policy_digest) == bound
        )

    def rejected(self) -> Voice | None:
        """Return what rejected the plan, if something did."""
        return next((one for one in self.voices if one.confirmed and one.word == "reject"), None)


@dataclass(frozen=True, slots=True)
class Full:
    """As many plans as may wait do so already: `limit` of the principal, or of its team."""

    limit: int
    whose: Literal["you", "your team"]


class Unheard(StrEnum):
    """The reasons why what somebody says of a plan is not taken."""

    GONE = "gone"
    SAME_PERSON = "same_person"


def cancel_sha256(request: ActionRequest) -> str:
    """Return the SHA-256 (hex) of a typed request with its reason: the same for an identical cancel only."""
    return request_sha256({"request": request.identity(), "reason": request.reason})


def person_of(principal: Principal) -> str:
    """Return what a principal says of who it is: the `sub` of its token, or the id of its key.

    One person with two keys of different ids is two persons to it: nothing says otherwise.
    """
    _, is_token, sub = principal.subject.partition("#")
    return f"sub:{sub}" if is_token else f"key:{principal.subject}"
