"""The commands `audit show` and `audit stats`: records that answer a question, and how many there are of each kind."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping
from typing import get_args

import orjson

from gateway.audit.chain import FIRST, LAST, Members
from gateway.audit.decisions.joined import Owner, Owners
from gateway.audit.events.catalogue import EVENTS
from gateway.audit.events.values import OutcomeName
from gateway.audit.evidence import decisions
from gateway.authoring import history
from gateway.cli.audit.reading import USAGE, Parser, add_paths, add_span, in_span, read, said, typed
from gateway.cli.output import folded, printable, printable_json
from gateway.core.errors import counted
from gateway.core.forms.cells import csv_line, word, words

MOST_GUESSED = 64
"""The most characters of an unknown name that are compared with the known names."""

_ENVELOPE = frozenset((*FIRST, *LAST))
_FILTERS = ("event", "team", "principal", "rule", "outcome", "decision", "since", "until")
_OUTCOMES = get_args(get_args(OutcomeName)[0])
_COLUMNS = (
    "ts",
    "instance",
    "seq",
    "event",
    "decision_id",
    "team",
    "principal",
    "rule",
    "outcome",
    "cancelled",
    "reason",
)


def register(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the commands and their options."""
    parser = commands.add_parser("show", help="print records, one a line")
    parser.add_argument("--event", help="only this event, like denied or outcome")
    parser.add_argument("--team", help="only this team's, and what came of its decisions")
    parser.add_argument("--principal", help="only this <team>/<key id>, and what came of its decisions")
    parser.add_argument("--rule", metavar="FILE/ID", help="only what this rule decided, and what came of it")
    parser.add_argument("--outcome", choices=_OUTCOMES, help="only outcomes of this kind")
    parser.add_argument("--decision", metavar="ID", help="only this decision")
    add_span(parser, "records")
    parser.add_argument("--limit", type=_number, metavar="N", help="at most the first N of these")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--format", choices=("text", "json", "csv"), default="text", help="text by default")
    form.add_argument("--json", action="store_true", help="the lines as they stand in the file")
    parser.set_defaults(run=run_show, product=True)
    add_paths(parser)
    parser = commands.add_parser("stats", help="count records by event, decisions by team, rule and outcome")
    parser.add_argument("--shadow", action="store_true", help="whom shadow rules would have refused or admitted")
    parser.set_defaults(run=run_stats, product=True)
    add_paths(parser)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) == 0:
        raise argparse.ArgumentTypeError("expected a whole number above 0")
    return int(text)


def run_show(arguments: argparse.Namespace) -> int:
    """Print the records that match, safe for any terminal.

    Return 1 if some lines are not records, 64 if there is nothing to read or no such event.
    """
    owners = Owners()
    numbers = {"seen": 0, "shown": 0}

    def show(members: Members, raw: bytes) -> bool:
        """Print one record if it is asked for; return whether that are enough."""
        numbers["seen"] += 1
        owner = owners.of(members)
        if _is_wanted(arguments, members, owner):
            if arguments.format == "csv" and not numbers["shown"]:
                print(csv_line((*_COLUMNS, "more")))
            numbers["shown"] += 1
            print(_shown(arguments, members, owner, raw))
        return bool(numbers["shown"] == arguments.limit)

    unread = read("show", arguments.paths, show)
    if unread is None:
        return USAGE
    if not numbers["shown"] and typed(arguments, *_FILTERS):
        return said(unread) or _matched_none(arguments, numbers["seen"])
    return said(unread)


def _is_wanted(arguments: argparse.Namespace, members: Members, owner: Owner) -> bool:
    if arguments.outcome is not None and members["event"] != "outcome":
        return False
    pairs = (
        (arguments.event, members["event"]),
        (arguments.decision, members.get("decision_id")),
        (arguments.team, owner.team),
        (arguments.principal, owner.principal),
        (arguments.rule, owner.rule),
        (arguments.outcome, members.get("outcome")),
    )
    return all(asked is None or asked == value for asked, value in pairs) and in_span(arguments, members["ts"])


def _shown(arguments: argparse.Namespace, members: Members, owner: Owner, raw: bytes) -> str:
    if arguments.json:
        return json_line(raw)
    if arguments.format == "text":
        return folded(human_line(members))
    joined = {**members, **{name: value for name, value in owner._asdict().items() if value is not None}}
    if arguments.format == "json":
        return json_line(orjson.dumps(joined))
    more = {name: value for name, value in joined.items() if name not in _COLUMNS}
    return csv_line((*(_cell(joined.get(name)) for name in _COLUMNS), _cell(more)))


def _cell(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()


def _matched_none(arguments: argparse.Namespace, seen: int) -> int:
    """Say that the filters match nothing; return the exit code, which is 64 if there is no such event."""
    asked = typed(arguments, *_FILTERS)
    print(f"audit show: none of {counted(seen, 'record')} matches {printable(asked)}", file=sys.stderr)
    names = [event.NAME for event in EVENTS]
    if arguments.event is None or arguments.event in names:
        return 0
    # A later version may have other events: their records would have been found and shown.
    close = difflib.get_close_matches(arguments.event[:MOST_GUESSED], names, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    print(f"audit show: there is no event of this name{guess}; events are: {', '.join(names)}", file=sys.stderr)
    return USAGE


def human_line(members: Mapping[str, object]) -> str:
    """Return time, event and the members that have a value, in one line of shell words without control characters."""
    told = words({name: value for name, value in members.items() if name not in _ENVELOPE})
    return printable(f"{members['ts']} {members['seq']:>6} {word(members['event']):<9} {told}")


def json_line(raw: bytes) -> str:
    """Return a record's line with unprintable characters as JSON escapes, so that it stays the same record."""
    return printable_json(raw.decode())


def run_stats(arguments: argparse.Namespace) -> int:
    """Count records by event, and decisions by team, rule and outcome.

    Return 1 if some lines are not records, 64 if there is nothing to read.
    """
    if arguments.shadow:
        return _run_shadow(arguments)
    stats = decisions.DecisionStats()
    unread = read("stats", arguments.paths, lambda members, _: stats.add(members))
    if unread is None:
        return USAGE
    print("\n".join(folded(printable(line)) for line in decisions.lines(stats)))
    print(f"cancelled runs: {stats.cancelled}; lines that are no records: {unread}")
    return 1 if unread else 0


def _run_shadow(arguments: argparse.Namespace) -> int:
    stats = history.ShadowStats()
    unread = read("stats", arguments.paths, lambda members, _: stats.add(members))
    if unread is None:
        return USAGE
    print("\n".join(folded(printable(line)) for line in history.lines(stats)))
    return said(unread)
