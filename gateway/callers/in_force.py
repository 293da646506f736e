"""The settings that can change while serving, as one value.

Each request is authenticated, judged and recorded under one such value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from gateway.callers.admission import Admission
from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.issuers import Fetches, Pins
from gateway.callers.settings import CallerKey, Endings, JwtIssuer, Limits
from gateway.core.forms.times import after_day_ms
from gateway.core.request import Principal
from gateway.core.run import LookUpBounds
from gateway.policy.rules import Policies
from gateway.upstream.shares import TeamShare


@dataclass(frozen=True, slots=True)
class InForce:
    """Policies, callers and limits that belong together. `endings` are the last days of the keys.

    Principals of the teams in `operators` see what all teams did, and freeze and thaw.
    """

    policies: Policies
    authenticator: Authenticator
    keys: tuple[CallerKey, ...]
    pins: Pins
    limits: Limits
    proxies: TrustedProxies
    operators: frozenset[str] = frozenset()
    endings: Endings = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "endings", Endings(self.keys))

    @property
    def several_teams(self) -> bool:
        """Whether callers may be of more than one team."""
        return len(self.teams()) > 1

    def teams(self) -> set[str]:
        """Return the teams that callers may be of, by their keys or by what issuers' tokens may speak for."""
        teams = {key.team for key in self.keys}
        return teams | {name for issuer in self.pins.issuers for name in issuer.settings.team.names}

    def is_operator(self, principal: Principal) -> bool:
        """Return whether the principal is of a team of operators. It grants no cancel."""
        return principal.team in self.operators

    def credential_of(self, principal: Principal) -> str:
        """Return what to ask `still_accepts` with later: which key it is, or what its token stated. It is no secret."""
        for key in self.keys:
            if (key.team, key.id) == (principal.team, principal.subject):
                return _key_mark(key)
        return json.dumps(["token", principal.claims])

    def still_accepts(self, name: str, credential: str, now_ms: int) -> bool:
        """Return whether the key of a principal, or a token with the statements of its own, is accepted now.

        A token itself may have ended: what counts is that its issuer is still configured, and such tokens still speak
        for the team.
        """
        team, _, subject = name.partition("/")
        for key in self.keys:
            if (key.team, key.id) == (team, subject):
                ended = key.expires is not None and now_ms >= after_day_ms(key.expires)
                return _key_mark(key) == credential and not ended
        if credential.startswith("key "):
            return False
        claims = dict(json.loads(credential)[1])
        return any(_speaks_for(one.settings, team, subject, claims) for one in self.pins.issuers)


def _key_mark(key: CallerKey) -> str:
    """Return what tells a key from the one that replaces it: the digest of the digest that the configuration holds."""
    return f"key {hashlib.sha256(key.digest).hexdigest()}"


def _speaks_for(issuer: JwtIssuer, team: str, subject: str, claims: Mapping[str, str]) -> bool:
    """Return whether tokens of this issuer, with this subject and these claims, are accepted for the team."""
    bound = all(claims.get(name) in admitted for name, admitted in issuer.claims.items())
    return bound and team in issuer.team.names and subject.startswith(f"{issuer.issuer}#")


class _Places(TypedDict):
    max_in_flight: int
    principal_in_flight: int
    team_in_flight: int
    requests_per_minute: int


class LiveSettings:
    """The settings in force, and the counters that survive a reload. Read `live` once per request.

    `most_in_flight` is how many connections may have a request in flight, whatever `max_in_flight` says. `share` is
    what one team may take of every bound that the configuration does not set.
    """

    def __init__(self, live: InForce, *, most_in_flight: int | None = None) -> None:
        self.live = live
        self.share = TeamShare(several=live.several_teams)
        self._most_in_flight = most_in_flight
        self.admission = Admission(**self._places(live))
        self.fetches = Fetches()

    def swap(self, live: InForce) -> None:
        """Put other settings in force, in one step of the loop, so that no request sees half of them."""
        live.authenticator.follow(self.live.authenticator)
        self.live = live
        self.share.several = live.several_teams
        self.admission.take(**self._places(live))
        self.fetches.follow(live.pins.fetched.values())

    def lookup_bounds(self) -> LookUpBounds:
        """Return the bounds on one look-up, as they are now."""
        return self.live.limits.lookup

    def _places(self, live: InForce) -> _Places:
        limits, each = live.limits, live.limits.per_principal
        most = limits.max_in_flight if self._most_in_flight is None else min(limits.max_in_flight, self._most_in_flight)
        team = limits.per_team.in_flight
        if not team and self.share.several:
            team = self.share.of(most)
        return {
            "max_in_flight": most,
            "principal_in_flight": each.in_flight,
            "team_in_flight": team,
            "requests_per_minute": each.requests_per_minute,
        }
