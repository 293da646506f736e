"""The schema of the record, read from the declarations of its events. This module is pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from gateway.audit.events.declare import ABSENT, Absent, Event, Keywords, Mark

Schema = dict[str, object]

_PLAIN = {str: "string", int: "integer", bool: "boolean"}
_CONTAINERS: dict[object, tuple[str, str]] = {Sequence: ("array", "items"), Mapping: ("object", "additionalProperties")}


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an event: the schema of its value, with a description, and whether every record has it now.

    `checked` and `required` say what the schema of the record makes of it, so that it accepts earlier records.
    """

    name: str
    value: Schema
    always: bool
    checked: bool
    required: bool


def record_schema(envelope: type[Event], events: Iterable[type[Event]]) -> Schema:
    """Return the schema of one line of the log. Later versions add events and members, so unknown ones are admitted."""
    return {
        "type": "object",
        **_properties(envelope),
        "allOf": [
            {
                "if": {"properties": {"event": {"const": event.NAME}}, "required": ["event"]},
                "then": {"description": sentence(event), **_properties(event)},
            }
            for event in events
        ],
    }


def sentence(event: type[Event]) -> str:
    """Return the words of the declaration, on one line."""
    return " ".join((event.__doc__ or "").split())


def members_of(event: type[Event]) -> list[Member]:
    """Return the members that an event declares, in the order of the line.

    Raises: TypeError: a type has no place in a record, or no record of the event can be an earlier one.
    """
    hints = get_type_hints(event, include_extras=True)
    declared = fields(event)  # type: ignore[arg-type]
    always = [hints[one.name] for one in declared if one.default is not ABSENT]
    if event.NAME and always and all(Mark.LATER in getattr(hint, "__metadata__", ()) for hint in always):
        raise TypeError(f"{event.NAME}: every member is marked LATER, but a new event has no earlier records")
    return [
        _member(event, one.name, hints[one.name], always=one.default is not ABSENT)
        for one in declared
        if hints[one.name] is not Absent
    ]


def _member(event: type[Event], name: str, hint: object, *, always: bool) -> Member:
    notes = getattr(hint, "__metadata__", ())
    checked = Mark.LOOSE not in notes and (event.CHECKS is None or name in event.CHECKS)
    required = always and checked and Mark.LATER not in notes
    return Member(name, value_schema(hint), always=always, checked=checked, required=required)


def _properties(event: type[Event]) -> Schema:
    members = members_of(event)
    return {
        "properties": {
            one.name: one.value if one.checked else {"description": one.value["description"]} for one in members
        },
        "required": [one.name for one in members if one.required],
    }


def value_schema(hint: object) -> Schema:
    """Return the schema of the values of a type. Raises: TypeError: the type has no place in a record."""
    made, arguments = get_origin(hint), get_args(hint)
    if made is Annotated:
        return _noted(value_schema(arguments[0]), arguments[1:])
    if made in (Union, UnionType):
        return _union([one for one in arguments if one is not Absent])
    if made is Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    if made in _CONTAINERS:
        return _container(arguments[-1], *_CONTAINERS[made])
    if is_typeddict(hint):
        keys = get_type_hints(hint, include_extras=True)
        inner = {name: value_schema(value) for name, value in keys.items()}
        return {"type": "object", "properties": inner, "required": list(keys)}
    if isinstance(hint, type) and hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    raise TypeError(f"{hint!r} has no place in a record")


def _container(inner: object, kind: str, of: str) -> Schema:
    return {"type": kind} | ({of: value_schema(inner)} if inner is not object else {})


def _noted(schema: Schema, notes: Iterable[object]) -> Schema:
    for note in notes:
        if isinstance(note, str):
            schema = {"description": note, **{key: value for key, value in schema.items() if key != "description"}}
        elif isinstance(note, Keywords):
            schema = schema | note.schema
    return schema


def _union(parts: Sequence[object]) -> Schema:
    kinds = [part for part in parts if part is not NoneType]
    if len(kinds) != 1:
        raise TypeError(f"{parts!r}: a member has values of one type, and may be null")
    schema = value_schema(kinds[0])
    return schema | {"type": [schema["type"], "null"]} if NoneType in parts else schema
