"""A signed token (RFC 7519) -> Principal: checked against pinned issuers, never against what the token says of keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import jwt

from gateway.cancel import Principal
from gateway.errors import Unauthenticated
from gateway.identity.keysets import KeySet
from gateway.identity.settings import JwtIssuer

_REFUSED_HEADERS = frozenset(("jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64"))
"""A token may not say where its key is (jku, jwk, x5u, x5c), nor ask for rules that must be understood (crit)."""

_REQUIRED = ["exp", "iat", "sub", "iss", "aud"]
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_PRINTABLE = re.compile(r"[!-~]{1,256}")

Claims = Mapping[str, object]


class KeySetPort(Protocol):
    """An issuer's keys as they are known now."""

    @property
    def current(self) -> KeySet | None:
        """The last good key set; None until there was one."""

    def miss(self) -> None:
        """A key was asked for that is not there: the set may be fetched again, within its bounds."""


@dataclass(frozen=True, slots=True)
class PinnedIssuer:
    """An issuer of the configuration and its keys."""

    settings: JwtIssuer
    keys: KeySetPort


class _Refused(Exception):
    """One issuer's entry does not accept the token; `cause` is a fixed word."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)


class TokenVerifier:
    """Accepts tokens of the pinned issuers."""

    def __init__(self, issuers: Sequence[PinnedIssuer]) -> None:
        self._issuers = tuple(issuers)

    @staticmethod
    def is_token(credential: str) -> bool:
        """Whether the text has the shape of a signed token."""
        return _SHAPE.fullmatch(credential) is not None

    def verify(self, token: str) -> Principal:
        """The principal that exactly one entry of the configuration makes of the token.

        Raises:
            Unauthenticated: no entry accepts it, or more than one does.
        """
        accepted: list[Principal] = []
        cause = "unknown_issuer"
        try:
            unverified = _read_unverified(token)
        except _Refused as refused:
            raise Unauthenticated(refused.cause) from None
        for pinned in self._issuers:
            if pinned.settings.issuer != unverified.issuer:
                continue
            try:
                accepted.append(_principal(pinned, token, unverified))
            except _Refused as refused:
                cause = refused.cause
        if len(accepted) != 1:
            raise Unauthenticated("ambiguous_token" if accepted else cause)
        return accepted[0]


@dataclass(frozen=True, slots=True)
class _Unverified:
    """What a token says of itself; only good for finding what to check it against."""

    key_id: str
    algorithm: str
    issuer: str


def _read_unverified(token: str) -> _Unverified:
    try:
        header = jwt.get_unverified_header(token)
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _Refused("malformed_token") from None
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise _Refused("token_header")
    key_id, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(key_id, str) or not isinstance(algorithm, str) or not isinstance(issuer, str):
        raise _Refused("token_header")
    return _Unverified(key_id, algorithm, issuer)


def _principal(pinned: PinnedIssuer, token: str, unverified: _Unverified) -> Principal:
    settings = pinned.settings
    if unverified.algorithm not in settings.algorithms:
        raise _Refused("token_algorithm")
    key = pinned.keys.current.find(unverified.key_id, unverified.algorithm) if pinned.keys.current else None
    if key is None:
        pinned.keys.miss()
        raise _Refused("unknown_token_key")
    claims = _verified(settings, token, key, unverified.algorithm)
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
        expires_ms=int(float(str(claims["exp"])) * 1000),
    )


def _verified(settings: JwtIssuer, token: str, key: jwt.PyJWK, algorithm: str) -> Claims:
    try:
        claims: Claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=settings.audience,
            issuer=settings.issuer,
            leeway=settings.leeway_s,
            options={"require": _REQUIRED},
        )
    except jwt.ExpiredSignatureError:
        raise _Refused("expired_token") from None
    except jwt.ImmatureSignatureError:
        raise _Refused("immature_token") from None
    except jwt.InvalidAudienceError:
        raise _Refused("token_audience") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        raise _Refused("bad_token") from None
    # A token for several audiences can be replayed to us by each of the others.
    if claims["aud"] not in (settings.audience, [settings.audience]):
        raise _Refused("token_audience")
    return claims


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
