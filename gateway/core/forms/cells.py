"""Values as words of a line, as cells of CSV and as cells of a Markdown table, safe for what reads them; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import orjson

from gateway.core.forms.signs import is_seen

_PLAIN = re.compile(r"[^\s\"'=\\]+")
_FORMULA = re.compile(r"((?:^|;)[\s']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_SUSPECT = frozenset("=+-@'\uff1d\uff0b\uff0d\uff20")
_MARKUP = re.compile(r"[\\`*{}\[\]<>()#!|&~@$^]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=www)\.", re.IGNORECASE)


def word(value: object) -> str:
    """Return the value as one word, quoted as a shell reads it, so that no value can pass for a further member."""
    if not isinstance(value, str):
        # JSON has quotes of its own around everything that holds a space.
        return orjson.dumps(value).decode()
    if is_seen(value) and _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'


def words(members: Mapping[str, object]) -> str:
    """Return the members that have a value as `name=value`, with spaces between."""
    told = {name: value for name, value in members.items() if value not in (None, [], {})}
    return " ".join(f"{word(name)}={word(value)}" for name, value in told.items())


def _spelled(text: str) -> str:
    if is_seen(text):
        return text
    return "".join(sign if is_seen(sign) else sign.encode("unicode_escape").decode() for sign in text)


def csv_line(cells: Iterable[str]) -> str:
    """Return a line of CSV (RFC 4180) without its end, every cell in quotes, that no spreadsheet executes.

    An apostrophe stands before each of `= + - @` (and their full-width forms) that begins a cell, or stands behind a
    semicolon, where a spreadsheet may begin another cell. Characters that are not printable, tabs and line ends among
    them, are spelled out.
    """
    return ",".join('"' + _harmless(_spelled(cell)).replace('"', '""') + '"' for cell in cells)


def _harmless(cell: str) -> str:
    # Cells may be long, and few can be dangerous: the pattern need not be tried at each of their characters.
    if ";" in cell or cell[:1] in _SUSPECT or cell[:1].isspace():
        return _FORMULA.sub(r"\1'", cell)
    return cell


def markdown_line(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table whose cells are text: no cell can end, add or format anything, or be a link."""
    return "| " + " | ".join(_MARKUP.sub(r"\\\g<0>", _spelled(cell)) for cell in cells) + " |"
