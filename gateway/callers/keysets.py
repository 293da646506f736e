"""A set of public keys (RFC 7517), read from bytes: bounded, only keys that have an id, and none that can sign."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import jwt

from gateway.core.forms.strict_json import json_object
from gateway.files.source import BYTE_ORDER_MARK, has_byte_order_mark
from gateway.process import Net

MAX_BYTES = 1_000_000
MAX_KEYS = 100
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192

_KINDS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
"""The algorithms that a key of each type or curve can be for (RFC 7518, 3.1; RFC 8037)."""


class UnusableKeySet(Exception):
    """Raised for bytes that are no key set to be trusted; the text says why, and quotes nothing of them."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Public keys, by their id and the algorithm that they are for."""

    keys: Mapping[tuple[str, str], jwt.PyJWK]

    def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with this id for this algorithm, or None."""
        return self.keys.get((key_id, algorithm))


def parse_key_set(content: bytes, algorithms: Iterable[str]) -> KeySet:
    """Return the usable keys among at most 100, and ignore the others (RFC 7517, 5).

    Ignored are keys of another type, curve, use or algorithm, those without an id, those that are too short or too
    long, and broken ones.

    Raises:
        UnusableKeySet: the bytes are too large or not JSON, hold more than 100 keys, a private or shared key, or no
            usable key, list a key twice, or give two different keys for one id and algorithm.
    """
    if len(content) > MAX_BYTES:
        raise UnusableKeySet(f"more than {MAX_BYTES} bytes")
    if has_byte_order_mark(content):
        raise UnusableKeySet(BYTE_ORDER_MARK)
    try:
        listed = json_object(content).get("keys")
    except ValueError:
        raise UnusableKeySet("not one JSON object with distinct keys") from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise UnusableKeySet(f"no list of at most {MAX_KEYS} keys")
    members = [key for key in listed if isinstance(key, dict)]
    if any("d" in key or key.get("kty") == "oct" for key in members):
        raise UnusableKeySet("it holds a private or shared key, so anyone who could read it can sign")
    named = [key for key in members if isinstance(key.get("kid"), str)]
    if any(key in named[:number] for number, key in enumerate(named)):
        raise UnusableKeySet("a key stands twice, word for word")
    keys = _by_name(named, tuple(algorithms))
    if not keys:
        raise UnusableKeySet(f"no key with an id for {' or '.join(algorithms)}")
    return KeySet(keys)


def _by_name(members: Iterable[dict[str, object]], algorithms: tuple[str, ...]) -> dict[tuple[str, str], jwt.PyJWK]:
    keys: dict[tuple[str, str], jwt.PyJWK] = {}
    for member in members:
        for name, key in _usable(member, algorithms):
            # RFC 7517, 4.5: different keys SHOULD have different ids; one key may be listed for each of its algorithms.
            if name in keys and keys[name].key != key.key:
                raise UnusableKeySet("a key id stands twice for one algorithm, with two different keys")
            keys[name] = key
    return keys


def _usable(member: dict[str, object], algorithms: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], jwt.PyJWK]]:
    key_id, own = member.get("kid"), member.get("alg")
    if not isinstance(key_id, str) or not _checks_signatures(member):
        return
    kind = str(member.get("crv") or member.get("kty"))
    for algorithm in _KINDS.get(kind, ()):
        # A key that names its own algorithm is for that one only.
        if algorithm in algorithms and own in (None, algorithm):
            with Net() as net:
                key = jwt.PyJWK(member, algorithm=algorithm)
            if net.fault is not None:
                # A key that the library cannot read is ignored, whatever its error.
                continue
            if kind != "RSA" or MIN_RSA_BITS <= key.key.key_size <= MAX_RSA_BITS:
                yield (key_id, algorithm), key


def _checks_signatures(member: dict[str, object]) -> bool:
    # RFC 7517, 4.2 and 4.3: `use` and `key_ops` are optional, and say what the key is for.
    operations = member.get("key_ops", ["verify"])
    return member.get("use") in (None, "sig") and isinstance(operations, list) and "verify" in operations
