"""Every form in which a secret might get out, and the search for pieces of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

RUN = 12


def forms(secret: str) -> Iterator[str]:
    """The secret raw, percent-encoded, hex, base64 (standard and URL-safe) alone, after `Bearer ` and at each shift."""
    raw = secret.encode()
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield raw.hex()
    for before in (b"", b"x", b"xx", b"Bearer ", b"Authorization: Bearer "):
        whole = base64.b64encode(before + raw).decode().rstrip("=")
        start = (len(before) * 8 + 5) // 6
        # The last character may hold bits of what stands behind the secret.
        yield whole[start:]
        yield whole[start:].translate(str.maketrans("+/", "-_"))
    yield from decoded(secret)


def decoded(secret: str) -> Iterator[str]:
    """What a development token says when it is decoded: the JSON, and each of its strings."""
    try:
        text = base64.b64decode(secret + "==").decode()
        members = json.loads(text)
    except ValueError:
        return
    yield text
    yield from (value for value in members.values() if isinstance(value, str))


def pieces(secret: str) -> frozenset[str]:
    """Every run of 12 characters of every form, in lower case; a shorter form as it is."""
    return frozenset(
        form[start : start + RUN].lower() for form in forms(secret) for start in range(max(1, len(form) - RUN + 1))
    )


def found(secret: str, said: bytes) -> set[str]:
    """The pieces of the secret in some bytes, JSON and percent escapes resolved as well."""
    text = said.decode("latin-1").lower()
    texts = (text, text.replace("\\", ""), text.replace("\n", ""))
    return {piece for piece in pieces(secret) if any(piece in each for each in texts)}


DEVELOPMENT_TOKEN = base64.b64encode(
    json.dumps({"UserID": "canaryUserOfTests", "Password": "canaryPassword-7f3a9c51"}).encode()
).decode()
ODD_TOKEN = "Canary+/=%&~" + "0f9e8d7c6b5a4938"
PLAIN_TOKEN = "CANARYqk81ZtYwP5nBv03LrXs6HdJm2GfCuEa9"
TOKENS = (PLAIN_TOKEN, ODD_TOKEN, DEVELOPMENT_TOKEN)
