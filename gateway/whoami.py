"""`GET /gateway/v1/whoami`: who the caller is here, and what it may do, in plain words."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.cancel import Principal
from gateway.policy.offers import offers
from gateway.policy.rules import Policies


def whoami(principal: Principal, policies: Policies, now_ms: int) -> dict[str, object]:
    """Team, principal, when the credential ends, and each rule's words with a request that it would allow now."""
    ends = principal.expires_ms
    return {
        "team": principal.team,
        "principal": principal.name,
        "expires": None if ends is None else datetime.fromtimestamp(ends // 1000, UTC).isoformat(),
        "claims": dict(principal.claims),
        "rules": [
            {"rule": offer.rule, "words": offer.words, "example": offer.example}
            for offer in offers(policies, principal, now_ms)
        ],
    }
