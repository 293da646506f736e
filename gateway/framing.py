"""What HTTP forbids in a request head, and what this gateway does not need: pure checks of the head as it was sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import MalformedRequest

# RFC 9112, 3.2.1: origin-form = absolute-path [ "?" query ]; a fragment is never sent, and non-ASCII must be escaped.
_ORIGIN_FORM = re.compile(rb"/(?!/)[!\"$-~]*")
_HOST = re.compile(rb"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")

BROKEN_BODY = "gateway.broken_body"
"""Where the state of an ASGI scope holds the refusal of a body that stopped being HTTP."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request head as the parser read it; header names in lower case, in order, repeated ones included."""

    method: bytes
    target: bytes
    version: str
    headers: tuple[tuple[bytes, bytes], ...]

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]


def check_head(head: Head) -> None:
    """Refuses what two HTTP readers could take differently.

    Raises:
        MalformedRequest: with the rule that was broken.
    """
    if head.version not in ("1.1", "1.0"):
        raise MalformedRequest("version", "Speak HTTP/1.1.")
    if not _ORIGIN_FORM.fullmatch(head.target):
        raise MalformedRequest("target", "The request target is a path and perhaps a query, in printable ASCII.")
    # RFC 9112, 3.2: "A server MUST respond with a 400 to any request message that lacks a Host header field and to
    # any request message that contains more than one Host header field line or an invalid field value."
    hosts = head.values(b"host")
    if len(hosts) != 1 or not _is_host(hosts[0]):
        raise MalformedRequest("host", "Send exactly one valid Host header.")
    if len(head.values(b"authorization")) > 1:
        raise MalformedRequest("two_credentials", "Send one Authorization header.")
    _check_framing(head)
    if head.values(b"upgrade") or head.method == b"CONNECT":
        raise MalformedRequest("upgrade", "This connection speaks HTTP/1.1 only: leave Upgrade out.")
    if head.values(b"expect"):
        raise MalformedRequest("expect", "Leave the Expect header out and send the body at once.")


def _is_host(value: bytes) -> bool:
    match = _HOST.fullmatch(value)
    return match is not None and int(match["port"] or b"0") <= 65535


def _check_framing(head: Head) -> None:
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    # RFC 9112, 6.1: a message with both "might indicate an attempt to perform request smuggling".
    if lengths and codings:
        raise MalformedRequest("framing", "Send Content-Length or Transfer-Encoding, never both.")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        raise MalformedRequest("content_length", "Content-Length is one whole number.")
    if codings and (codings != [b"chunked"] or head.version == "1.0"):
        raise MalformedRequest("transfer_encoding", "The only transfer coding is chunked, in HTTP/1.1.")
