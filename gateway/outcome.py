"""What came of a call to upstream: five values, one of them *unknown*. After the intent nothing raises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Upstream answered how many runs it cancelled."""

    upstream_status: int
    cancelled: int

    name = "cancelled"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Upstream will work on it in the background under `action_id`; how many is not known yet."""

    upstream_status: int
    action_id: str

    name = "accepted"


@dataclass(frozen=True, slots=True)
class Refused:
    """Upstream refused with 401, 403, 412 or 429, so nothing was cancelled; `text` is safe to show.

    `retry_after_s` is upstream's wait, bounded, and `burst` its `Burst-RateLimit-*` headers; both for 429 only.
    """

    upstream_status: int
    text: str
    retry_after_s: int | None = None
    burst: tuple[tuple[str, str], ...] = ()

    name = "refused"


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certainly no byte of the request left; `cause` is a fixed word."""

    cause: str

    name = "not_sent"
    upstream_status = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Bytes may have arrived, and no trustworthy answer came back; `cause` is a fixed word."""

    cause: str
    upstream_status: int | None = None

    name = "unknown"


Outcome = Cancelled | Accepted | Refused | NotSent | Unknown
