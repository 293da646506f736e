"""A message as upstream shows it, as a `Run`: types checked strictly, values by the grammar of requests; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.core import grammar
from gateway.core.run import Run
from gateway.upstream.runs.entries import Entry, caller_ip_of, key_of, labels_in, optional_in, text_in, time_in

_WORKFLOW = "workflow"
_HEADER = re.compile(r"\s*upstash-[a-z-]*workflow", re.IGNORECASE)


def read_message(members: Entry, message_id: str) -> Run | None:
    """Return the message with this ID; None if it shows a workflow run, is another, or a value cannot be read.

    Nobody knows whether a run goes on without a message that is a step of it.
    """
    try:
        if text_in(members, "messageId") != message_id or shows_run(members):
            return None
        return Run(
            run_id=grammar.item_id(message_id),
            workflow_url=_url(text_in(members, "url")),
            created_ms=time_in(members, "createdAt"),
            caller_ip=caller_ip_of(optional_in(members, "callerIP")),
            flow_control_key=key_of(optional_in(members, "flowControlKey")),
            labels=labels_in(members),
        )
    except ValueError:
        return None


def shows_run(members: Entry) -> bool:
    """Return whether a member or a header speaks of a workflow: its name says so, and it has a value.

    A step has the header `Upstash-Workflow-RunId`, and a call that reports to a run has it among the headers of its
    callback; no member is documented to name the run (docs/upstream-contract.md). Headers may also stand in a list, of
    pairs or objects: so the name of such a header counts where it is a value, too.
    """
    left: list[tuple[str, object]] = [*members.items()]
    while left:
        name, value = left.pop()
        if _WORKFLOW in name.lower() and value not in (None, "", [], {}):
            return True
        match value:
            case str() if _HEADER.match(value):
                return True
            case Mapping():
                left += value.items()
            case list():
                left += [("", one) for one in value]
    return False


def _url(value: str) -> str:
    """Return the URL; one that ends with its host has the path `/` (RFC 3986, 6.2.3)."""
    scheme, _, rest = value.partition("://")
    return grammar.url(f"{scheme}://{rest}/" if rest and "/" not in rest and "?" not in rest else value)
