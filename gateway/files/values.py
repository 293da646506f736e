"""The readers of single values: each turns a node into a typed value or a problem, and knows its JSON Schema.

A reader returns what it could read, and None if it could not; a file with any problem is refused as a whole.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from gateway.core.errors import Problem
from gateway.files.nodes import Node, Reported, Scalar

T = TypeVar("T")
W = TypeVar("W", bound=str)
T_co = TypeVar("T_co", covariant=True)

MAX_TEXT_CHARS = 4096
_STRING_TAG = "tag:yaml.org,2002:str"
# The YAML 1.2 core schema, or a 1.1 reader other than PyYAML, reads these as a number or a boolean.
_NOT_TEXT = re.compile(r"y|Y|n|N|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,17}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Field(Protocol[T_co]):
    """A reader of one kind of value."""

    def read(self, node: Node, problems: list[Problem]) -> T_co | None:
        """Return the value, or None after adding to `problems`."""

    def json_schema(self) -> dict[str, object]:
        """Return the JSON Schema of what `read` accepts."""


@dataclass(frozen=True, slots=True)
class Text(Generic[T]):
    """A string; `parse` turns it into the value or raises ValueError with one sentence.

    A plain scalar that some YAML reader takes for a number, boolean, null or date must be quoted, unless `typed`.
    `hidden` keeps the text out of messages, because a secret may have been pasted there by mistake.
    """

    parse: Callable[[str], T]
    pattern: str | None = None
    max_chars: int = MAX_TEXT_CHARS
    typed: bool = False
    hidden: bool = False

    def read(self, node: Node, problems: list[Problem]) -> T | None:
        """Return the parsed text."""
        scalar = single(node, "text", problems)
        if scalar is None:
            return None
        fault = self._fault(scalar)
        if fault:
            problems.append(scalar.place.problem(fault))
            return None
        try:
            return self.parse(scalar.text)
        except ValueError as exc:
            problems.append(scalar.place.problem(f"{exc}" if self.hidden else f"{scalar}: {exc}"))
            return None

    def _fault(self, scalar: Scalar) -> str | None:
        if scalar.plain and not self.typed and not is_text(scalar.text):
            found = "a value" if self.hidden else str(scalar)
            return f"expected text, found {found} without quotes, which YAML may read as another type: quote it"
        if not scalar.text:
            return "expected text, found an empty string"
        if len(scalar.text) > self.max_chars:
            return f"longer than {self.max_chars} characters"
        if not scalar.text.isprintable():
            return "the text holds a line break or control character (a folded text ends without one after '>-')"
        return None

    def json_schema(self) -> dict[str, object]:
        """Return the schema of a string, with the pattern if there is one."""
        schema: dict[str, object] = {"type": "string", "minLength": 1, "maxLength": self.max_chars}
        return schema if self.pattern is None else schema | {"pattern": f"^(?:{self.pattern})$"}


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number in plain decimal digits, between `minimum` and `maximum`."""

    minimum: int
    maximum: int

    def read(self, node: Node, problems: list[Problem]) -> int | None:
        """Return the number."""
        scalar = single(node, "a whole number", problems)
        if scalar is None:
            return None
        if not scalar.plain:
            problems.append(scalar.place.problem(f"expected a whole number, found text {scalar}: leave the quotes out"))
            return None
        if not _DECIMAL.fullmatch(scalar.text):
            problems.append(scalar.place.problem(f"expected a whole number in plain digits, found {scalar}"))
            return None
        number = int(scalar.text)
        if not self.minimum <= number <= self.maximum:
            problems.append(scalar.place.problem(f"expected {self._range()}, found {number}"))
            return None
        return number

    def _range(self) -> str:
        return str(self.minimum) if self.minimum == self.maximum else f"{self.minimum} to {self.maximum}"

    def json_schema(self) -> dict[str, object]:
        """Return the schema of an integer with its bounds."""
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Bool:
    """Exactly `true` or `false`, without quotes. With `only_true`, false is said by leaving the key out."""

    only_true: bool = False

    def read(self, node: Node, problems: list[Problem]) -> bool | None:
        """Return the boolean."""
        words = ("true",) if self.only_true else ("true", "false")
        scalar = single(node, " or ".join(words), problems)
        if scalar is None:
            return None
        if not scalar.plain or scalar.text not in words:
            quoted = "" if scalar.plain else " in quotes"
            problems.append(scalar.place.problem(f"expected {' or '.join(words)}, found {scalar}{quoted}"))
            return None
        return scalar.text == "true"

    def json_schema(self) -> dict[str, object]:
        """Return the schema of a boolean, or of the constant true."""
        return {"const": True} if self.only_true else {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice(Generic[W]):
    """One of several words; `refused` holds words that are known but not accepted, with the reason."""

    words: tuple[W, ...]
    refused: Mapping[str, str] = field(default_factory=dict)

    def read(self, node: Node, problems: list[Problem]) -> W | None:
        """Return the word."""
        return Text(self._parse).read(node, problems)

    def _parse(self, text: str) -> W:
        for known in self.words:
            if text == known:
                return known
        raise ValueError(self.refused.get(text, f"expected {' or '.join(self.words)}"))

    def json_schema(self) -> dict[str, object]:
        """Return the schema of the list of words."""
        return {"enum": list(self.words)}


def word(pattern: str, says: str) -> Text[str]:
    """Return the reader of text that matches the whole of `pattern`; `says` describes it in words."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        """Return the text itself, if it matches."""
        if not compiled.fullmatch(text):
            raise ValueError(f"expected {says}")
        return text

    return Text(parse, pattern)


def path_field() -> Text[Path]:
    """Return the reader of a path; a name that the encoding of the file system lacks is refused."""
    return Text(_path)


def date_field() -> Text[dt.date]:
    """Return the reader of a day as YYYY-MM-DD, with or without quotes."""
    return Text(_date, _DATE.pattern, typed=True)


def duration_field() -> Text[int]:
    """Return the reader of a duration like 30m or 24h, in milliseconds."""
    return Text(_duration_ms, _DURATION.pattern)


def is_text(plain: str) -> bool:
    """Return whether every YAML reader, of version 1.1 or 1.2, takes this plain scalar for a string."""
    tag = Resolver().resolve(ScalarNode, plain, (True, False))  # type: ignore[no-untyped-call]
    return tag == _STRING_TAG and not _NOT_TEXT.fullmatch(plain)


def single(node: Node, expected: str, problems: list[Problem]) -> Scalar | None:
    """Return the node if it is a single value; report anything else."""
    if isinstance(node, Scalar):
        return node
    if not isinstance(node, Reported):
        problems.append(node.place.problem(f"expected {expected}, found {node.kind}"))
    return None


def _path(text: str) -> Path:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        raise ValueError(
            f"no file has this name in {encoding}, which the environment asks for: set PYTHONUTF8=1"
        ) from None
    return Path(text)


def _date(text: str) -> dt.date:
    if not _DATE.fullmatch(text):
        raise ValueError("expected a date as YYYY-MM-DD")
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError("there is no such day") from None


def _duration_ms(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("expected a duration: a whole number and s, m, h or d, like 24h")
    return int(match[1]) * _UNIT_MS[match[2]]
