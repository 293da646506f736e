"""`GET /gateway/v1/whoami`: who the caller is here, and what it may do, in plain words."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

from gateway.authoring.offers import offered, offers
from gateway.core.plan import Owner
from gateway.core.request import Principal
from gateway.policy.rules import Policies

MOST_OFFERS = 50
"""How many rules the page shows; further ones are counted in `left_out`."""

_LAST_S = 253_402_300_799
"""9999-12-31T23:59:59Z."""


def whoami(principal: Principal, policies: Policies, now_ms: int) -> dict[str, object]:
    """Team, principal, when the credential ends, and each rule's words with a request that it would allow now."""
    shown = list(islice(offers(policies, principal.team, now_ms), MOST_OFFERS))
    return {
        "team": principal.team,
        "principal": principal.name,
        "expires": None if principal.expires_ms is None else _time(principal.expires_ms),
        "claims": dict(principal.claims),
        "rules": [
            {"rule": offer.rule, "words": offer.words, "example": offer.example, "owner": _owner(offer.owner)}
            for offer in shown
        ],
        "left_out": len(offered(policies, principal.team, now_ms)) - len(shown),
    }


def _owner(owner: Owner | None) -> dict[str, object] | None:
    return None if owner is None else owner.members()


def _time(unix_ms: int) -> str:
    # A key may be good to the last day that dates know, and a token may name a time far behind it.
    return datetime.fromtimestamp(min(unix_ms // 1000, _LAST_S), UTC).isoformat().replace("+00:00", "Z")
