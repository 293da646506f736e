"""Signatures as Standard Webhooks wants them (standardwebhooks.com): HMAC-SHA256 over id, time and body. Pure.

> The signature scheme: the content to sign is `msg_id.timestamp.payload`; symmetric signatures are HMAC-SHA256,
> base64, with the prefix `v1,`; secrets are base64 with the prefix `whsec_`, of 24 to 64 random bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = b"whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64
"""How many bytes a key has: as the specification recommends them."""
MOST_KEYS = 4
MAX_SECRET_BYTES = 4096


def keys_of(secret: bytes) -> list[bytes]:
    """Return the keys that the content of a file means, without the line end of the file.

    Each line that `whsec_` stands before is a key, so that a file can hold the old and the new one while receivers
    change over. Any other content is one key, by its bytes.
    Raises: ValueError: one is too short, too long, or no base64; the sentence shows nothing of it.
    """
    secret = secret.rstrip(b"\r\n")
    if not secret.startswith(PREFIX):
        if len(secret) < MIN_KEY_BYTES:
            raise ValueError(f"is shorter than {MIN_KEY_BYTES} bytes")
        return [secret]
    lines = secret.splitlines()
    if len(lines) > MOST_KEYS:
        raise ValueError(f"has more than {MOST_KEYS} lines: the key that is used, and those that come or go")
    return [_decoded(line) for line in lines]


def _decoded(line: bytes) -> bytes:
    try:
        key = base64.b64decode(line.removeprefix(PREFIX) if line.startswith(PREFIX) else b"?", validate=True)
    except binascii.Error:
        raise ValueError("has a line without base64 after whsec_") from None
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"means {len(key)} bytes after whsec_: it has to be {MIN_KEY_BYTES} to {MAX_KEY_BYTES}")
    return key


def signatures(keys: Sequence[bytes], notice_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of `webhook-signature` for a notice sent at this time (Unix seconds): one for each key."""
    signed = b".".join((notice_id.encode("ascii"), b"%d" % timestamp_s, body))
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode("ascii") for digest in digests)
