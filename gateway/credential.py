"""The one object that holds the real QStash token. Nothing prints it, and nothing else may keep a copy."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import quote

SHARED_RUN = 12
"""A run of this many characters shared with the token is a leak."""

_UNPRINTABLE = re.compile(r"[^ -~]")


class UpstreamToken:
    """The account's token: applied to a request, compared by digest, removed from texts; never shown."""

    __slots__ = ("_grams", "_value", "digest")

    def __init__(self, value: str) -> None:
        self._value = value
        self._grams = frozenset(gram for form in _forms(value) for gram in _runs(form.lower()))
        self.digest = hashlib.sha256(value.encode("ascii")).digest()

    def __repr__(self) -> str:
        return "UpstreamToken(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the token is not copied or pickled")

    def authorization(self) -> str:
        """The value of the Authorization header; only `Exchange` calls this, at the moment of sending."""
        return f"Bearer {self._value}"

    def is_in(self, text: str) -> bool:
        """Whether the text holds the token."""
        return self._value in text

    def scrub(self, text: str, *, longest: int = 200) -> str:
        """`text` as printable ASCII of at most `longest` characters, every run shared with the token replaced."""
        clean = _UNPRINTABLE.sub("?", text[: 20 * longest])
        lowered = clean.lower()
        leaked = [False] * len(clean)
        for length in {len(gram) for gram in self._grams}:
            for start in range(len(clean) - length + 1):
                if lowered[start : start + length] in self._grams:
                    leaked[start : start + length] = [True] * length
        shown = "".join("\0" if hidden else char for char, hidden in zip(clean, leaked, strict=True))
        return re.sub("\0+", "[redacted]", shown)[:longest]


class TokenHolder:
    """The token in use now. `replace` takes effect for the next request; one in flight keeps the one it was sent with.

    Tokens that were used before stay recognised, so that a caller who still has one is seen.
    """

    def __init__(self, token: UpstreamToken, monotonic_s: float) -> None:
        self.current = token
        self.since_s = monotonic_s
        self._digests = frozenset((token.digest,))

    def replace(self, token: UpstreamToken, monotonic_s: float) -> None:
        """Takes over a token that was read again, perhaps the same."""
        if token.digest == self.current.digest:
            return
        # Known before it is used, and as one new set: another thread may be asking.
        self._digests = self._digests | {token.digest}
        self.current, self.since_s = token, monotonic_s

    def is_in(self, text: str) -> bool:
        """Whether the text holds the token in use."""
        return self.current.is_in(text)

    def is_upstream_token(self, digest: bytes) -> bool:
        """Whether the SHA-256 is that of the real token, now or before."""
        return digest in self._digests


class AccountTokens:
    """The account's tokens: the one that writes and, where there is one, the read-only one, each in its own holder."""

    def __init__(self, writing: TokenHolder, reading: TokenHolder | None = None) -> None:
        self.writing = writing
        self.reading = reading
        self._holders = (writing,) if reading is None else (writing, reading)

    def is_in(self, text: str) -> bool:
        """Whether the text holds one of the tokens in use."""
        return any(holder.is_in(text) for holder in self._holders)

    def is_upstream_token(self, digest: bytes) -> bool:
        """Whether the SHA-256 is that of a real token, now or before."""
        return any(holder.is_upstream_token(digest) for holder in self._holders)


def _runs(form: str) -> Iterator[str]:
    if len(form) < SHARED_RUN:
        yield form
    for start in range(len(form) - SHARED_RUN + 1):
        yield form[start : start + SHARED_RUN]


def _forms(value: str) -> Iterator[str]:
    """The token as it might come back: raw, percent-encoded, hex, base64 at every alignment, and its decoded parts."""
    raw = value.encode("ascii")
    yield value
    yield quote(value, safe="")
    yield raw.hex()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode("ascii")
        inner = encoded[(shift * 8 + 5) // 6 :]
        yield inner
        yield inner.translate(str.maketrans("+/", "-_"))
    yield from _decoded_parts(raw)


def _decoded_parts(raw: bytes) -> Iterator[str]:
    """A development token is base64 of JSON with a user and a password; each part of 8 characters or more counts."""
    try:
        decoded = base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True).decode("utf-8")
        parts = json.loads(decoded)
    except (binascii.Error, ValueError):
        return
    yield decoded
    if isinstance(parts, dict):
        yield from (part for part in parts.values() if isinstance(part, str) and len(part) >= 8)
