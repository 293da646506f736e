"""The means to declare an event: a frozen dataclass whose fields are the members, in the order of the record's line.

    class Joined(Event, name="joined"):
        joins: Annotated[str, "The decision that it waits for.", Keywords(pattern=UUID)]
        claims: Annotated[Mapping[str, str] | Absent, "The claims that bound a token."] = ABSENT

Beside the type stand a sentence, keywords of JSON Schema that narrow the type, and marks. Only some records have a
member whose default is ABSENT; no record has one whose whole type is Absent. This module is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import Enum, auto
from typing import ClassVar, Final, ParamSpec, dataclass_transform

P = ParamSpec("P")
Members = dict[str, object]
Maker = Callable[..., Members]


class Absent(Enum):
    """The value of a member that this record does not have; null would be a value."""

    ABSENT = auto()


ABSENT: Final = Absent.ABSENT


class Mark(Enum):
    """What the schema leaves open about a member, so that it goes on to accept records of earlier versions."""

    LATER = auto()
    """Every record of its event has it now, but earlier ones lack it: the schema does not require it.

    A new event needs no mark: there are no earlier records of it.
    """
    LOOSE = auto()
    """The schema names it and checks nothing, because it did not name it before."""


LATER: Final = Mark.LATER
LOOSE: Final = Mark.LOOSE


class Keywords:
    """Keywords of JSON Schema that narrow a type, as `Keywords(minimum=0)`."""

    def __init__(self, **keywords: object) -> None:
        self.schema = keywords


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Event:
    """One event with its members, before it is sealed. A subclass with a `name` is an event; one without is a part.

    `checks` names the members that the schema checks, if these are not all: the others count as LOOSE.
    """

    NAME: ClassVar[str] = ""
    CHECKS: ClassVar[frozenset[str] | None] = None
    MAKER: ClassVar[Maker]

    def __init_subclass__(cls, *, name: str = "", checks: Iterable[str] | None = None) -> None:
        dataclass(frozen=True, kw_only=True, init=False)(cls)
        cls.NAME = name
        cls.CHECKS = None if checks is None else frozenset(checks)
        cls.MAKER = staticmethod(_maker({one.name: one.default is ABSENT for one in fields(cls)}))  # type: ignore[arg-type]

    def __init__(self, **given: object) -> None:
        """Take the members. Raises: TypeError: one is unknown, or one that every record has is missing."""
        # An attribute that is not there has the default of its class: ABSENT.
        object.__setattr__(self, "__dict__", self.MAKER(**given))

    def members(self) -> Members:
        """Return the members that this record has, in their order."""
        return self.__dict__.copy()


def maker(event: Callable[P, Event]) -> Callable[P, Members]:
    """Return a function that takes what the event takes, and returns its members without making the value first.

    The events that are recorded for every cancel are made so, because it takes two thirds of the time.
    """
    assert isinstance(event, type)
    assert issubclass(event, Event)
    return event.MAKER


def _maker(names: Mapping[str, bool]) -> Maker:
    """Prepare for an event what its records need: its members in order, each with whether it may be absent."""
    order = tuple(names)
    sometimes = tuple(name for name, optional in names.items() if optional)
    blank: Members = dict.fromkeys(names, ABSENT)

    def members(**given: object) -> Members:
        """Return the given members in their order. Raises: TypeError: one is unknown or missing."""
        if tuple(given) != order:
            if wrong := (given.keys() - names.keys()) or (names.keys() - given.keys()).difference(sometimes):
                raise TypeError(f"members that are unknown or missing: {', '.join(sorted(wrong))}")
            given = blank | given
        for name in sometimes:
            if given[name] is ABSENT:
                del given[name]
        return given

    return members
