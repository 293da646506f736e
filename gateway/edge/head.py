"""Pure checks of a request head as it was sent: they refuse what HTTP forbids and what this gateway does not need.

The refusals of unknown paths and methods name the path that was probably meant, or those that exist.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from gateway.core.errors import ExpectationFailed, MalformedRequest, MethodNotAllowed, NotFound, Refusal, TooLarge
from gateway.core.forms.shown import PLANS
from gateway.operations.calls.cancel_runs import RUNS
from gateway.operations.table import asked_by
from gateway.operations.vendor import instead_of

_ABSOLUTE_FORM = re.compile(rb"https?://[A-Za-z0-9._:\[\]-]+(?P<origin_form>/[!\"$-~]*)", re.IGNORECASE)
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")
_PRINTABLE = re.compile(rb"[!-~]*")
_HOST = re.compile(rb"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_STRANGE = bytes(1 - (0x21 <= byte < 0x7F and byte != ord("#")) for byte in range(256))
"""By byte: 1 unless it may stand in a target, which is all of ASCII that shows, without the mark of a fragment.

To translate with a table and look for a 1 costs a quarter of leaving characters out, and of a regular expression.
"""

_JUDGED = frozenset((b"host", b"authorization", b"content-length", b"transfer-encoding", b"upgrade", b"expect"))

MAX_HEADERS = 100
MOST_FRAMING_BYTES = 65_536
"""The most bytes of a body that are none of its content: sizes, ends and extensions of chunks."""

WHITESPACE = b" \t"
"""The characters that may surround a field's value without being part of it (RFC 9110, 5.5)."""

HEALTH_PATHS = (b"/healthz", b"/readyz")
"""The two pages that probes request. They only report, so HTTP/1.0 and other terse forms do no harm there."""

BROKEN_BODY = "gateway.broken_body"
"""The key in the state of an ASGI scope that holds the refusal of a body that stopped being HTTP."""

GONE = "gateway.gone"
"""The key in the state of an ASGI scope that holds a function: whether the caller has disconnected."""

WHOLE = "gateway.whole"
"""The key in the state of an ASGI scope that holds a function: it writes a whole answer at once, where it can."""

TAKEN = "gateway.taken"
"""The key in the state of an ASGI scope that holds a function: whether the whole answer has left this process."""

FRAMING_BYTES = "gateway.framing_bytes"
"""The key in the state of an ASGI scope that holds how many bytes of the body so far were none of its content."""


@dataclass(slots=True)
class Head:
    """A request head as the parser read it: headers in order, repeated ones included.

    Names are in lower case; values are without the whitespace around them.
    """

    method: bytes
    target: bytes
    version: str
    headers: Sequence[tuple[bytes, bytes]]

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of a header; the name is in lower case."""
        return [value for key, value in self.headers if key == name]

    def judged(self) -> dict[bytes, list[bytes]]:
        """Return every value of the headers that are judged here, by name."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            if name in _JUDGED:
                if name in found:
                    found[name].append(value)
                else:
                    found[name] = [value]
        return found


@dataclass(slots=True)
class Checked:
    """The findings of a head that passed. `framing` is the one header that says where the body ends.

    `offers_h2c` says that the head offers an upgrade to HTTP/2, which is ignored; RFC 9110, 7.8: "A server MAY ignore".
    """

    path: bytes
    query: bytes
    framing: tuple[bytes, bytes] | None
    offers_h2c: bool

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.framing is not None and self.framing[0] == b"transfer-encoding"


def headers_too_large(most_bytes: int) -> TooLarge:
    """Return the refusal of headers that are more than a request may have."""
    return TooLarge("headers", f"Headers are at most {most_bytes} bytes and {MAX_HEADERS} lines.", status=431)


def too_much_framing() -> TooLarge:
    """Return the refusal of a body with too many bytes around its chunks."""
    most = f"A body has at most {MOST_FRAMING_BYTES} bytes around its chunks"
    return TooLarge("framing", f"{most}: send larger ones, or a length.")


def check_head(head: Head) -> Checked:
    """Check a head and refuse whatever two HTTP readers could read differently.

    Raises:
        MalformedRequest: the head breaks a rule, which the refusal names.
        ExpectationFailed: the head has an `Expect`.
    """
    if head.version not in ("1.1", "1.0"):
        raise MalformedRequest("version", "Speak HTTP/1.1.")
    path, query = _target(head.target)
    values = head.judged()
    _check_host(values.get(b"host", []), head.version, lenient=path in HEALTH_PATHS)
    if len(values.get(b"authorization", ())) > 1:
        raise MalformedRequest("two_credentials", "Send one Authorization header.")
    framing = _framing(values, head.version)
    upgrade = values.get(b"upgrade", ())
    offers_h2c = bool(upgrade) and head.version == "1.1" and [value.lower() for value in upgrade] == [b"h2c"]
    if head.method == b"CONNECT" or (upgrade and not offers_h2c):
        raise MalformedRequest("upgrade", "This connection speaks HTTP/1.1 only: leave Upgrade out.")
    # RFC 9110, 10.1.1: an expectation in HTTP/1.0 MUST be ignored. A 417 makes clients repeat the request without it.
    if b"expect" in values and head.version == "1.1":
        raise ExpectationFailed("expect", "Leave the Expect header out and send the body at once.")
    return Checked(path, query, framing, offers_h2c)


def _target(target: bytes) -> tuple[bytes, bytes]:
    """Return path and query. RFC 9112, 3.2.2 has servers accept the absolute form; here only the health pages do."""
    absolute = None if target[:1] == b"/" else _ABSOLUTE_FORM.fullmatch(target)
    asked = absolute["origin_form"] if absolute is not None else target
    path, _, query = asked.partition(b"?")
    if not _is_origin_form(asked) or (absolute is not None and path not in HEALTH_PATHS):
        raise MalformedRequest("target", _why_no_target(target))
    return path, query


def _is_origin_form(target: bytes) -> bool:
    """Return whether a target is an absolute path and perhaps a query.

    RFC 9112, 3.2.1: origin-form = absolute-path [ "?" query ]; a fragment is never sent, and non-ASCII must be escaped.
    """
    return target[:1] == b"/" and target[1:2] != b"/" and b"\x01" not in target.translate(_STRANGE)


def _why_no_target(target: bytes) -> str:
    if target.startswith(b"//"):
        return (
            "The path begins with a double slash: write one, as in /v2/workflows/runs. "
            "A base URL that ends in '/' makes two of them."
        )
    if b"#" in target and _PRINTABLE.fullmatch(target):
        return "The request target has a '#': leave the fragment out, or write '%23'."
    if _SCHEME.match(target):
        return "The request target is a whole URL: this gateway is no proxy, so give it to clients as their base URL."
    return "The request target is a path and perhaps a query, in printable ASCII."


def _check_host(hosts: list[bytes], version: str, *, lenient: bool) -> None:
    # RFC 9112, 3.2: "A server MUST respond with a 400 to any request message that lacks a Host header field and to
    # any request message that contains more than one Host header field line or an invalid field value." HTTP/1.0 has
    # no such rule, and an empty Host is valid if no host is named. Probes send both.
    if lenient and (hosts == [b""] or (not hosts and version == "1.0")):
        return
    if len(hosts) != 1 or not _is_host(hosts[0]):
        raise MalformedRequest("host", "Send exactly one valid Host header.")


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    """Return whether a Host is valid; remembered, because callers name the gateway by a few names all day."""
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    port = match["port"]
    return port is None or int(port) <= 65535


def _framing(values: Mapping[bytes, Sequence[bytes]], version: str) -> tuple[bytes, bytes] | None:
    lengths, codings = values.get(b"content-length", ()), values.get(b"transfer-encoding", ())
    if not lengths and not codings:
        return None
    # RFC 9112, 6.1: a message with both "might indicate an attempt to perform request smuggling".
    if lengths and codings:
        raise MalformedRequest("framing", "Send Content-Length or Transfer-Encoding, never both.")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        raise MalformedRequest("content_length", "Content-Length is one whole number.")
    # RFC 9112, 7: "All transfer-coding names are case-insensitive".
    if codings and ([coding.lower() for coding in codings] != [b"chunked"] or version == "1.0"):
        raise MalformedRequest("transfer_encoding", "The only transfer coding is chunked, in HTTP/1.1.")
    return (b"transfer-encoding", b"chunked") if codings else (b"content-length", lengths[0])


PREVIEW = "/preview"
"""What stands before the path of a cancel that is only previewed."""

_PLANS = f"{PLANS}/".encode()
_CANCEL = f"DELETE {RUNS}"
_ONLY = (
    f"Of QStash's calls this gateway passes cancels of workflow runs ({_CANCEL}) and of messages, those on failed runs "
    "and messages, pauses and resumes; it shows your team its runs (GET /v2/workflows/logs) and failed runs (GET "
    "/v2/dlq?source=workflow). Previews, plans and what you may do are at /preview/v2/ and /gateway/v1/."
)
_RUNTIMES = "Runtimes that host workflows keep their own client and token."
_INSTEAD = (
    (
        re.compile(rb"DELETE (?:/preview)?/v2/workflows/runs/[^/]+"),
        (
            "The path names no run: an ID is 1 to 128 letters, digits, '_', '.' or '-', at least one a letter or "
            "digit, and 'undefined' is what a client writes that was given no ID."
        ),
    ),
    (
        re.compile(rb"(?:DELETE (?:/preview)?/v2/(?:messages|dlq)|POST (?:/preview)?/v2/dlq/retry)/[^/]+"),
        (
            "The path names nothing: an ID is 1 to 128 letters, digits, '_', '.' or '-', at least one a letter or "
            "digit, and 'undefined' is what a client writes that was given no ID."
        ),
    ),
    (
        re.compile(rb"POST (?:/preview)?/v2/workflows/runs/cancel"),
        f"Runs are cancelled with DELETE, and chosen in the query: {_CANCEL}?workflowUrl=URL.",
    ),
    (
        re.compile(rb"(?:POST|PATCH) (?:/preview)?/v2/(?:flowControl|queues|schedules)/[!-~]*/?(?:pause|resume)"),
        (
            "The path names nothing that could be switched: a flow-control key, queue or schedule is 1 to 128 letters, "
            "digits, '_', '.' or '-', at least one a letter or digit."
        ),
    ),
)
"""What to call instead of a path that is nearly that of a cancel, by method and path."""

_MAX_GUESSED_BYTES = 200


def action_of(method: str, path: bytes) -> str | None:
    """Return the action that a request names; None if it is a call that sends nothing, or of no known path.

    To apply a plan is the action of that plan, which the path does not name: None.
    """
    found = asked_by(method, path.decode("latin-1"))
    return None if found is None else found[0].action.value


def sends(method: str, path: bytes) -> bool:
    """Return whether a request is a call that sends something to QStash, if it is permitted."""
    applies = method == "POST" and path.startswith(_PLANS) and path.endswith(b"/apply")
    return applies or action_of(method, path) is not None


def is_plain(path: bytes) -> bool:
    """Return whether a path is its own decoded form: printable ASCII, no escape, no double slash."""
    text = path.decode("latin-1")
    return text.isascii() and "%" not in text and "//" not in text and text.isprintable()


def no_such_path(method: str, path: bytes, *, is_known: Callable[[str], bool]) -> NotFound:
    """Return the refusal of a path that is not one of ours; `is_known` says whether a decoded path is."""
    meant = _meant(path)
    if meant is not None and is_known(meant):
        return NotFound("path", f"This path has {_strange_in(path)}: write it as {meant}.")
    called = b"%s %s" % (method.encode("latin-1"), path)
    nearly = next((sentence for pattern, sentence in _INSTEAD if pattern.fullmatch(called)), "")
    instead = f"{nearly or instead_of(method, path.decode('latin-1'))} ".lstrip()
    if instead or path.startswith((b"/v2/", b"/v1/")):
        return NotFound("qstash_path", f"{instead}{_ONLY} {_RUNTIMES}")
    return NotFound("path", f"The gateway has no such path (it compares byte for byte). {_ONLY}")


def no_such_method(method: str, path: str, allowed: str) -> Refusal:
    """Return the refusal of a method that the path does not accept; `allowed` is the value of the Allow header.

    Where QStash has a call of that method, the path is none of ours, and the sentence says what to do instead.
    """
    if instead_of(method, path):
        return no_such_path(method, path.encode("ascii"), is_known=lambda _: False)
    more = f" {_ONLY} For other calls, use a client with its own token." if path.startswith("/v2/") else ""
    return MethodNotAllowed(allowed, f"This path takes {allowed.replace(', ', ' or ')} and nothing else.{more}")


def _meant(path: bytes) -> str | None:
    """Return the plain path that was probably meant, or None. It is only suggested to the caller, never used."""
    if len(path) > _MAX_GUESSED_BYTES:
        return None
    plain = posixpath.normpath(unquote_to_bytes(path)).lower()
    return plain.decode() if plain != path and is_plain(plain) else None


def _strange_in(path: bytes) -> str:
    signs = {
        "an escape": b"%" in path,
        "a double slash": b"//" in path,
        "a slash at its end": path.endswith(b"/"),
        "upper case": path != path.lower(),
        "a dot segment": b"/./" in path or b"/../" in path,
    }
    return " and ".join(sign for sign, there in signs.items() if there) or "a dot segment"
