"""QStash's own list of calls, as far as docs/upstream-contract.md knows it, and what the gateway makes of each.

A call that is not passed says what to do instead. The sentence is for people: no policy is asked, so none can allow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.operations.table import OPERATIONS


class Treatment(StrEnum):
    """What becomes of a call: policy judges it, it shows a team its own, or it is never sent."""

    JUDGED = "judged"
    SHOWN = "shown"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class VendorCall:
    """One call by its method and path, in which `{…}` is one segment and `*` at the end is one or more.

    `instead` is the sentence that a refused one is answered with, and empty for the others.
    """

    method: str
    path: str
    treatment: Treatment
    instead: str = ""

    def __post_init__(self) -> None:
        if (self.treatment is Treatment.REFUSED) != bool(self.instead):
            raise ValueError("a call that is refused, and no other, says what to do instead")

    def is_at(self, segments: Sequence[str]) -> bool:
        """Return whether the path that was split into these segments is the one of this call."""
        own = self.path.split("/")
        if own[-1] == "*":
            own, segments = own[:-1], segments[: len(own) - 1] if any(segments[len(own) - 1 :]) else ()
        return len(own) == len(segments) and all(
            bool(segment) if part.startswith("{") else part == segment
            for part, segment in zip(own, segments, strict=True)
        )


_HOLDER = "whoever holds the account does it in QStash's console"
_THERE = "do it where they are deployed, with the token of that service"

_PUBLISHING = "Publishing never passes the gateway: services that publish keep their own client and token."
_SCHEDULES = f"Schedules are never created or deleted through the gateway: {_THERE}."
_QUEUES = f"Queues are never created or deleted through the gateway: {_THERE}."
_TOPICS = f"URL groups are never changed or deleted through the gateway: {_THERE}."
_ROTATION = (
    "Signing keys are never rotated through the gateway, because services check signatures with the old ones: "
    f"{_HOLDER}, when they are ready."
)
_KEYS = "Signing keys are never shown through the gateway: ask whoever holds the account for them."
_NOTIFY = (
    "Events are never notified through the gateway, because they may wake runs of every team: the service that hosts "
    "the workflow does it with its own client and token."
)
_ACCOUNT = f"Calls about the account itself never pass the gateway: {_HOLDER}."
_TUNING = f"Limits of a flow-control key are never changed through the gateway: {_HOLDER}."
_CALLBACKS = f"The failure function of a run is never called again through the gateway: {_HOLDER}."
_DLQ_SHOWN = "Failed runs of your team are shown by GET /v2/dlq?source=workflow, failed messages by nothing here."
_MESSAGES_SHOWN = "Messages are not shown here; runs of your team are, by GET /v2/workflows/logs."
_SETTINGS = (
    "Queues, schedules, URL groups, flow-control keys and waiters are not shown here: ask whoever holds the account."
)
_ONE_RUN = "A run of your team is shown by GET /v2/workflows/logs?workflowRunId=ID."
_PROGRESS = "What became of a cancel is shown by GET /gateway/v1/decisions/ID, with the ID in its Gateway-Decision."

_SHOWN = ("GET /v2/workflows/logs", "GET /v2/workflows/events", "GET /v2/dlq")
_REFUSED = (
    ("POST /v2/workflows/dlq/callback/{id}", _CALLBACKS),
    ("POST /v2/flowControl/{key}/pin", _TUNING),
    ("POST /v2/flowControl/{key}/unpin", _TUNING),
    ("POST /v2/flowControl/{key}/resetRate", _TUNING),
    ("POST /v2/publish/*", _PUBLISHING),
    ("POST /v2/enqueue/*", _PUBLISHING),
    ("POST /v2/batch", _PUBLISHING),
    ("POST /v2/trigger/*", _PUBLISHING),
    ("DELETE /v2/schedules/{id}", _SCHEDULES),
    ("POST /v2/schedules/*", _SCHEDULES),
    ("POST /v2/queues", _QUEUES),
    ("DELETE /v2/queues/{name}", _QUEUES),
    ("POST /v2/topics/{name}/endpoints", _TOPICS),
    ("DELETE /v2/topics/{name}/endpoints", _TOPICS),
    ("DELETE /v2/topics/{name}", _TOPICS),
    ("POST /v2/keys/rotate", _ROTATION),
    ("POST /v2/notify/{event}", _NOTIFY),
    ("POST /v2/notify/{run}/{event}", _NOTIFY),
    ("GET /v2/qstash/*", _ACCOUNT),
    ("POST /v2/qstash/*", _ACCOUNT),
    ("GET /v2/keys", _KEYS),
    ("GET /v2/dlq/{id}", _DLQ_SHOWN),
    ("GET /v2/workflows/dlq", _DLQ_SHOWN),
    ("GET /v2/workflows/dlq/{id}", _DLQ_SHOWN),
    ("GET /v2/messages/{id}", _MESSAGES_SHOWN),
    ("GET /v2/logs", _MESSAGES_SHOWN),
    ("GET /v2/events", _MESSAGES_SHOWN),
    ("GET /v2/flowControl", _SETTINGS),
    ("GET /v2/flowControl/{key}", _SETTINGS),
    ("GET /v2/queues", _SETTINGS),
    ("GET /v2/queues/{name}", _SETTINGS),
    ("GET /v2/schedules", _SETTINGS),
    ("GET /v2/schedules/{id}", _SETTINGS),
    ("GET /v2/topics", _SETTINGS),
    ("GET /v2/topics/{name}", _SETTINGS),
    ("GET /v2/waiters/{event}", _SETTINGS),
    ("GET /v2/workflows/runs/{id}", _ONE_RUN),
    ("GET /v2/workflows/bulkActions/{id}", _PROGRESS),
)


def _calls() -> Iterator[VendorCall]:
    for operation in OPERATIONS.values():
        yield from (VendorCall(form.method, form.path, Treatment.JUDGED) for form in operation.forms)
    for line in _SHOWN:
        yield VendorCall(*_split(line), Treatment.SHOWN)
    for line, instead in _REFUSED:
        yield VendorCall(*_split(line), Treatment.REFUSED, instead)


def _split(line: str) -> tuple[str, str]:
    method, _, path = line.partition(" ")
    return method, path


CALLS = (*_calls(),)
"""Every call of the list. Of two that have a path the earlier one counts."""

_MOST_SEGMENTS = 1 + max(call.path.count("/") for call in CALLS)
_FORMER, _NOW = "/v1/", "/v2/"


def call_of(method: str, path: str) -> VendorCall | None:
    """Return the call that a method and a raw path make; None if it is none of the list.

    The path is compared as it is written, in time linear in its length.
    """
    # A further slash stays in the last of them, so that a path that is too long is none of fixed length.
    segments = path.split("/", _MOST_SEGMENTS)
    return next((call for call in CALLS if call.method == method and call.is_at(segments)), None)


def instead_of(method: str, path: str) -> str:
    """Return what to do instead of a call that the gateway refuses; empty for any other, and for no call of QStash's.

    The former version of the API (`/v1/`) is told the same.
    """
    call = call_of(method, _NOW + path.removeprefix(_FORMER) if path.startswith(_FORMER) else path)
    return "" if call is None else call.instead
