"""The ids by which a caller finds a request again: its trace (W3C Trace Context) and an id of its own.

They are copied to the record, and decide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

_TRACEPARENT = re.compile(
    rb"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<parent>(?!0{16})[0-9a-f]{16})"
    rb"-(?P<flags>[0-9a-f]{2})(?P<more>-[!-~]*)?"
)
_REQUEST_ID = re.compile(rb"(?!qgk_)[A-Za-z0-9_.-]{1,128}")
_SAMPLED = 0x01


class Correlation(NamedTuple):
    """The ids that a caller gave; None for each that was missing or not accepted.

    `parent_id` is the span of the caller that sent the request, `sampled` whether its trace is recorded there.
    """

    trace_id: str | None = None
    parent_id: str | None = None
    sampled: bool = True
    request_id: str | None = None


NOT_GIVEN = Correlation()
"""No ids: the trace of such a request is named after its decision."""


def correlation_of(
    traceparent: Sequence[bytes], request_id: Sequence[bytes], *, is_secret: Callable[[str], bool]
) -> Correlation:
    """Return the ids in the values of the headers `traceparent` and `X-Request-Id`.

    A header that is repeated, malformed or holds a secret counts as missing; none of it is an error.
    """
    given = _parent(traceparent, is_secret)
    named = request_id[0].decode("latin-1") if len(request_id) == 1 and _REQUEST_ID.fullmatch(request_id[0]) else None
    if named is None or is_secret(named):
        return given
    return given._replace(request_id=named)


def _parent(values: Sequence[bytes], is_secret: Callable[[str], bool]) -> Correlation:
    # W3C Trace Context, 3.2: of a higher version the first four fields are read, "the string is at least 55 characters
    # long", and what follows them begins with a dash. Version 00 ends there, and ff is forbidden.
    found = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    if found is None or (found["version"] == b"00" and found["more"] is not None):
        return NOT_GIVEN
    trace_id, parent_id = found["trace"].decode("ascii"), found["parent"].decode("ascii")
    if is_secret(f"{trace_id} {parent_id}"):
        return NOT_GIVEN
    return Correlation(trace_id, parent_id, bool(int(found["flags"], 16) & _SAMPLED))


def trace_id_of(decision_id: str) -> str:
    """Return the trace that a decision names if its caller gave none: 32 hexadecimal digits, as W3C writes them."""
    return decision_id.replace("-", "")
