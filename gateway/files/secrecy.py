"""The one test for secrets in a text, and the closed list of the forms that a secret may take there.

A text is read as it is and with its escapes resolved (percent, JSON and JavaScript, HTML; three layers deep). White
space, quotes, backslashes and everything that is not ASCII are ignored. In each reading a secret is looked for, in
upper or lower case

    as it is · backwards · percent-encoded · in hex · as a list of its bytes in decimal
    in base64, standard or URL-safe, at each of the three alignments, padded or not, once or twice over
    decoded, if it is base64 of JSON itself: the JSON, and its strings of eight characters or more

and a gateway's key is looked for by its shape, as it is, in hex or in base64. The cost is linear in the text.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NoReturn
from urllib.parse import quote

SHARED_RUN = 12
"""A run of this many characters shared with a secret is a leak: it is removed from what is shown."""

_STEP = 16
"""Texts are compared at every sixteenth character, so that a run of 31 shared characters is always found."""

_SAMPLES = struct.Struct(f"{_STEP}s")
_DEPTH = 3
MOST_ESCAPES = 50_000
"""A text with more escapes than this is not searched: it counts as one that holds a secret."""

_BYTES = {
    f"{first}{second}".encode(): bytes.fromhex(first + second)
    for first in "0123456789abcdefABCDEF"
    for second in "0123456789abcdefABCDEF"
}
"""The byte that two hexadecimal digits stand for."""

_IGNORED = bytes(byte for byte in range(256) if not 0x21 <= byte <= 0x7E or byte in b"\"'\\")

_ESCAPES = (b"%", b"\\u00", b"\\u{", b"\\x", b"&#")
_CODE = re.compile(
    rb"(?:%|\\u00|\\x|\\u\{0{0,4}|&#[xX]0{0,6})(?P<hex>[0-9A-Fa-f]{2})[;}]?|&#0{0,6}(?P<number>[0-9]{2,3});?"
)
_WORDS = (
    *((b"\\n", b""), (b"\\r", b""), (b"\\t", b"")),
    *((b"&plus;", b"+"), (b"&sol;", b"/"), (b"&equals;", b"=")),
    *((b"&lowbar;", b"_"), (b"&period;", b"."), (b"&amp;", b"&")),
)
"""Escapes of white space, as in a text that was wrapped, and the names of characters that tokens are made of."""

_KEY_MARK = "qgk_"
_KEY = re.compile(rb"qgk_[a-z0-9-]+_[A-Za-z0-9_-]{43}")
_KEY_AFTER_Q = re.compile(_KEY.pattern[1:])
_HEX_MARK = _KEY_MARK.encode().hex()
_KEY_IN_HEX = re.compile(rb"71676b5f[0-9a-f]{90,}")
_DOTTED = re.compile(rb"[A-Za-z0-9_.-]{40,}")
_TOKEN_HEADER = re.compile(rb"ey[AJ][A-Za-z0-9_-]{12}")
"""The beginning of a JSON object in base64url, as the header of a signed token is."""

_SAFE = bytes.maketrans(b"+/", b"-_")


class Traces:
    """The traces that some secrets leave in a text, in every form. Nothing prints them."""

    __slots__ = ("_grams", "_wholes")

    def __init__(self, secrets: Iterable[str]) -> None:
        # A short part by itself, like a user's name, may be in any text.
        told = [form for one in secrets for form in forms(one) if len(form) >= SHARED_RUN or form == one]
        every = [form.encode().lower().translate(None, _IGNORED) for form in told]
        long = [form for form in every if len(form) >= 2 * _STEP - 1]
        self._grams = frozenset((form[at : at + _STEP],) for form in long for at in range(len(form) - _STEP + 1))
        # Shorter forms are looked for as a whole.
        self._wholes = frozenset(form for form in every if form and len(form) < 2 * _STEP - 1)

    def __or__(self, other: Traces) -> Traces:
        """Return the traces of both, to look for them at once."""
        both = Traces(())
        both._grams, both._wholes = self._grams | other._grams, self._wholes | other._wholes
        return both

    def __repr__(self) -> str:
        return "Traces(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the traces of a secret are not copied or pickled")

    def are_in(self, reading: bytes) -> bool:
        """Return whether one reading of a text holds a secret: whole, or 31 or more of its characters in a row."""
        lowered = reading.lower()
        for whole in self._wholes:
            if whole in lowered:
                return True
        return not self._grams.isdisjoint(_SAMPLES.iter_unpack(lowered[: len(lowered) // _STEP * _STEP]))


def holds_secret(text: str | bytes, *traces: Traces) -> bool:
    """Return whether a text holds one of the secrets, or something of the shape of a gateway's key; true in doubt."""
    try:
        for reading in readings(text):
            if _has_key(reading):
                return True
            for one in traces:
                if one.are_in(reading):
                    return True
    except _TooManyEscapes:
        return True
    return False


def holds_text(text: str, secret: str) -> bool:
    """Return whether a text holds exactly these characters in one of its readings; true in doubt."""
    exact = secret.encode("ascii", "ignore").translate(None, _IGNORED)
    try:
        return bool(exact) and any(exact in reading for reading in readings(text))
    except _TooManyEscapes:
        return True


def holds_token(text: str) -> bool:
    """Return whether a text holds something of the shape of a signed token (RFC 7519), whoever's; true in doubt."""
    try:
        return any(_is_signed(run.split(b".")) for reading in readings(text) for run in _DOTTED.findall(reading))
    except _TooManyEscapes:
        return True


def _is_signed(parts: Sequence[bytes]) -> bool:
    """Return whether three parts in a row are those of a signed token: a header, claims and a signature."""
    rows = zip(parts, parts[1:], parts[2:], strict=False)
    return any(min(len(claims), len(end)) >= 12 and _TOKEN_HEADER.search(head) for head, claims, end in rows)


def holds_part(text: str, secret: str) -> bool:
    """Return whether a text holds 31 or more characters of a secret in a row, as they are written there."""
    run = 2 * _STEP - 1
    return any(text[at : at + run] in secret for at in range(len(text) - run + 1))


def readings(text: str | bytes) -> Iterator[bytes]:
    """Yield the text as it is, then with its escapes resolved, each without the ignored characters."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    yield raw.translate(None, _IGNORED)
    for _ in range(_DEPTH):
        resolved = _resolved(raw)
        if resolved == raw:
            return
        raw = resolved
        yield raw.translate(None, _IGNORED)


def forms(secret: str) -> Iterator[str]:
    """Yield the secret in every form of the list, escapes aside.

    Base64 comes without its first characters if they depend on what precedes the secret, and both with and without the
    last ones, which depend on what follows.
    """
    raw = secret.encode("ascii")
    yield secret
    yield secret[::-1] if len(secret) >= SHARED_RUN else secret
    yield quote(secret, safe="")
    yield raw.hex()
    yield ",".join(map(str, raw))
    for once in _in_base64(raw):
        yield once
        yield from _in_base64(once.encode("ascii"))
    yield from _decoded_parts(raw)


def _in_base64(raw: bytes) -> Iterator[str]:
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        first, last = (shift * 8 + 5) // 6, (shift + len(raw)) * 8 // 6
        for form in {encoded[first:], encoded[first:last]}:
            for alphabet in {form, form.translate(_SAFE)}:
                # Fewer characters than a shared run say nothing about a secret.
                if len(alphabet) >= SHARED_RUN:
                    yield alphabet.decode("ascii")


def _decoded_parts(raw: bytes) -> Iterator[str]:
    """Yield what a token holds if it is base64 of JSON: the JSON, and each string in it of 8 characters or more.

    A development token is of this form, with a user and a password.
    """
    try:
        decoded = base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True).decode("utf-8")
        parts = json.loads(decoded)
    except (binascii.Error, ValueError):
        return
    yield decoded
    if isinstance(parts, dict):
        yield from (part for part in parts.values() if isinstance(part, str) and len(part) >= 8)


class _TooManyEscapes(Exception):
    """The text has so many escapes that reading it would take too long."""


def _resolved(raw: bytes) -> bytes:
    """Return the bytes with one layer of escapes resolved.

    Raises:
        _TooManyEscapes: there are more than `MOST_ESCAPES` in them.
    """
    # Python looks for a text in a text several times as fast as for bytes in bytes.
    signs = raw.decode("latin-1")
    if "\\" in signs or "&" in signs:
        for written, meant in _WORDS:
            raw = raw.replace(written, meant)
    elif "%" not in signs:
        return raw
    number = sum(map(raw.count, _ESCAPES))
    if number > MOST_ESCAPES:
        raise _TooManyEscapes
    return _CODE.sub(_character, raw) if number else raw


def _character(found: re.Match[bytes]) -> bytes:
    if found[1]:
        return _BYTES[found[1]]
    number = int(found["number"])
    return bytes((number,)) if number < 256 else found[0]


def _key_in_base64() -> Iterator[tuple[str, re.Pattern[bytes], bytes, int]]:
    """Yield for each alignment how to find and decode base64 that may hold a key.

    The parts are what it begins with, the pattern to find, the characters that complete its first group, and how many
    bytes these add.
    """
    for shift in range(3):
        first, last = (shift * 8 + 5) // 6, (shift + len(_KEY_MARK)) * 8 // 6
        mark = base64.b64encode(b"\0" * shift + _KEY_MARK.encode())[first:last]
        pattern = re.compile(re.escape(mark) + rb"[A-Za-z0-9+/_-]{56,200}")
        yield mark.decode(), pattern, b"A" * first, shift


_KEYS_IN_BASE64 = tuple(_key_in_base64())


def _has_key(reading: bytes) -> bool:
    # Nearly every text is without the few characters that each form begins with; looking for those is quick.
    signs = reading.decode("latin-1")
    if _KEY_MARK in signs and _KEY.search(reading):
        return True
    if _HEX_MARK in signs.lower() and _KEY_IN_HEX.search(reading.lower()):
        return True
    for mark, pattern, before, shift in _KEYS_IN_BASE64:
        if mark in signs and any(
            # The key's first character shares its bits with what precedes it, so it is not compared.
            _KEY_AFTER_Q.search(_decoded(before + found[0])[shift:])
            for found in pattern.finditer(reading)
        ):
            return True
    return False


def _decoded(encoded: bytes) -> bytes:
    whole = encoded[: len(encoded) // 4 * 4] if len(encoded) % 4 == 1 else encoded + b"=" * (-len(encoded) % 4)
    return base64.urlsafe_b64decode(whole.translate(_SAFE))


_RUN = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_HEX = re.compile(r"[0-9A-Fa-f]{20,}")
_MARKED = re.compile(r"qgk_|eyJ|sig_|qstash_")
_CLASSES = ("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789")


def masked(text: str, mask: str = "\u00b7") -> str:
    """Return the text with everything in it that looks like a secret masked, character by character."""
    return _RUN.sub(lambda found: mask * len(found[0]) if _looks_random(found[0]) else found[0], text)


def looks_secret(text: str) -> bool:
    """Return whether a text holds what looks like a secret: 20 characters or more that no person would choose."""
    return any(_looks_random(found[0]) for found in _RUN.finditer(text))


def _looks_random(run: str) -> bool:
    if _MARKED.search(run):
        return True
    if any(not (digits.isdigit() or digits.isalpha()) for digits in _HEX.findall(run)):
        return True
    # In base64 about every second pair of neighbours is of two kinds; in names and words few are.
    kinds = [next((kind for kind, signs in enumerate(_CLASSES) if sign in signs), None) for sign in run]
    changes = sum(one != other and None not in (one, other) for one, other in pairwise(kinds))
    if changes * 10 >= len(run) * 3:
        return True
    # Some texts in base64 have few such pairs by chance; but then nearly as many signs are different as chance makes.
    own = run.rstrip("=")
    by_chance = 64 * (1 - (63 / 64) ** len(own))
    return changes * 9 >= len(own) * 2 and {0, 1, 2} <= {*kinds} and len({*own}) >= 0.85 * by_chance
