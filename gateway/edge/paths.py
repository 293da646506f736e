"""The refusals of unknown paths and methods, with the path that was probably meant or those that exist. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from gateway.core.errors import MethodNotAllowed, NotFound

RUNS = "/v2/workflows/runs"
_ONE_RUN = re.compile(rb"(?:/preview)?/v2/workflows/runs/[^/]+")
_CANCEL = f"DELETE {RUNS}"
_ONLY = (
    f"Of QStash's calls this gateway only passes bulk cancels ({_CANCEL}) and shows runs of your team (GET "
    "/v2/workflows/logs); previews, plans and what you may do are at /preview/v2/workflows/runs and /gateway/v1/."
)
_RUNTIMES = "Runtimes that host workflows keep their own client and token."
_MAX_GUESSED_BYTES = 200


def is_plain(path: bytes) -> bool:
    """Return whether a path is its own decoded form: printable ASCII, no escape, no double slash."""
    return path.isascii() and b"%" not in path and b"//" not in path and path.decode().isprintable()


def no_such_path(method: str, path: bytes, *, is_known: Callable[[str], bool]) -> NotFound:
    """Return the refusal of a path that is not one of ours; `is_known` says whether a decoded path is."""
    meant = _meant(path)
    if meant is not None and is_known(meant):
        return NotFound("path", f"This path has {_strange_in(path)}: write it as {meant}.")
    if method == "DELETE" and _ONE_RUN.fullmatch(path):
        # Every run sends this call when it ends, with cancel=false, to report its end.
        one = f"A run is cancelled by its ID in the query, not in the path: {_CANCEL}?workflowRunIds=ID."
        return NotFound("qstash_path", f"{one} {_RUNTIMES}")
    if path.startswith((b"/v2/", b"/v1/")):
        return NotFound("qstash_path", f"{_ONLY} {_RUNTIMES}")
    return NotFound("path", f"The gateway has no such path (it compares byte for byte). {_ONLY}")


def no_such_method(path: str, allowed: str) -> MethodNotAllowed:
    """Return the refusal of a method that the path does not accept."""
    more = f" {_ONLY} For other calls, use a client with its own token." if path.startswith("/v2/") else ""
    return MethodNotAllowed(allowed, f"This path takes {allowed} and nothing else.{more}")


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
