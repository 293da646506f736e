"""`python docs/tables.py`: writes the tables of record.md anew, from the declarations of the events."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gateway.audit.events.catalogue import EVENTS, Envelope
from gateway.audit.events.declare import Event
from gateway.audit.events.shapes import Member, Schema, members_of, sentence

PAGE = Path(__file__).with_name("record.md")
BLOCK = re.compile(r"(<!-- made by `make tables`: (\w+) -->\n)(?:(?!<!--).*\n)*(<!-- end -->\n)")

_PLAIN = {"string": "text", "integer": "number", "boolean": "true or false", "object": "object"}


def written(text: str) -> str:
    """Return the page with its tables as they are to be."""
    tables = {"events": _events(), "members": _members(EVENTS), "envelope": _members([Envelope])}
    return BLOCK.sub(lambda block: f"{block[1]}{_table(tables[block[2]])}{block[3]}", text)


def _table(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *body))


def _events() -> list[list[str]]:
    rows = [["event", "what it records", "members in every record", "in some"]]
    for event in EVENTS:
        members = members_of(event)
        always, some = ([one.name for one in members if one.always is had] for had in (True, False))
        rows.append([f"`{event.NAME}`", sentence(event), _listed(always), _listed(some)])
    return rows


def _listed(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _members(events: Iterable[type[Event]]) -> list[list[str]]:
    """Return a row for each meaning of a member; `of` names the events if another event means something else by it."""
    meanings: dict[str, dict[tuple[str, str], list[str]]] = {}
    for event in events:
        for one in members_of(event):
            meanings.setdefault(one.name, {}).setdefault(_meaning(one), []).append(event.NAME)
    rows = [["member", "of", "value", "meaning"]]
    for name, found in meanings.items():
        for (value, words), of in found.items():
            rows.append([f"`{name}`", _listed(of) if len(found) > 1 else "", value, words])
    return rows


def _meaning(member: Member) -> tuple[str, str]:
    return _value(member.value).replace("|", "\\|"), str(member.value["description"]).replace("|", "\\|")


def _value(schema: Schema) -> str:
    """Return what values a schema admits, in words."""
    if "const" in schema:
        return f"`{schema['const']}`" if schema["const"] != {} else "`{}`"
    if isinstance(words := schema.get("enum"), list):
        return ", ".join(f"`{word}`" for word in words)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kind = _list(schema) if kinds[0] == "array" else _PLAIN[str(kinds[0])]
    if isinstance(properties := schema.get("properties"), Mapping):
        kind += f" with {_listed(properties)}"
    return f"{kind}, null" if "null" in kinds else kind


def _list(schema: Schema) -> str:
    items = schema.get("items")
    return f"list of {_value(items)}" if isinstance(items, dict) else "list"


if __name__ == "__main__":
    text = PAGE.read_text()
    if written(text) != text:
        PAGE.write_text(written(text))
        sys.stdout.write(f"{PAGE}\n")
