"""Credential -> Principal. A key is found by its SHA-256 digest in a dictionary, so a look-up tells nothing by time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from gateway.cancel import Principal
from gateway.config import CallerKey
from gateway.errors import Unauthenticated
from gateway.grammar import EARLIEST_MS

MAX_CREDENTIAL_BYTES = 8192
_DAY_MS = 86_400_000
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]+)")


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    expires_ms: int | None


class Authenticator:
    """Knows every caller; `token_digest` is that of the real token, so that its use by a caller is recognised."""

    def __init__(self, keys: Iterable[CallerKey], *, token_digest: bytes) -> None:
        self._known = {key.digest: _Known(Principal(key.team, key.id), _end_of_day_ms(key.expires)) for key in keys}
        self._token_digest = token_digest
        self._latest_ms = EARLIEST_MS

    def authenticate(self, authorization: bytes | None, now_ms: int) -> Principal:
        """The principal behind an Authorization header at a time in Unix milliseconds.

        A key that has expired stays so, also when the clock is set back: the latest time seen counts.

        Raises:
            Unauthenticated: for every other header; its `cause` says why, for the record only.
        """
        if authorization is None:
            raise Unauthenticated("no_credential")
        match = _BEARER.fullmatch(authorization)
        if match is None or len(authorization) > MAX_CREDENTIAL_BYTES:
            raise Unauthenticated("not_bearer")
        digest = hashlib.sha256(match[1]).digest()
        known = self._known.get(digest)
        if known is None:
            raise Unauthenticated("upstream_token" if digest == self._token_digest else "unknown_key")
        self._latest_ms = max(self._latest_ms, now_ms)
        if known.expires_ms is not None and self._latest_ms >= known.expires_ms:
            raise Unauthenticated("expired_key")
        return known.principal


def _end_of_day_ms(day: date | None) -> int | None:
    """The first millisecond after the UTC day."""
    if day is None:
        return None
    # Added as milliseconds: no date lies behind 9999-12-31.
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000 + _DAY_MS
