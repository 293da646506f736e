"""What came of a call to upstream: five values, one of them *unknown*. After the intent nothing raises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Upstream answered how many runs it cancelled; `upstream_status` is None where there was nothing to send.

    `action_id` names the bulk action under which upstream keeps the true total, where it has one.
    """

    upstream_status: int | None
    cancelled: int
    action_id: str | None = None

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
class Progress:
    """How far a plan of several orders got: runs cancelled for certain, and the IDs not sent or of unknown fate."""

    cancelled: int
    unsent: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Bytes may have arrived, and no trustworthy answer came back; `cause` is a fixed word.

    `progress` is there where several orders were to be sent and not all of them were carried out.
    """

    cause: str
    upstream_status: int | None = None
    progress: Progress | None = None

    name = "unknown"


Outcome = Cancelled | Accepted | Refused | NotSent | Unknown
