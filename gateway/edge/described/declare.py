"""The kinds of thing that a description is made of: values, problems, results, calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.errors import Refusal
from gateway.core.forms.shown import PLAN_ID

Schema = dict[str, object]

UUID = {"pattern": f"^{PLAN_ID.pattern}$"}
"""The form of an ID that the gateway gives: of a decision or a plan."""

TIME = {"format": "date-time"}
RULE = "The rule, as `file/id`"


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of problem: its status and code, what it means to a caller, and the members that only it has."""

    status: int
    code: str
    says: str
    members: tuple[str, ...] = ()

    @classmethod
    def of(cls, refusal: type[Refusal], says: str, *members: str, status: int | None = None) -> Problem:
        """Return the problem that a kind of refusal is answered with; `status` chooses one where it has several."""
        return cls(status or refusal.status, refusal.code, says, members)


@dataclass(frozen=True, slots=True)
class Result:
    """A success: its status, what it means, the value in its body (a name of `VALUES`), and its further headers.

    `stream` says that it is a stream of server-sent events, each with such a value as its data.
    """

    status: int
    says: str
    value: str
    headers: tuple[str, ...] = ()
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One of the gateway's own calls: what it does, what it takes, and everything that it answers.

    `body` names a value of `VALUES`; None stands for a call that takes none. `headers` names those that may stand on a
    problem, by its status.
    """

    method: str
    path: str
    name: str
    does: str
    more: str
    results: tuple[Result, ...]
    problems: tuple[Problem, ...]
    body: str | None = None
    body_required: bool = False
    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def text(says: str, **more: object) -> Schema:
    """Return the schema of a text."""
    return {"type": "string", "description": says, **more}


def number(says: str, **more: object) -> Schema:
    """Return the schema of a whole number that is not negative."""
    return {"type": "integer", "minimum": 0, "description": says, **more}


def yes_or_no(says: str) -> Schema:
    """Return the schema of a truth value."""
    return {"type": "boolean", "description": says}


def listed(says: str, of: Schema, **more: object) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "description": says, "items": of, **more}


def mapping(says: str, to: Schema) -> Schema:
    """Return the schema of an object whose names are data."""
    return {"type": "object", "description": says, "additionalProperties": to}


def value(says: str, members: Mapping[str, Schema], *, maybe: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object that has all these members, those in `maybe` not always."""
    required = [name for name in members if name not in maybe]
    return {"type": "object", "description": says, "properties": dict(members), "required": required}


def ref(name: str) -> Schema:
    """Return the place of a value of `VALUES`."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """Return the schema that also takes null."""
    if isinstance(kind := schema.get("type"), str):
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
