"""The command `audit report`: one line a decision, for whoever has to answer for it."""

from __future__ import annotations

import argparse
import heapq
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from gateway.audit.chain import Members
from gateway.audit.decisions.joined import RecordedDecision
from gateway.audit.evidence.joins import Joins
from gateway.cli.audit.reading import USAGE, Parser, add_paths, add_span, in_span, read, said, typed
from gateway.cli.output import printable, printable_json
from gateway.core.errors import counted
from gateway.core.forms.cells import csv_line, markdown_line, words
from gateway.operations.words import words_of

SORTED_CHARS = 16 * 1024 * 1024
"""How much of the report is held to be sorted by time. Decisions end in another order than they begin."""

MOST_OF_A_CELL = 120
"""The most characters of a cell in a table for people."""

COLUMNS = ("when", "team", "who", "why", "rule", "asked", "sent", "cancelled", "state", "policy", "decision", "action")


def register(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("report", help="one line a decision: when, who, why, and what came of it")
    parser.add_argument("--team", help="only this team's")
    add_span(parser, "decisions")
    parser.add_argument("--format", choices=tuple(FORMATS), default="md", help="md by default")
    parser.set_defaults(run=run_report, product=True)
    add_paths(parser)


def run_report(arguments: argparse.Namespace) -> int:
    """Print the decisions that match, the oldest first.

    Return 1 if some lines are not records, 64 if there is nothing to read.
    """

    def wanted(members: Members | Mapping[str, object]) -> bool:
        """Return whether the decision that begins with this record is asked for."""
        return arguments.team in (None, members.get("team")) and in_span(arguments, members["ts"])

    form = FORMATS[arguments.format]
    joins, report = Joins(wanted), Report(form)

    def take(members: Members, raw: bytes) -> None:
        """Add what one record completes."""
        report.add(joins.take(members, raw))

    unread = read("report", arguments.paths, take)
    if unread is None:
        return USAGE
    report.add(joins.rest())
    report.end()
    if not report.decisions:
        asked = printable(typed(arguments, "team", "since", "until"))
        print(f"audit report: no decision on record{' matches ' * bool(asked)}{asked}", file=sys.stderr)
    if joins.strays:
        strays = counted(joins.strays, "record continues", "records continue")
        print(f"{strays} a decision that began elsewhere, or too long ago to be joined", file=sys.stderr)
    return said(unread)


def row(decision: RecordedDecision) -> dict[str, str]:
    """Return the cells of a decision, by the names of the columns."""
    shown = decision.members()
    begun = decision.begun or {}
    cancelled = shown["cancelled"]
    return {
        "when": str(shown["at"]),
        "team": _text(shown["team"]),
        "who": _text(shown["principal"]),
        "why": _text(shown["reason"]),
        "rule": _text(shown["rule"]),
        "asked": _query(shown["request"]),
        "sent": _sent(shown["orders"], begun),
        "cancelled": "not known" if cancelled is None else str(cancelled),
        "state": _text(shown["state"]),
        "policy": _text(shown["policy_digest"]),
        "decision": decision.decision_id,
        "action": _text(shown["action"]),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _query(request: object) -> str:
    return words(request) if isinstance(request, dict) else ""


def _sent(orders: object, begun: Mapping[str, object]) -> str:
    """Return what was sent, and how many of its orders; nothing if none was.

    The runs of a filter that were looked up were sent by their IDs, which are too many for a cell.
    """
    if not isinstance(orders, dict) or not orders["sent"]:
        return "nothing"
    thing = words_of(begun.get("action")).thing
    by_ids = f" by {thing} IDs" * (begun.get("digest") is not None)
    return f"{orders['sent']} of {counted(orders['planned'], 'order')}{by_ids}: {_query(begun.get('effective'))}"


def _as_csv(decision: RecordedDecision) -> str:
    return csv_line(row(decision).values())


def _as_markdown(decision: RecordedDecision) -> str:
    cells = row(decision)
    # Enough of a digest for `audit policy`, which takes its beginning.
    cells["policy"] = cells["policy"][:12]
    return markdown_line(
        cell if len(cell) <= MOST_OF_A_CELL else cell[: MOST_OF_A_CELL - 1] + "…" for cell in cells.values()
    )


def _as_json(decision: RecordedDecision) -> str:
    return printable_json(orjson.dumps(decision.members()).decode())


@dataclass(frozen=True, slots=True)
class _Format:
    """How a report is written: the lines before and after the decisions, a decision, and what separates two of them."""

    line: Callable[[RecordedDecision], str]
    first: str = ""
    between: str = "\n"
    last: str = "\n"


FORMATS = {
    "md": _Format(_as_markdown, f"{markdown_line(COLUMNS)}\n|{' --- |' * len(COLUMNS)}\n"),
    "csv": _Format(_as_csv, f"{csv_line(COLUMNS)}\n"),
    "json": _Format(_as_json, '{"decisions": [', ",\n", "]}\n"),
}


@dataclass(slots=True)
class Report:
    """A report that is printed while the record is read, sorted by time as far as memory is given to it."""

    form: _Format
    most_chars: int = SORTED_CHARS
    decisions: int = 0
    _waiting: list[tuple[str, int, str]] = field(default_factory=list)
    _chars: int = 0
    _printed: int = 0

    def add(self, decisions: Iterable[RecordedDecision]) -> None:
        """Add decisions in any order."""
        for decision in decisions:
            line = self.form.line(decision)
            self.decisions += 1
            self._chars += len(line)
            heapq.heappush(self._waiting, (str((decision.begun or {}).get("ts")), self.decisions, line))
            while self._chars > self.most_chars:
                self._print()

    def end(self) -> None:
        """Print all that is left."""
        while self._waiting:
            self._print()
        if not self._printed:
            print(self.form.first, end="")
        if self._printed or self.form.last != "\n":
            print(self.form.last, end="")

    def _print(self) -> None:
        _, _, line = heapq.heappop(self._waiting)
        self._chars -= len(line)
        print(self.form.between if self._printed else self.form.first, line, sep="", end="")
        self._printed += 1
