"""Plans, cursors and decisions as the store keeps them: beside what is asked of them, a document of their own room."""

from __future__ import annotations

from dataclasses import dataclass

OVER = ("rejected", "refused", "failed", "applied", "stopped", "expired", "unknown")
"""The states that a plan does not leave any more, so that there is nothing left to stop."""

DECISIONS_LIVE_MS = 90 * 86_400_000
"""How long a decision is kept in the store, in milliseconds; after that the chains have it."""


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """One plan. `document` is its JSON as `execution/plans` writes it; `digest` is that of its runs.

    `claimed_by` is the instance that applies it, or has: a claim never lapses, and nobody takes it over. Times are Unix
    milliseconds by the store's clock; after `expires_ms` it is not shown any more.
    """

    plan_id: str
    team: str
    principal: str
    state: str
    digest: str
    document: bytes
    made_ms: int
    expires_ms: int
    claimed_by: str | None = None
    stopped_by: str | None = None
    claimant_gone: bool = False


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """One closed decision: its number in the order of time, and its JSON as it is shown."""

    decision_id: str
    team: str
    at_ms: int
    document: bytes
