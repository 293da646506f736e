"""The nodes of a YAML document: text with its place; nothing is resolved and nothing constructed."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.errors import Problem
from gateway.files.secrecy import looks_secret

SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file, line and column from 1."""

    file: str
    line: int
    column: int

    def problem(self, message: str) -> Problem:
        """Return a fault at this place."""
        return Problem(self.file, self.line, self.column, message)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text as written; `plain` means without quotes and not a block."""

    place: Place
    text: str
    plain: bool

    kind = "a single value"

    def __str__(self) -> str:
        """Return the text for a message: quoted, escaped and cut to a length that fits a line."""
        return shown(self.text)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A YAML sequence."""

    place: Place
    items: tuple[Node, ...]

    kind = "a list"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A YAML mapping without duplicate keys, in the order of the file."""

    place: Place
    members: tuple[tuple[Scalar, Node], ...]

    kind = "a mapping"


@dataclass(frozen=True, slots=True)
class Reported:
    """A part that was already reported, so that readers pass over it in silence."""

    place: Place

    kind = "a refused part"


Node = Scalar | Sequence | Mapping | Reported


def shown(text: str) -> str:
    """Return a file's text for a message: escaped to printable ASCII and cut; not shown if it may be a secret.

    Every message that quotes a value gets it from here: messages go to terminals, build logs and the record.
    """
    if looks_secret(text):
        return f"a value of {len(text)} characters that looks like a secret"
    cut = text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
    return "'" + cut.encode("unicode_escape").decode("ascii").replace("\\u2026", "...") + "'"
