"""What a call on messages or DLQ entries selects, as upstream reads it: every leniency here widens the call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gateway.simulator import golang
from gateway.simulator.account import read_cursor
from gateway.simulator.asked import Contract, first, list_of, scalar_of

_WHOLE_NUMBERS = ("workflowCreatedAt", "responseStatus")


class Thing(Protocol):
    """A message or an entry of the DLQ."""

    @property
    def key(self) -> str:
        """The ID that calls name it by."""

    @property
    def created_ms(self) -> int:
        """The time that dates are compared with, and by which things are listed; Unix milliseconds."""

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values that a filter of this name is compared with."""


Kept = TypeVar("Kept", bound=Thing)


@dataclass(frozen=True, slots=True)
class Grammar:
    """The parameters that a call knows: the list of IDs, and filters. It ignores every other name, as upstream does."""

    ids: str
    filters: tuple[str, ...]


# docs/upstream-contract.md#7-the-calls-that-destroy-other-things
WORKFLOW_DLQ = Grammar(
    "dlqIds",
    (
        "workflowUrl",
        "workflowRunId",
        "workflowCreatedAt",
        "label",
        "failureFunctionState",
        "callerIp",
        "flowControlKey",
    ),
)
MESSAGE_DLQ = Grammar(
    "dlqIds",
    (
        "messageId",
        "url",
        "topicName",
        "scheduleId",
        "queueName",
        "responseStatus",
        "callerIp",
        "label",
        "flowControlKey",
    ),
)
ANY_DLQ = Grammar("dlqIds", tuple(dict.fromkeys((*WORKFLOW_DLQ.filters, *MESSAGE_DLQ.filters))))
MESSAGES = Grammar(
    "messageIds",
    (
        "topicName",
        "queueName",
        "url",
        "host",
        "path",
        "label",
        "flowControlKey",
        "scheduleId",
        "callerIp",
        "callerIP",
    ),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a call selects. Without IDs and filters it selects everything.

    `from_ms`, `to_ms` (Unix milliseconds) and `count` are 0 if not set. `prefixes` says that a URL selects every URL
    that begins with it.
    """

    ids: tuple[str, ...]
    filters: dict[str, tuple[str, ...]]
    from_ms: int
    to_ms: int
    count: int
    cursor: str
    prefixes: bool

    def takes(self, thing: Thing) -> bool:
        """Return whether the call selects the thing. IDs override every filter."""
        if self.ids:
            return thing.key in self.ids
        if thing.created_ms < self.from_ms or 0 < self.to_ms < thing.created_ms:
            return False
        return all(self._hits(name, wanted, thing.values(name)) for name, wanted in self.filters.items())

    def _hits(self, name: str, wanted: tuple[str, ...], values: tuple[str, ...]) -> bool:
        if self.prefixes and name in ("url", "workflowUrl"):
            return any(value.startswith(wanted) for value in values)
        return not set(wanted).isdisjoint(values)


def read_selection(query: str, body: bytes, grammar: Grammar, contract: Contract, *, prefixes: bool) -> Selection:
    """Merge query and body as upstream does: members of the body replace those of the query.

    Raises: ValueError if the body is not JSON or a member has the wrong type (upstream answers 400).
    """
    from_query, from_body = golang.query_values(query), golang.json_members(body)
    ids = list_of(grammar.ids, from_query, from_body, contract)
    filters = {name: list_of(name, from_query, from_body, contract) for name in grammar.filters}
    # What is no number sets no filter, so the call is wider.
    for name in set(_WHOLE_NUMBERS) & filters.keys():
        filters[name] = tuple(value for value in filters[name] if golang.parse_int(value) is not None)
    names = ("fromDate", "toDate", "count")
    numbers = {name: scalar_of(name, from_body, golang.parse_int(first(from_query, name)) or 0) for name in names}
    return Selection(
        ids,
        {name: values for name, values in filters.items() if values},
        numbers["fromDate"],
        numbers["toDate"],
        max(numbers["count"], 0),
        first(from_query, "cursor"),
        prefixes,
    )


def page_of(things: Iterable[Kept], selection: Selection, *, size: int) -> tuple[list[Kept], str]:
    """Return what is selected after the cursor, newest first and at most `size` (0: all), and the next cursor.

    The next cursor is empty if nothing is left.

    Raises: ValueError if the cursor is not one that was given out.
    """
    found = sorted(filter(selection.takes, things), key=_position, reverse=True)
    if selection.cursor:
        start = read_cursor(selection.cursor)
        found = [thing for thing in found if _position(thing) < start]
    page = found[:size] if size else found
    return page, f"{page[-1].created_ms}-{page[-1].key}" if len(found) > len(page) else ""


def _position(thing: Thing) -> tuple[int, str]:
    return thing.created_ms, thing.key
