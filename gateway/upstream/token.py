"""The one object that holds the real QStash token, and nothing prints it.

`client` keeps the header that is made of it, and `pool` that header in the library's form, for as long as it is in use.
`files/secrecy` keeps forms of it in pieces, to find it in texts. Nothing else keeps a copy; docs/architecture.md names
every module that comes near it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import NoReturn

from gateway.files.secrecy import SHARED_RUN, Traces, forms, holds_secret
from gateway.upstream.settings import READING, REFUSING, WRITING, refused

__all__ = ["SHARED_RUN", "AccountTokens", "TokenHolder", "UpstreamToken"]

KNOWN_BEFORE = 8
"""How many former tokens are still looked for in texts. By digest, every former token is recognised."""

_UNPRINTABLE = re.compile(r"[^ -~]")


class UpstreamToken:
    """The account's token. It is applied to a request, compared by digest, removed from texts, and never shown."""

    __slots__ = ("_grams", "_value", "digest", "traces")

    def __init__(self, value: str) -> None:
        self._value = value
        self._grams = frozenset(gram for form in forms(value) for gram in _runs(form.lower()))
        self.traces = Traces((value,))
        self.digest = hashlib.sha256(value.encode("ascii")).digest()

    def __repr__(self) -> str:
        return "UpstreamToken(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the token is not copied or pickled")

    def authorization(self) -> str:
        """Return the value of the Authorization header. Only `Exchange` calls this, at the moment of sending."""
        return f"Bearer {self._value}"

    def scrub(self, text: str, *, longest: int = 200) -> str:
        """Return `text` as printable ASCII of at most `longest` characters, every run shared with the token replaced.

        If the text still holds the token, behind escapes or in pieces, nothing of it is shown.
        """
        text = text[: 20 * longest]
        clean = _UNPRINTABLE.sub("?", text)
        lowered = clean.lower()
        leaked = [False] * len(clean)
        for length in {len(gram) for gram in self._grams}:
            for start in range(len(clean) - length + 1):
                if lowered[start : start + length] in self._grams:
                    leaked[start : start + length] = [True] * length
        shown = "".join("\0" if hidden else char for char, hidden in zip(clean, leaked, strict=True))
        rest = "".join(char for char, hidden in zip(text, leaked, strict=True) if not hidden)
        shown = "[redacted]" if holds_secret(rest, self.traces) else re.sub("\0+", "[redacted]", shown)
        return shown[:longest]


class TokenHolder:
    """The token in use. `replace` takes effect for the next request; one in flight keeps the token it was sent with.

    Former tokens stay recognised, so that a caller who uses one is seen, and no text shows one. `refused_with` is
    upstream's status while it refuses the token, until a call succeeds.
    """

    def __init__(self, token: UpstreamToken, monotonic_s: float) -> None:
        self.current = token
        self.since_s = monotonic_s
        self.refused_with: int | None = None
        self.known: tuple[UpstreamToken, ...] = (token,)
        self._digests = frozenset((token.digest,))

    def replace(self, token: UpstreamToken, monotonic_s: float) -> None:
        """Take over a token that was read again; do nothing if it is the same."""
        if token.digest == self.current.digest:
            return
        # Make it known before it is used, and as one new set: another thread may be asking.
        self._digests = self._digests | {token.digest}
        before = [one for one in self.known if one.digest != token.digest]
        self.known = (token, *before[:KNOWN_BEFORE])
        self.current, self.since_s = token, monotonic_s

    def answered(self, status: int) -> None:
        """Note what upstream says of the token: 401 and 403 refuse it, and a success accepts it."""
        if status in REFUSING:
            self.refused_with = status
        elif 200 <= status < 300:
            self.refused_with = None

    def is_upstream_token(self, digest: bytes) -> bool:
        """Return whether the SHA-256 is that of the real token, current or former."""
        return digest in self._digests


class AccountTokens:
    """The account's tokens: the one that writes and, if there is one, the read-only one, each in its own holder."""

    def __init__(self, writing: TokenHolder, reading: TokenHolder | None = None) -> None:
        self.writing = writing
        self.reading = reading
        self._holders = (writing,) if reading is None else (writing, reading)
        self._traced: tuple[list[tuple[UpstreamToken, ...]], Traces] = [], Traces(())

    def is_in(self, text: str | bytes) -> bool:
        """Return whether the text holds one of the tokens, current or former, or a gateway's key, in any form."""
        return holds_secret(text, self._traces())

    def scrub(self, text: str, *, longest: int = 200) -> str:
        """Return the text as `UpstreamToken.scrub` does, without any of the tokens and without a gateway's key."""
        for token in self._known():
            text = token.scrub(text, longest=longest)
        return "[redacted]" if holds_secret(text) else text

    def is_upstream_token(self, digest: bytes) -> bool:
        """Return whether the SHA-256 is that of a real token, current or former."""
        return any(holder.is_upstream_token(digest) for holder in self._holders)

    def refusals(self) -> list[str]:
        """Return a sentence for each token that upstream refuses, until a call with it succeeds."""
        names = zip((WRITING, READING), self._holders, strict=False)
        return [
            f"{refused(name, holder.refused_with)}; this goes when a call succeeds"
            for name, holder in names
            if holder.refused_with is not None
        ]

    def states(self, monotonic_s: float) -> list[tuple[str, bool, float]]:
        """Return the name of each token, whether upstream accepts it as far as is known, and its age in seconds."""
        names = zip((WRITING, READING), self._holders, strict=False)
        return [(name, holder.refused_with is None, monotonic_s - holder.since_s) for name, holder in names]

    def _known(self) -> tuple[UpstreamToken, ...]:
        return tuple(token for holder in self._holders for token in holder.known)

    def _traces(self) -> Traces:
        """Return the traces of all tokens as one, made anew after a token was replaced."""
        known = [holder.known for holder in self._holders]
        if known != self._traced[0]:
            self._traced = known, reduce(or_, (token.traces for token in self._known()))
        return self._traced[1]


def _runs(form: str) -> Iterator[str]:
    if len(form) < SHARED_RUN:
        yield form
    for start in range(len(form) - SHARED_RUN + 1):
        yield form[start : start + SHARED_RUN]
