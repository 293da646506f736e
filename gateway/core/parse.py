"""The parts of a request that every call may have: its body as it arrived, its reason, its Idempotency-Key.

Reading is total: it returns a value or raises MalformedRequest, and nothing else. Bytes that two parsers could read
differently (docs/upstream-contract.md#5-two-parsers) are malformed, even if neither reading would do harm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core import grammar
from gateway.core.errors import MalformedRequest
from gateway.core.forms.strict_json import json_object

MAX_KEY_CHARS = 128
"""The longest Idempotency-Key, in characters."""

_MEDIA_TYPE = re.compile(rb'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Body:
    """A request body as it arrived, with the values of its Content-Type and Content-Encoding headers."""

    content: bytes = b""
    content_types: tuple[bytes, ...] = ()
    content_encodings: tuple[bytes, ...] = ()


def parse_reason(headers: Sequence[bytes]) -> str | None:
    """Return the caller's reason from the one `Gateway-Reason` header, decoded as UTF-8; None if there is none.

    Raises:
        MalformedRequest: there are two, or the value is not 1 to 200 printable characters or holds a gateway key.
    """
    if not headers:
        return None
    try:
        [header] = headers
        return grammar.reason(header.decode("utf-8"))
    except ValueError:
        raise MalformedRequest(
            "reason",
            f"Send the header Gateway-Reason once: 1 to {grammar.MAX_REASON_CHARS} printable characters in UTF-8, "
            "without a key among them.",
        ) from None


def parse_idempotency_key(headers: Sequence[bytes]) -> str | None:
    """Return the one `Idempotency-Key`, as it was sent; None if there is none.

    Raises:
        MalformedRequest: there are two, or the value is not 1 to 128 printable characters of ASCII.
    """
    if not headers:
        return None
    key = headers[0].decode("latin-1")
    if len(headers) > 1 or not 1 <= len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
        raise MalformedRequest(
            "idempotency_key",
            f"Send the header Idempotency-Key once: 1 to {MAX_KEY_CHARS} printable characters of ASCII.",
        )
    return key


def parse_until(headers: Sequence[bytes]) -> str | None:
    """Return the one `Gateway-Until`, as it was sent; None if there is none.

    Raises:
        MalformedRequest: there are two, or the value is not whole minutes or hours, at most seven days.
    """
    if not headers:
        return None
    try:
        [header] = headers
        text = header.decode("ascii")
        grammar.lasting_ms(text)
    except ValueError:
        raise MalformedRequest(
            "until", "Send the header Gateway-Until once: whole minutes or hours, as in 90m or 2h, at most 168h."
        ) from None
    return text


def json_members(body: Body) -> dict[str, object]:
    """Return the members of a JSON body.

    Raises:
        MalformedRequest: it is not one JSON object with distinct keys, or its Content-Type does not say JSON.
    """
    if len(body.content_types) != 1 or not _MEDIA_TYPE.fullmatch(body.content_types[0]):
        raise MalformedRequest("content_type", "A body needs exactly one 'Content-Type: application/json'.")
    try:
        return json_object(body.content)
    except ValueError:
        raise MalformedRequest("not_json", "The body is not one JSON object in UTF-8 with distinct keys.") from None
