"""Messages and entries of the dead letter queue (DLQ) as the simulated account holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

# The members as QStash writes them, and the fields that hold them.
_TEXTS = MappingProxyType(
    {
        "messageId": "message_id",
        "url": "url",
        "callerIP": "caller_ip",
        "flowControlKey": "flow_control_key",
        "queueName": "queue",
        "scheduleId": "schedule_id",
        "topicName": "topic",
        "body": "body",
    }
)
_NUMBERS = MappingProxyType({"createdAt": "created_ms"})
_DLQ_TEXTS = MappingProxyType(
    {
        **_TEXTS,
        "dlqId": "dlq_id",
        "workflowRunId": "run_id",
        "workflowUrl": "workflow_url",
        "failureFunctionState": "failure_state",
        "responseBody": "response_body",
    }
)
_DLQ_NUMBERS = MappingProxyType(
    {**_NUMBERS, "workflowCreatedAt": "workflow_created_ms", "responseStatus": "response_status"}
)
_FIELDS = MappingProxyType({**_DLQ_TEXTS, **_DLQ_NUMBERS, "callerIp": "caller_ip"})
_RUN_HEADER = "Upstash-Workflow-RunId"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message that waits for its delivery; times are Unix milliseconds.

    `run_id` names the workflow run whose step it is, if it is one.
    """

    message_id: str
    url: str
    created_ms: int
    caller_ip: str = "203.0.113.7"
    labels: tuple[str, ...] = ()
    flow_control_key: str = ""
    queue: str = ""
    schedule_id: str = ""
    topic: str = ""
    run_id: str = ""
    body: str = "{}"

    @property
    def key(self) -> str:
        """The ID that calls name it by."""
        return self.message_id

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values that a filter of this name is compared with."""
        match name:
            case "label":
                return self.labels
            case "host":
                return (urlsplit(self.url).netloc,)
            case "path":
                return (urlsplit(self.url).path,)
            case _:
                return (str(getattr(self, _FIELDS[name])),)

    def wire(self) -> dict[str, object]:
        """Return the message as `GET /v2/messages/{id}` shows it. A step of a workflow is known by its headers only."""
        return _wire(self, _TEXTS, _NUMBERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DlqEntry(Message):
    """One entry of the DLQ: a message that could not be delivered or, if it has a `run_id`, a failed workflow run.

    `created_ms` is when it entered the queue, `workflow_created_ms` when the run began.
    """

    dlq_id: str
    workflow_url: str = ""
    workflow_created_ms: int = 0
    failure_state: str = ""
    response_status: int = 500
    response_body: str = "internal error"

    @property
    def key(self) -> str:
        """The ID that calls name it by."""
        return self.dlq_id

    @property
    def of_workflow(self) -> bool:
        """True if it can be resumed and restarted."""
        return bool(self.run_id)

    def as_message(self) -> Message:
        """Return the message that could not be delivered."""
        return Message(**{each.name: getattr(self, each.name) for each in fields(Message)})

    def wire(self) -> dict[str, object]:
        """Return the entry as `GET /v2/dlq` shows it."""
        return _wire(self, _DLQ_TEXTS, _DLQ_NUMBERS)


def message_of(wire: Mapping[str, object]) -> Message:
    """Read a message that has the names of QStash, and `workflowRunId` if it is a step of a workflow.

    Raises: ValueError if `messageId`, `url` or `createdAt` is missing, or a member is of another type.
    """
    run = {"workflowRunId": "run_id"}
    return Message(**_fields(wire, ("messageId", "url", "createdAt"), {**_TEXTS, **run}, _NUMBERS))


def entry_of(wire: Mapping[str, object]) -> DlqEntry:
    """Read an entry of the DLQ that has the names of QStash.

    Raises: ValueError if `dlqId`, `messageId`, `url` or `createdAt` is missing, or a member is of another type.
    """
    return DlqEntry(**_fields(wire, ("dlqId", "messageId", "url", "createdAt"), _DLQ_TEXTS, _DLQ_NUMBERS))


def _wire(thing: Message, texts: Mapping[str, str], numbers: Mapping[str, str]) -> dict[str, object]:
    shown = {name: getattr(thing, field) for name, field in {**texts, **numbers}.items()}
    labels = {"label": thing.labels[0], "labels": list(thing.labels)} if thing.labels else {}
    header = {_RUN_HEADER: [thing.run_id]} if thing.run_id else {}
    return {
        **{name: value for name, value in shown.items() if value not in ("", 0)},
        **labels,
        "method": "POST",
        "header": header,
        "maxRetries": 3,
    }


def _fields(
    wire: Mapping[str, object], needed: tuple[str, ...], texts: Mapping[str, str], numbers: Mapping[str, str]
) -> dict[str, Any]:
    labels = wire.get("labels", [])
    kinds = {**dict.fromkeys(texts, str), **dict.fromkeys(numbers, int)}
    wrong = [name for name, kind in kinds.items() if name in wire and type(wire[name]) is not kind]
    if wrong or any(name not in wire for name in needed) or not isinstance(labels, list):
        raise ValueError(f"it has {', '.join(needed)}, and members of the types that QStash shows")
    given = {field: wire[name] for name, field in {**texts, **numbers}.items() if name in wire}
    return {**given, "labels": tuple(map(str, labels))}
