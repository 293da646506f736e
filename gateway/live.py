"""What can change while serving, as one value: a request is authenticated, judged and recorded under one of them."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.authn import Authenticator
from gateway.config import Limits
from gateway.identity.settings import CallerKey
from gateway.limits import Admission
from gateway.pins import Fetches, Pins
from gateway.policy.rules import Policies
from gateway.proxies import TrustedProxies


@dataclass(frozen=True, slots=True)
class Live:
    """Policies, callers and limits that go together."""

    policies: Policies
    authenticator: Authenticator
    keys: tuple[CallerKey, ...]
    pins: Pins
    limits: Limits
    proxies: TrustedProxies


class Current:
    """The one in use, and what outlives it. Who serves a request reads `live` once."""

    def __init__(self, live: Live) -> None:
        each = live.limits.per_principal
        self.live = live
        self.admission = Admission(
            max_in_flight=live.limits.max_in_flight,
            principal_in_flight=each.in_flight,
            requests_per_minute=each.requests_per_minute,
        )
        self.fetches = Fetches()

    def swap(self, live: Live) -> None:
        """Takes over another one in one step of the loop, so that no request sees half of it."""
        each = live.limits.per_principal
        live.authenticator.follow(self.live.authenticator)
        self.live = live
        self.admission.take(
            max_in_flight=live.limits.max_in_flight,
            principal_in_flight=each.in_flight,
            requests_per_minute=each.requests_per_minute,
        )
        self.fetches.follow(live.pins.fetched.values())
