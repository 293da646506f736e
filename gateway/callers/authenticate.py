"""Authentication: a key, found by its SHA-256 so that the time of the look-up reveals nothing, or a signed token."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from gateway.callers.settings import CallerKey
from gateway.core.errors import ExpiredKey, RealTokenUsed, Unauthenticated
from gateway.core.forms.times import after_day_ms
from gateway.core.grammar import EARLIEST_MS
from gateway.core.request import Principal

if TYPE_CHECKING:  # the verifier of tokens is loaded only if an issuer is pinned
    from gateway.callers.tokens import Accepted, TokenVerifier

MAX_CREDENTIAL_BYTES = 8192
_STRANGE = bytes(1 - (0x21 <= byte < 0x7F) for byte in range(256))
"""By byte: 1 unless it is an ASCII character that shows."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a credential stood for when it was accepted: enough to ask later whether it is in force, and no secret.

    It is a key's SHA-256, which the configuration holds as well, or of a token the entry that accepted it.
    """

    principal: Principal
    digest: bytes | None = field(default=None, repr=False)
    accepted: Accepted | None = None


class Authenticator:
    """The authentication of callers. `is_upstream_token` tells by digest whether a caller uses the real token."""

    def __init__(
        self,
        keys: Iterable[CallerKey],
        *,
        is_upstream_token: Callable[[bytes], bool],
        tokens: TokenVerifier | None = None,
    ) -> None:
        self._known = {key.digest: _known(key) for key in keys}
        self._is_upstream_token = is_upstream_token
        self._tokens = tokens
        self._latest_ms = EARLIEST_MS

    def follow(self, before: Authenticator) -> None:
        """Take the place of another authenticator, and keep the latest time that it has seen."""
        self._latest_ms = max(self._latest_ms, before._latest_ms)

    def authenticate(self, credential: bytes | None, now_ms: int) -> Principal:
        """Return the principal behind an Authorization header, at a time in Unix milliseconds.

        Raises:
            Unauthenticated: the header names no caller; `cause` says why, for the record only.
        """
        if credential is None:
            raise Unauthenticated("no_credential")
        scheme, _, spaced = credential.partition(b" ")
        key = spaced.lstrip(b" ")
        readable = bool(key) and b"\x01" not in key.translate(_STRANGE)
        if len(credential) > MAX_CREDENTIAL_BYTES or scheme.lower() != b"bearer" or not readable:
            raise Unauthenticated("not_bearer")
        digest = hashlib.sha256(key).digest()
        # If the clock steps back, no expired key or token becomes valid again.
        self._latest_ms = max(self._latest_ms, now_ms)
        known = self._known.get(digest)
        if known is None:
            return self._stranger(key.decode("ascii"), digest)
        return self._in_time(known)

    def standing(self, key: str, now_ms: int) -> Standing:
        """Return what a key or token stands for, without its text. Raises: Unauthenticated: it is not accepted."""
        principal = self.authenticate(b"Bearer " + key.encode("latin-1", "replace"), now_ms)
        digest = hashlib.sha256(key.encode("latin-1")).digest()
        if digest in self._known:
            return Standing(principal, digest=digest)
        assert self._tokens is not None
        return Standing(principal, accepted=self._tokens.accepted(key, now_ms=self._latest_ms))

    def still(self, standing: Standing, now_ms: int) -> Principal:
        """Return the principal of a credential that was accepted before, if it is in force at this time.

        Raises: Unauthenticated: it is not, or it is another principal's now.
        """
        self._latest_ms = max(self._latest_ms, now_ms)
        if standing.accepted is not None:
            if self._tokens is None:
                raise Unauthenticated("unknown_issuer")
            return self._tokens.still(standing.accepted, now_ms=self._latest_ms)
        known = None if standing.digest is None else self._known.get(standing.digest)
        if known is None or known != standing.principal:
            raise Unauthenticated("unknown_key")
        return self._in_time(known)

    def _in_time(self, known: Principal) -> Principal:
        if known.expires_ms is not None and self._latest_ms >= known.expires_ms:
            raise ExpiredKey(known)
        return known

    def _stranger(self, credential: str, digest: bytes) -> Principal:
        if self._is_upstream_token(digest):
            raise RealTokenUsed
        if self._tokens is None or not self._tokens.is_token(credential):
            raise Unauthenticated("unknown_key")
        return self._tokens.verify(credential, now_ms=self._latest_ms)


def _known(key: CallerKey) -> Principal:
    return Principal(key.team, key.id, expires_ms=_end_of_day_ms(key.expires))


def _end_of_day_ms(day: date | None) -> int | None:
    """Return the first millisecond after the UTC day; None if there is no day."""
    return None if day is None else after_day_ms(day)
