"""Issuers as they are: key pairs of every kind, what they publish, and tokens that they or an attacker sign."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.callers.keysets import KeySet, parse_key_set
from gateway.callers.settings import ALGORITHMS, JwtIssuer, KeySetSource, TeamRule
from gateway.callers.tokens import PinnedIssuer, TokenVerifier
from gateway.files.nodes import Place

ISSUER = "https://issuer.example"
AUDIENCE = "https://gateway.example"
NOW_S = 1_795_000_000
NOW_MS = NOW_S * 1000
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "ci",
    "iat": NOW_S,
    "exp": NOW_S + 300,
    "jti": "token-1",
    "team": "billing",
    "repository": "acme/billing",
}
KIND_OF = {"RS": "rsa", "PS": "rsa", "ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed25519"}


def key_pair(kind: str = "rsa", *, number: int = 1) -> Any:
    """A private key of a kind; another number is another key."""
    return _made(kind, number)


@cache
def _made(kind: str, number: int) -> Any:
    match kind:
        case "rsa":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "short":
            return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


def kind_of(algorithm: str) -> str:
    """The kind of key that an algorithm takes."""
    return KIND_OF.get(algorithm) or KIND_OF[algorithm[:2]]


def jwk(key: Any, kid: str | None = "k1", **members: object) -> dict[str, object]:
    """A key as an issuer publishes it; a private key stays private only if `key` is the public one."""
    match key:
        case rsa.RSAPublicKey() | rsa.RSAPrivateKey():
            found = RSAAlgorithm.to_jwk(key, as_dict=True)
        case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey():
            found = ECAlgorithm.to_jwk(key, as_dict=True)
        case _:
            found = OKPAlgorithm.to_jwk(key, as_dict=True)
    named = {} if kid is None else {"kid": kid}
    return {name: value for name, value in found.items() if name != "key_ops"} | named | members


def published(*keys: Mapping[str, object]) -> bytes:
    """A key set as bytes."""
    return json.dumps({"keys": list(keys)}).encode()


def key_set(*keys: Mapping[str, object], algorithms: Sequence[str] = ALGORITHMS) -> KeySet:
    """A key set as the gateway reads it; by default that of the RSA key `k1`."""
    return parse_key_set(published(*(keys or (jwk(key_pair().public_key()),))), algorithms)


def token(
    change: Mapping[str, object] | None = None,
    *,
    drop: Sequence[str] = (),
    algorithm: str = "RS256",
    key: Any = None,
    header: Mapping[str, object] | None = None,
) -> str:
    """A token with some claims or header members changed, and signed all the same."""
    claims = {name: value for name, value in (CLAIMS | dict(change or {})).items() if name not in drop}
    return signed(json.dumps(claims), {"alg": algorithm, "typ": "JWT", "kid": "k1"} | dict(header or {}), key=key)


def signed(claims: str, header: Mapping[str, object] | str, *, key: Any = None, algorithm: str | None = None) -> str:
    """Any text in the place of the claims, any header, over a signature that is right for `alg` or `algorithm`."""
    text = header if isinstance(header, str) else json.dumps(header)
    name = algorithm or str(json.loads(text)["alg"])
    signing = f"{encoded(text.encode())}.{encoded(claims.encode())}"
    private = key if key is not None else key_pair(kind_of(name))
    signature = jwt.get_algorithm_by_name(name).sign(signing.encode(), private)
    return f"{signing}.{encoded(signature)}"


def encoded(content: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass
class KnownKeys:
    """Keys that are there, and a count of those that were not."""

    current: KeySet | None
    misses: int = 0

    def miss(self) -> None:
        self.misses += 1


def entry(**change: Any) -> JwtIssuer:
    """An entry of the configuration that accepts `token()`."""
    members: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ("RS256",),
        "jwks": KeySetSource(Place("config.yaml", 1, 1), url="https://issuer.example/jwks"),
        "claims": {"sub": ("ci",)},
        "team": TeamRule(equals="billing"),
        "leeway_s": 0,
    }
    return JwtIssuer(**members | change)


def verifier(*entries: JwtIssuer, keys: KeySet | None = None) -> TokenVerifier:
    """A verifier whose entries, by default the one above, all know the same keys."""
    known = KnownKeys(keys or key_set())
    return TokenVerifier([PinnedIssuer(each, known) for each in entries or (entry(),)])
