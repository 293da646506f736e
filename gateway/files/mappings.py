"""The readers of lists and mappings, made of other readers: a file format is a declaration of these."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.core.errors import Problem
from gateway.files import nodes
from gateway.files.nodes import Node, Place, Reported, Scalar, shown
from gateway.files.values import Field, Text

S = TypeVar("S")
T = TypeVar("T")
Present = Mapping[str, Place]
"""The keys that a mapping has, each with its place, whether or not its value could be read."""

MAX_ITEMS = 10_000
_MAX_GUESSED_CHARS = 40


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list of one kind of value; `distinct` names what must not be repeated and how to get it from an item."""

    item: Field[T]
    min_items: int = 1
    distinct: Mapping[str, Callable[[T], Hashable]] = field(default_factory=dict)
    max_items: int = MAX_ITEMS

    def read(self, node: Node, problems: list[Problem]) -> tuple[T, ...] | None:
        """Return the items that could be read; None if this is no list or its length is wrong."""
        if not isinstance(node, nodes.Sequence):
            if not isinstance(node, Reported):
                problems.append(node.place.problem(f"expected a list, found {node.kind}"))
            return None
        if not self.min_items <= len(node.items) <= self.max_items:
            fault = "the list is empty" if not node.items else f"expected {self.min_items} to {self.max_items} items"
            problems.append(node.place.problem(fault))
            return None
        read = [(part.place, self.item.read(part, problems)) for part in node.items]
        located = [(place, item) for place, item in read if item is not None]
        for what, of in self.distinct.items():
            report_twice(what, [(place, of(item)) for place, item in located], problems)
        return tuple(item for _, item in located)

    def json_schema(self) -> dict[str, object]:
        """Return the schema of an array of such items."""
        schema: dict[str, object] = {"type": "array", "items": self.item.json_schema(), "maxItems": self.max_items}
        return schema | {"minItems": self.min_items} if self.min_items else schema


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping; `into` is the argument that its value becomes, if that is not named like the key."""

    field: Field[object]
    required: bool = True
    into: str | None = None


def need(value: Field[object], *, into: str | None = None) -> Key:
    """Declare a key that must be there."""
    return Key(value, into=into)


def may(value: Field[object], *, into: str | None = None) -> Key:
    """Declare a key that may be left out; the default is that of the type which the shape makes."""
    return Key(value, required=False, into=into)


def _no_check(place: Place, present: Present) -> list[Problem]:
    return []


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """A mapping with known keys; `make` gets their values as arguments, and `at` if the shape is `located`.

    Of the keys in `one_of` exactly one must be there; `check` judges which keys go together otherwise. `absent` holds
    keys that exist elsewhere, with the reason why they do not exist here. `hidden` keeps unknown keys out of messages,
    because a secret may have been pasted there by mistake.
    """

    make: Callable[..., T | None]
    keys: Mapping[str, Key]
    check: Callable[[Place, Present], list[Problem]] = _no_check
    absent: Mapping[str, str] = field(default_factory=dict)
    located: bool = False
    hidden: bool = False
    one_of: tuple[str, ...] = ()

    def read(self, node: Node, problems: list[Problem]) -> T | None:
        """Return what `make` makes of the values. An optional key that could not be read is left out.

        None means that this is no mapping or that a required key is missing or could not be read.
        """
        if not isinstance(node, nodes.Mapping):
            if not isinstance(node, Reported):
                problems.append(node.place.problem(f"expected a mapping, found {node.kind}"))
            return None
        present = {key.text: key.place for key, _ in node.members}
        problems += self._missing(node.place, present)
        problems += self.check(node.place, present)
        values = self._values(node, problems)
        if any(key.required and (key.into or name) not in values for name, key in self.keys.items()):
            return None
        return self.make(**values, at=node.place) if self.located else self.make(**values)

    def _values(self, node: nodes.Mapping, problems: list[Problem]) -> dict[str, object]:
        values: dict[str, object] = {}
        for name, part in node.members:
            key = self.keys.get(name.text)
            if key is None:
                problems.append(name.place.problem(self._unknown(name)))
                continue
            value = key.field.read(part, problems)
            if value is not None:
                values[key.into or name.text] = value
        return values

    def _missing(self, place: Place, present: Present) -> list[Problem]:
        missing = [name for name, key in self.keys.items() if key.required and name not in present]
        problems = [place.problem(f"the key {shown(name)} is missing") for name in missing]
        if self.one_of and sum(name in present for name in self.one_of) != 1:
            problems.append(place.problem(f"expected exactly one of the keys {', '.join(map(shown, self.one_of))}"))
        return problems

    def _unknown(self, name: Scalar) -> str:
        if name.text in self.absent:
            return f"{name} is not allowed here: {self.absent[name.text]}"
        if self.hidden:
            return f"unknown key (not shown, it may be a secret): known are {', '.join(self.keys)}"
        guesses = difflib.get_close_matches(name.text[:_MAX_GUESSED_CHARS], self.keys, n=1)
        guess = f"did you mean {shown(guesses[0])}?" if guesses else f"known are {', '.join(self.keys)}"
        return f"unknown key {name}: {guess}"

    def json_schema(self) -> dict[str, object]:
        """Return the schema of an object that admits no other keys."""
        schema: dict[str, object] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: key.field.json_schema() for name, key in self.keys.items()},
            "required": [name for name, key in self.keys.items() if key.required],
        }
        return schema | {"oneOf": [{"required": [name]} for name in self.one_of]} if self.one_of else schema


def _no_names_check(place: Place, names: Iterable[str]) -> list[Problem]:
    return []


@dataclass(frozen=True, slots=True)
class Entries(Generic[T]):
    """A mapping with free keys of the form of `name`, and values of one kind; `check` judges the keys."""

    name: Text[str]
    value: Field[T]
    check: Callable[[Place, Iterable[str]], list[Problem]] = _no_names_check

    def read(self, node: Node, problems: list[Problem]) -> Mapping[str, T] | None:
        """Return the entries that could be read; an empty mapping is a problem."""
        if not isinstance(node, nodes.Mapping):
            if not isinstance(node, Reported):
                problems.append(node.place.problem(f"expected a mapping, found {node.kind}"))
            return None
        if not node.members:
            problems.append(node.place.problem("the mapping is empty"))
            return None
        problems += self.check(node.place, [key.text for key, _ in node.members])
        read = [(self.name.read(key, problems), self.value.read(value, problems)) for key, value in node.members]
        return {name: value for name, value in read if name is not None and value is not None}

    def json_schema(self) -> dict[str, object]:
        """Return the schema of an object with any keys of that form."""
        keys = {"propertyNames": self.name.json_schema(), "additionalProperties": self.value.json_schema()}
        return {"type": "object", "minProperties": 1, **keys}


@dataclass(frozen=True, slots=True)
class Judged(Generic[S, T]):
    """A value that is judged as a whole: `make` gets it and may raise ValueError with one sentence."""

    field: Field[S]
    make: Callable[[S], T]

    def read(self, node: Node, problems: list[Problem]) -> T | None:
        """Return what `make` makes of the value; None if the value has any problem."""
        before = len(problems)
        value = self.field.read(node, problems)
        if value is None or len(problems) > before:
            return None
        try:
            return self.make(value)
        except ValueError as exc:
            problems.append(node.place.problem(str(exc)))
            return None

    def json_schema(self) -> dict[str, object]:
        """Return the schema of the field; it cannot say how the parts go together."""
        return self.field.json_schema()


@dataclass(frozen=True, slots=True)
class Either(Generic[T]):
    """A single value in the short form, or a mapping in the long one."""

    short: Field[T]
    long: Field[T]

    def read(self, node: Node, problems: list[Problem]) -> T | None:
        """Return the value, whichever form it has."""
        return (self.long if isinstance(node, nodes.Mapping) else self.short).read(node, problems)

    def json_schema(self) -> dict[str, object]:
        """Return the schema of both forms."""
        return {"anyOf": [self.short.json_schema(), self.long.json_schema()]}


@dataclass(frozen=True, slots=True)
class Several(Generic[T]):
    """One value, or a list of one to `most` of them; each is read with its place."""

    item: Field[T]
    most: int

    def read(self, node: Node, problems: list[Problem]) -> tuple[tuple[Place, T], ...] | None:
        """Return the values that could be read, each with its place."""
        if isinstance(node, nodes.Sequence):
            return ListOf(Placed(self.item), max_items=self.most).read(node, problems)
        value = self.item.read(node, problems)
        return None if value is None else ((node.place, value),)

    def json_schema(self) -> dict[str, object]:
        """Return the schema of both forms."""
        listed = ListOf(self.item, max_items=self.most)
        return {"anyOf": [self.item.json_schema(), listed.json_schema()]}


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    """A value together with its place."""

    item: Field[T]

    def read(self, node: Node, problems: list[Problem]) -> tuple[Place, T] | None:
        """Return the place and the value."""
        value = self.item.read(node, problems)
        return None if value is None else (node.place, value)

    def json_schema(self) -> dict[str, object]:
        """Return the schema of the value."""
        return self.item.json_schema()


def report_twice(what: str, located: list[tuple[Place, Hashable]], problems: list[Problem]) -> None:
    """Report every value that repeats an earlier one; `what` names the value."""
    first: dict[Hashable, Place] = {}
    for place, value in located:
        before = first.setdefault(value, place)
        if before is not place:
            where = f"line {before.line}" if before.file == place.file else f"{before.file}:{before.line}"
            problems.append(place.problem(f"the same {what} stands in {where} already"))
