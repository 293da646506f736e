"""Signed tokens (RFC 7519), checked against pinned issuers and never against keys that the token itself names."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import jwt
from jwt.types import Options

from gateway.callers.keysets import KeySet
from gateway.callers.settings import JwtIssuer
from gateway.core.errors import Unauthenticated
from gateway.core.forms.strict_json import json_object
from gateway.core.request import Principal
from gateway.process import Net

_REFUSED_HEADERS = frozenset(("jku", "jwk", "x5u", "x5c", "crit", "b64"))
"""A token may not bring its key or say where it is (jku, jwk, x5u, x5c), nor ask for rules of its own (crit, b64).

The thumbprint of a certificate (x5t) does neither, and tokens of GitHub Actions carry one.
"""

_OPTIONS: Options = {
    "require": ["exp", "iat", "sub", "iss", "aud"],
    # The times are checked in this module, against the time that is passed in.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}
_LAST_S = 253_402_300_799
"""The last second of the year 9999, the latest time that can be written as a date."""

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_PRINTABLE = re.compile(r"[!-~]{1,256}")

Claims = Mapping[str, object]


class KeySetPort(Protocol):
    """The keys of an issuer, as they are known now."""

    @property
    def current(self) -> KeySet | None:
        """The last good key set; None until there is one."""

    def miss(self) -> None:
        """Report that a key was missing, so that the set may be fetched again, within its bounds."""


@dataclass(frozen=True, slots=True)
class PinnedIssuer:
    """An issuer of the configuration, and its keys."""

    settings: JwtIssuer
    keys: KeySetPort


@dataclass(frozen=True, slots=True)
class Accepted:
    """A token that was accepted, without its text: the entry that did, and the key that had signed it."""

    principal: Principal
    settings: JwtIssuer
    key_id: str
    algorithm: str


class _Refused(Exception):
    """Raised when an issuer's entry does not accept the token; `cause` is a fixed word."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)


class TokenVerifier:
    """The verifier of the tokens of pinned issuers."""

    def __init__(self, issuers: Sequence[PinnedIssuer]) -> None:
        self._issuers = tuple(issuers)

    @staticmethod
    def is_token(credential: str) -> bool:
        """Return whether the text has the shape of a signed token."""
        return _SHAPE.fullmatch(credential) is not None

    def verify(self, token: str, *, now_ms: int) -> Principal:
        """Return the principal of a token, at a time in Unix milliseconds. Raises: Unauthenticated: as `accepted`."""
        return self.accepted(token, now_ms=now_ms).principal

    def accepted(self, token: str, *, now_ms: int) -> Accepted:
        """Return whose a token is, and what it was accepted by. Exactly one entry must accept the token.

        Raises:
            Unauthenticated: no entry of the configuration accepts it, or more than one does.
        """
        accepted: list[Accepted] = []
        cause = "unknown_issuer"
        try:
            unverified = _read_unverified(token)
        except _Refused as refused:
            raise Unauthenticated(refused.cause) from None
        for pinned in self._issuers:
            if pinned.settings.issuer != unverified.issuer:
                continue
            try:
                principal = _principal(pinned, token, unverified, now_ms=now_ms)
                accepted.append(Accepted(principal, pinned.settings, unverified.key_id, unverified.algorithm))
            except _Refused as refused:
                cause = refused.cause
        if len(accepted) != 1:
            raise Unauthenticated("ambiguous_token" if accepted else cause)
        return accepted[0]

    def still(self, accepted: Accepted, *, now_ms: int) -> Principal:
        """Return the principal of a token that was accepted before, at a time in Unix milliseconds.

        Its own end counts without leeway, because nobody else's clock is asked.

        Raises:
            Unauthenticated: the entry or the key is in force no more, or the token has ended.
        """
        pinned = next((one for one in self._issuers if one.settings == accepted.settings), None)
        if pinned is None:
            raise Unauthenticated("unknown_issuer")
        keys, ends_ms = pinned.keys.current, accepted.principal.expires_ms
        if keys is None or keys.find(accepted.key_id, accepted.algorithm) is None:
            raise Unauthenticated("unknown_token_key")
        if ends_ms is not None and now_ms >= ends_ms:
            raise Unauthenticated("expired_token")
        return accepted.principal


@dataclass(frozen=True, slots=True)
class _Unverified:
    """The statements of a token about itself, good only for finding what to check it against."""

    key_id: str
    algorithm: str
    issuer: str


def _read_unverified(token: str) -> _Unverified:
    # Read strictly before the library reads it: of a repeated name, two readers may take different values.
    try:
        header, claims = (json_object(_decoded(part)) for part in token.split(".")[:2])
    except ValueError:
        raise _Refused("malformed_token") from None
    issuer = claims.get("iss")
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise _Refused("token_header")
    key_id, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(key_id, str) or not isinstance(algorithm, str) or not isinstance(issuer, str):
        raise _Refused("token_header")
    return _Unverified(key_id, algorithm, issuer)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _principal(pinned: PinnedIssuer, token: str, unverified: _Unverified, *, now_ms: int) -> Principal:
    settings = pinned.settings
    if unverified.algorithm not in settings.algorithms:
        raise _Refused("token_algorithm")
    key = pinned.keys.current.find(unverified.key_id, unverified.algorithm) if pinned.keys.current else None
    if key is None:
        pinned.keys.miss()
        raise _Refused("unknown_token_key")
    claims = _verified(settings, token, key, unverified.algorithm)
    expires_ms = _in_time(claims, now_ms, leeway_ms=settings.leeway_s * 1000)
    bound = _bound(settings, claims)
    subject = claims["sub"]
    if not isinstance(subject, str) or not _PRINTABLE.fullmatch(subject):
        raise _Refused("token_subject")
    token_id = claims.get("jti")
    return Principal(
        team=_team(settings, claims),
        subject=f"{settings.issuer}#{subject}",
        token_id=token_id if isinstance(token_id, str) and _PRINTABLE.fullmatch(token_id) else unverified.key_id[:256],
        claims=bound,
        expires_ms=expires_ms,
    )


def _verified(settings: JwtIssuer, token: str, key: jwt.PyJWK, algorithm: str) -> Claims:
    with Net() as net:
        claims: Claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=settings.audience,
            issuer=settings.issuer,
            options=_OPTIONS,
        )
    match net.fault:
        case jwt.InvalidAudienceError():
            raise _Refused("token_audience")
        case jwt.InvalidSignatureError():
            raise _Refused("token_signature")
        case BaseException():
            # Whatever the library raises for a stranger's bytes, the token is refused.
            raise _Refused("bad_token")
    # A token for several audiences can be replayed to us by any of the others.
    if claims["aud"] not in (settings.audience, [settings.audience]):
        raise _Refused("token_audience")
    return claims


def _in_time(claims: Claims, now_ms: int, *, leeway_ms: int) -> int:
    """Return when the token expires, in Unix milliseconds (RFC 7519, 4.1.4 to 4.1.6).

    Raises: _Refused: now is not within its time, or a time is malformed.
    """
    expires_ms, starts_ms = _instant_ms(claims["exp"]), _instant_ms(claims["iat"])
    if "nbf" in claims:
        starts_ms = max(starts_ms, _instant_ms(claims["nbf"]))
    # "on or after which the JWT MUST NOT be accepted"
    if now_ms >= expires_ms + leeway_ms:
        raise _Refused("expired_token")
    if now_ms < starts_ms - leeway_ms:
        raise _Refused("immature_token")
    return expires_ms


def _instant_ms(value: object) -> int:
    # A bool is an int to Python, and text is a number to some libraries.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_S:
        raise _Refused("token_times")
    return int(value * 1000)


def _bound(settings: JwtIssuer, claims: Claims) -> tuple[tuple[str, str], ...]:
    bound = []
    for name, admitted in settings.claims.items():
        value = claims.get(name)
        if not isinstance(value, str) or value not in admitted:
            raise _Refused("token_claims")
        bound.append((name, value))
    return tuple(bound)


def _team(settings: JwtIssuer, claims: Claims) -> str:
    if settings.team.equals is not None:
        return settings.team.equals
    team = claims.get(str(settings.team.claim))
    if not isinstance(team, str) or team not in settings.team.teams:
        raise _Refused("token_team")
    return team
