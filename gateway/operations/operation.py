"""What is known of an action of QStash's: the calls that ask for it, its grammar, how it is ordered and answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.core.outcome import Accepted, Cancelled
from gateway.core.parse import Body
from gateway.core.plan import ORDER_RUNS, Order, orders_of
from gateway.core.request import IDS, Action, ActionRequest
from gateway.core.run import Run

NO_ID = "undefined"
"""The word that a client of version 0.1 writes in the place of an ID, whatever else it was given."""


class Asked(NamedTuple):
    """A call as it arrived: the ID that its path names, if it does, its raw query, its body, and a look at its headers.

    `header` returns every value of a header by its name in lower case; `headers` are all of them, in order.
    """

    named: str | None
    query: bytes
    body: Body
    header: Callable[[bytes], Sequence[bytes]]
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True, slots=True)
class CallForm:
    """A method, and a path of QStash's. `field` says what the `{id}` in the path names; without one there is none."""

    method: str
    path: str
    field: str | None = None

    def __post_init__(self) -> None:
        if (self.field is None) != ("{id}" not in self.path):
            raise ValueError("a path with an {id}, and no other, says what the ID names")

    def at(self, one: str) -> str:
        """Return the path that names this ID."""
        return self.path.replace("{id}", one)

    def named(self, path: str) -> str | None:
        """Return the segment at the place of the `{id}`; None if the path is not of this form, or names nothing."""
        before, _, after = self.path.partition("{id}")
        if not (path.startswith(before) and path.endswith(after)) or len(path) <= len(before) + len(after):
            return None
        named = path[len(before) : len(path) - len(after)]
        return None if "/" in named or not self.takes(named) else named

    def takes(self, one: str) -> bool:
        """Return whether a segment of a path names something: the grammar of IDs, and no word for a missing one."""
        try:
            return self.field is not None and one != NO_ID and IDS[self.field](one) == one
        except ValueError:
            return False


class Said(NamedTuple):
    """An answer of QStash's with a status of 2xx: the members of its JSON object, empty if it has none.

    `is_empty` says that the answer has no body, and `bulk_action_id` is the checked `actionId`, if there is one.
    """

    status: int
    members: Mapping[str, object]
    is_empty: bool = False
    bulk_action_id: str | None = None

    def number(self, name: str) -> int | None:
        """Return the whole number that the answer has under a name; None if it has none, or reports an error."""
        match self.members.get(name):
            case int(value) if type(value) is int and 0 <= value < 2**63 and "error" not in self.members:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Operation:
    """One action.

    `forms` are the calls that ask for it. `read` returns the request of a call. Raises: Refusal.
    `fields` are the fields by wire name under which it names things by ID, and `filters` those of its filters.
    `target` returns method, path and query of the call that carries out an order, and `came_of` what an answer says
    became of it; None for an answer of another shape, which is unknown. `answer` returns the body of our own answer
    with status 200; None for one without a body. An order has at most `most_ids` IDs.
    """

    action: Action
    forms: tuple[CallForm, ...]
    fields: tuple[str, ...]
    filters: frozenset[str]
    read: Callable[[CallForm, Asked], ActionRequest]
    target: Callable[[Order], tuple[str, str]]
    came_of: Callable[[Said], Cancelled | Accepted | None]
    answer: Callable[[ActionRequest, Cancelled], Mapping[str, object] | None]
    most_ids: int = ORDER_RUNS

    def orders(self, runs: Sequence[Run], asked: ActionRequest) -> tuple[Order, ...]:
        """Return orders for exactly these runs or entries, in turn; for none, none: an empty list means everything.

        Raises: ValueError: the action names things under several fields, and so is never ordered from a look-up.
        """
        [field] = self.fields
        return orders_of(runs, asked, field=field, most=self.most_ids)
