"""The settings that can change while serving, as one value.

Each request is authenticated, judged and recorded under one such value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from gateway.callers.admission import Admission
from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.issuers import Fetches, Pins
from gateway.callers.settings import CallerKey, Endings, Limits
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
