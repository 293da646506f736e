"""Settings in force with keys that are their own texts, and a clock that stands still."""

from __future__ import annotations

import hashlib

from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.in_force import InForce
from gateway.callers.issuers import Pins
from gateway.callers.settings import CallerKey, Limits
from gateway.policy.rules import Policies


class Held:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now, self.steady = 1_800_000_000_000, 0.0

    def now_ms(self) -> int:
        """The time."""
        return self.now

    def monotonic_s(self) -> float:
        """Seconds."""
        return self.steady


def with_keys(*keys: CallerKey) -> InForce:
    """Settings with these keys."""
    authenticator = Authenticator(keys, is_upstream_token=lambda _: False)
    return InForce(Policies((), "0" * 64), authenticator, keys, Pins(), Limits(), TrustedProxies(()))


def live(*names: str) -> InForce:
    """Settings with keys of these texts."""
    return with_keys(*(CallerKey(name, "t", hashlib.sha256(name.encode()).digest()) for name in names))
