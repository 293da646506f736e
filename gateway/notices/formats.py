"""The two forms of a notice on the wire: CloudEvents 1.0 in structured JSON, and Slack's incoming webhook. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from gateway.notices.events import sentence
from gateway.state.notices import Format

SOURCE = "urn:qstash-gateway:notices"
"""The `source` of every event. With its `id` it names an event, whichever gateway of a fleet delivers it."""

TYPE = "qstash-gateway."
"""What the `type` of an event begins with."""


class Body(NamedTuple):
    """The body of a request, and its type."""

    content_type: str
    content: bytes


def formatted(form: Format, notice_id: str, document: bytes) -> Body:
    """Return the body for a notice that the store has kept; of one notice always the same bytes."""
    return _FORMS[form](notice_id, orjson.loads(document))


def _cloud_event(notice_id: str, members: Mapping[str, object]) -> Body:
    event = {
        "specversion": "1.0",
        "id": notice_id,
        "source": SOURCE,
        "type": f"{TYPE}{members['kind']}",
        "subject": members["subject"],
        "time": members["time"],
        "datacontenttype": "application/json",
        "data": members["data"],
    }
    return Body("application/cloudevents+json; charset=utf-8", orjson.dumps(event))


def _slack(notice_id: str, members: Mapping[str, object]) -> Body:
    data = members["data"]
    assert isinstance(data, dict)
    text = sentence(str(members["kind"]), data)
    # Slack reads <…> as a mention or a link, and asks for these three to be escaped; nothing else is special.
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, written)
    return Body("application/json", orjson.dumps({"text": text}))


_FORMS: Mapping[Format, Callable[[str, Mapping[str, object]], Body]] = {"cloudevents": _cloud_event, "slack": _slack}
