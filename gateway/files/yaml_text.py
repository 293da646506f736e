"""The parser from YAML text to nodes with places, built on events: what could be read in two ways is refused.

PyYAML's own loaders keep the last duplicate key, follow aliases and resolve `no` to False. None of that happens here,
because the library composes and constructs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from gateway.core.errors import InvalidConfiguration, Problem
from gateway.files.nodes import Mapping, Node, Place, Reported, Scalar, Sequence

MAX_DEPTH = 32

# These are refused: control characters, tabs (libyaml and PyYAML's own scanner differ on them), line breaks that only
# some YAML versions know, and marks that make a reviewer see another text than the one loaded.
_UNSEEN = re.compile(
    r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufffe\uffff]|\r(?!\n)"
)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read yet; a mapping's children are its keys and values in turn."""

    place: Place
    is_mapping: bool
    children: list[Node] = field(default_factory=list)


def compose(file: str, text: str) -> tuple[Node, list[Problem]]:
    """Return the one document of a file and the problems of its form.

    Raises:
        InvalidConfiguration: nothing after the problem can be trusted (syntax, hidden characters, depth).
    """
    _refuse_unseen(file, text)
    reader = _Reader(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if not reader.take(event):
                break
    except yaml.YAMLError as exc:
        raise InvalidConfiguration([_syntax_problem(file, exc)]) from exc
    except (ValueError, OverflowError) as exc:  # the pure Python scanner converts escapes and versions unchecked
        raise InvalidConfiguration([Problem(file, 1, 1, "not YAML: a number or escape is out of range")]) from exc
    return reader.root or Reported(Place(file, 1, 1)), reader.finish()


class _Reader:
    """A builder of nodes from events; it does not recurse, so that depth costs nothing before it is refused."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Open] = []
        self._documents = 0
        self._problems: list[Problem] = []
        self.root: Node | None = None

    def take(self, event: yaml.Event) -> bool:
        """Take one event; return False if the rest of the file does not matter."""
        match event:
            case yaml.DocumentStartEvent():
                return self._start_document(event)
            case yaml.AliasEvent():
                self._refuse(event, "an alias is not allowed: write the value again")
            case yaml.ScalarEvent():
                self._take_scalar(event)
            case yaml.CollectionStartEvent():
                self._start_collection(event)
            case yaml.CollectionEndEvent():
                self._end_collection()
        return True

    def finish(self) -> list[Problem]:
        """Return all problems, including that of an empty file."""
        match self.root:
            case None if not self._problems:
                self._problems.append(Problem(self._file, 1, 1, "the file is empty"))
            case Scalar(text="", plain=True, place=place):
                self._problems.append(place.problem("the document is empty"))
        return self._problems

    def _start_document(self, event: yaml.DocumentStartEvent) -> bool:
        self._documents += 1
        if self._documents > 1:
            self._problems.append(self._place(event).problem("a second document: a file holds one"))
            return False
        if event.version or event.tags:
            self._problems.append(self._place(event).problem("a % directive is not allowed"))
        return True

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        if not self._refused_property(event):
            self._add(Scalar(self._place(event), event.value, plain=not event.style))

    def _start_collection(self, event: yaml.CollectionStartEvent) -> None:
        place = self._place(event)
        if len(self._open) >= MAX_DEPTH:
            raise InvalidConfiguration([place.problem(f"nested deeper than {MAX_DEPTH}")])
        self._report_property(event)
        self._open.append(_Open(place, isinstance(event, yaml.MappingStartEvent)))

    def _end_collection(self) -> None:
        closed = self._open.pop()
        if closed.is_mapping:
            self._add(Mapping(closed.place, tuple(self._members(closed.children))))
        else:
            self._add(Sequence(closed.place, tuple(closed.children)))

    def _members(self, children: list[Node]) -> Iterator[tuple[Scalar, Node]]:
        first: dict[str, Place] = {}
        for key, value in zip(children[::2], children[1::2], strict=True):
            fault = _key_fault(key, first)
            if fault:
                self._problems.append(key.place.problem(fault))
            elif isinstance(key, Scalar):
                first[key.text] = key.place
                yield key, value

    def _refused_property(self, event: yaml.ScalarEvent) -> bool:
        refused = self._report_property(event)
        if refused:
            self._add(Reported(self._place(event)))
        return refused

    def _report_property(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> bool:
        if event.anchor is not None:
            self._problems.append(self._place(event).problem("an anchor is not allowed"))
        if event.tag is not None:
            self._problems.append(self._place(event).problem("a tag is not allowed: types come from the field"))
        return event.anchor is not None or event.tag is not None

    def _refuse(self, event: yaml.Event, message: str) -> None:
        self._problems.append(self._place(event).problem(message))
        self._add(Reported(self._place(event)))

    def _add(self, node: Node) -> None:
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return Place(self._file, mark.line + 1, mark.column + 1) if mark else Place(self._file, 1, 1)


def _key_fault(key: Node, first: dict[str, Place]) -> str | None:
    match key:
        case Scalar(text="<<", plain=True):
            return "a merge key is not allowed: write the members again"
        case Scalar(text=text) if text in first:
            return f"duplicate key {key}: it stands in line {first[text].line} already"
        case Sequence() | Mapping():
            return f"a key is a single value, not {key.kind}"
        case _:
            return None


def _refuse_unseen(file: str, text: str) -> None:
    match = _UNSEEN.search(text)
    if match is None:
        return
    before = text[: match.start()]
    line, column = before.count("\n") + 1, match.start() - before.rfind("\n")
    message = f"the character U+{ord(match[0]):04X} is not allowed: a reader would not see it"
    if match[0] == "\t":
        message = "a tab is not allowed: use spaces"
    raise InvalidConfiguration([Problem(file, line, column, message)])


def _syntax_problem(file: str, exc: yaml.YAMLError) -> Problem:
    if not isinstance(exc, yaml.MarkedYAMLError):
        return Problem(file, 1, 1, "not YAML")
    mark = exc.problem_mark or exc.context_mark
    message = f"not YAML: {exc.problem or exc.context}"
    return Problem(file, mark.line + 1, mark.column + 1, message) if mark else Problem(file, 1, 1, message)
