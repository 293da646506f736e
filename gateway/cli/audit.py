"""The `audit` commands: `verify`, `show` and `stats` read the audit log; `retire` takes old chains out of it."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import orjson

from gateway.audit.chain import FIRST, LAST, MacKey, is_hex, mac_holds, parse_line
from gateway.audit.decisions.joined import Callers
from gateway.audit.events.catalogue import EVENTS
from gateway.audit.evidence import decisions
from gateway.audit.evidence.retire import Choice, Retirement
from gateway.audit.evidence.verify import ChainReport, Claim, Finding, claim_of, verify_listed
from gateway.audit.journal import AuditSettings
from gateway.audit.reader import lines_in, lines_of
from gateway.audit.segment import NotAFile, OsDisk, chains_in, load_mac_key
from gateway.authoring import history
from gateway.cli.output import fault_in_words, folded, lost, printable, printable_json
from gateway.config import load_config
from gateway.core.errors import AuditFailure, counted
from gateway.files.values import date_field

USAGE = 64
MOST_GUESSED = 64
"""The most characters of an unknown name that are compared with the known names."""

_WORST_FIRST = (Finding.TAMPERED, Finding.OPEN, Finding.TORN, Finding.INTACT)
_ENVELOPE = frozenset((*FIRST, *LAST))
_PLAIN = re.compile(r"[^\s\"'=\\]+")

Members = dict[str, object]


class _UsageError(Exception):
    """A command line that cannot be carried out; the text is for the person who typed it."""


class _Parser(argparse.ArgumentParser):
    # Exit code 2 means "torn tail" here, so a mistyped command exits with EX_USAGE of sysexits.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse like argparse, except that unknown arguments are an error of this command."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and exit with 64."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {printable(message)}\n")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands under `audit` and their options."""
    group = subparsers.add_parser("audit", help="verify, show or count the records of the audit log")
    commands = group.add_subparsers(dest="audit_command", required=True, metavar="COMMAND", parser_class=_Parser)
    parser = commands.add_parser("verify", help="0 intact, 1 tampered, 2 torn tail, 3 open intents, 64 usage")
    parser.add_argument("--mac-key", action="append", default=[], type=Path, metavar="FILE", help="also an older key")
    parser.add_argument("--checkpoint", action="append", default=[], type=Path, metavar="FILE", help="kept checkpoints")
    parser.set_defaults(run=run_verify)
    _add_paths(parser)
    parser = commands.add_parser("retire", help="take old chains out of the directory, on record")
    parser.add_argument("--before", type=_day, metavar="DATE", help="chains that ended before this day, UTC")
    parser.add_argument("--chain", action="append", default=[], metavar="NAME", help="this chain")
    parser.add_argument("--to", type=Path, metavar="DIRECTORY", help="move the files there instead of deleting them")
    parser.add_argument("--mac-key", action="append", default=[], type=Path, metavar="FILE", help="then older keys")
    parser.add_argument("--checkpoint", action="append", default=[], type=Path, metavar="FILE", help="kept checkpoints")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the gateway's, which names the key")
    parser.add_argument("path", type=Path, metavar="PATH", help="an audit directory")
    parser.set_defaults(run=run_retire)
    parser = commands.add_parser("show", help="print records, one a line")
    parser.add_argument("--event", help="only this event, like denied or outcome")
    parser.add_argument("--principal", help="only this <team>/<key id>, and what came of its decisions")
    parser.add_argument("--decision", metavar="ID", help="only this decision")
    parser.add_argument("--json", action="store_true", help="the lines as they stand in the file")
    parser.set_defaults(run=run_show, product=True)
    _add_paths(parser)
    parser = commands.add_parser("stats", help="count records by event, decisions by team, rule and outcome")
    parser.add_argument("--shadow", action="store_true", help="whom shadow rules would have refused or admitted")
    parser.set_defaults(run=run_stats, product=True)
    _add_paths(parser)


def _day(text: str) -> str:
    """Return a date as records write it. Raises: ArgumentTypeError if the text is not a date."""
    try:
        return date_field().parse(text).isoformat()
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{exc}; a day in UTC is written YYYY-MM-DD, like 2026-08-31") from exc


def _add_paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an audit directory, or files of it")


def run_verify(arguments: argparse.Namespace) -> int:
    """Print a report on each chain; return the worst finding as the exit code, or 64 if there is nothing to read."""
    try:
        keys = [load_mac_key(path) for path in arguments.mac_key]
        checkpoints = _checkpoints(arguments.checkpoint, keys)
        whole = any(path.is_dir() for path in arguments.paths)
        reports = verify_listed(lambda: _entries(arguments.paths), keys=keys, checkpoints=checkpoints, whole=whole)
    except (AuditFailure, _UsageError, OSError) as exc:
        print(f"audit verify: {fault_in_words(exc)}", file=sys.stderr)
        return USAGE
    for report in reports:
        print("\n".join(_report_lines(report, keyed=bool(keys))))
    findings = {report.finding for report in reports}
    worst = next((finding for finding in _WORST_FIRST if finding in findings), Finding.INTACT)
    print(f"{counted(len(reports), 'chain')}: {worst.name.lower()}")
    return worst.value


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise _UsageError(f"{path}: no such file or directory")
        members = sorted(path.iterdir()) if path.is_dir() else [path]
        segments = [member for files in chains_in(iter(members)).values() for _, member in files]
        if not segments and not path.is_dir():
            raise _UsageError(f"{path}: not a file of an audit log (<chain>.<number>.jsonl)")
        found += segments
    if not found:
        # An unmounted volume or a mistyped path is not an intact record.
        raise _UsageError(f"no chain of an audit log in {', '.join(map(str, paths))}")
    return list(dict.fromkeys(found))


def _entries(paths: Sequence[Path]) -> list[Path]:
    """Return the entries of the directories, and the given files.

    Raises: _UsageError if there is no chain among them.
    """
    _files(paths)
    entries = [entry for path in paths for entry in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return list(dict.fromkeys(entries))


def _checkpoints(paths: Sequence[Path], keys: Sequence[MacKey]) -> dict[str, list[Claim]]:
    claims: dict[str, list[Claim]] = {}
    for path in paths:
        found = _checkpoints_in(path, keys)
        if not found:
            raise _UsageError(f"{path}: no checkpoint in it that holds")
        for chain, claim in found:
            claims.setdefault(chain, []).append(claim)
    return claims


def _checkpoints_in(path: Path, keys: Sequence[MacKey]) -> list[tuple[str, Claim]]:
    # Other lines of the file are skipped: it may hold everything that the gateway ever printed.
    found = []
    with path.open("rb") as file:
        for number, raw in enumerate(lines_in(file), 1):
            members = _checkpoint(raw.strip(), keys)
            claim = claim_of(members, f"the checkpoint {path}:{number}")
            if claim and isinstance(chain := members.get("chain"), str):
                found.append((chain, claim))
    return found


def _checkpoint(raw: bytes, keys: Sequence[MacKey]) -> Members:
    try:
        members = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(members, dict) or members.get("event") != "checkpoint":
        return {}
    line, mac = orjson.dumps(members), members.get("mac")
    return members if not keys or (is_hex(mac) and mac_holds(line, str(mac), keys)) else {}


_TORN = "Nothing has to be done: the next start of a gateway on this directory sets it aside, in a .torn file."


def _report_lines(report: ChainReport, *, keyed: bool) -> Iterator[str]:
    yield f"chain {printable(report.chain)}: {report.finding.name.lower()}"
    if report.retired_by:
        yield f"  retired up to seq {report.head.seq}, as {report.retired_by} says"
        yield from _problem_lines(report)
        return
    yield from _extent_lines(report, keyed=keyed)
    if report.abandoned:
        yield f"  {counted(report.abandoned, 'line')} in suspect files given up and written again"
    for decision_id, where in report.open_intents.items():
        yield f"  open intent {printable(decision_id)} at {where}"
    if report.torn:
        where = printable(f"{report.torn.path}:{report.torn.line}")
        yield f"  {where}: an unfinished last line, as a crash leaves it. {_TORN}"
    if report.waiting:
        yield f"  the chain {report.successor}, which goes on for it, has no record yet"
    yield from _problem_lines(report)
    if report.elsewhere:
        yield "  what `audit retire --to` moved is verified together with the directory that it was in: name both"


def _extent_lines(report: ChainReport, *, keyed: bool) -> Iterator[str]:
    if report.head.digest is None:
        yield "  no record of it is here"
        return
    yield f"  records {report.records}, seq {report.first_seq or 0} to {report.head.seq}, head {report.head.digest}"
    if not report.keyed:
        yield "  chain: sha256 (anyone who can write the directory can rewrite it)"
    elif not keyed:
        yield f"  chain: hmac-sha256, {counted(report.keyed, 'record')}; not checked, no --mac-key given"
    else:
        yield f"  chain: hmac-sha256, {counted(report.keyed, 'record')}"


def _problem_lines(report: ChainReport) -> Iterator[str]:
    for problem in report.problems:
        yield f"  TAMPERED {printable(problem)}"
    if report.more_problems:
        yield f"  and {report.more_problems} more"


def run_retire(arguments: argparse.Namespace) -> int:
    """Retire chains and return 0; return 64 if the command line is wrong or a file cannot be read.

    Return 1 if a named chain has to stay, if anything was tampered with, or if nothing can be recorded.
    """
    try:
        retirement = _retirement(arguments)
    except (AuditFailure, _UsageError, OSError) as exc:
        print(f"audit retire: {fault_in_words(exc)}", file=sys.stderr)
        return USAGE
    done = retirement.run(Choice(frozenset(arguments.chain), arguments.before))
    if done.refused:
        print("audit retire: nothing is retired before this is settled, see audit verify", file=sys.stderr)
    for chain, why in done.kept.items():
        print(f"kept    {printable(chain)}: {why}")
    for chain in done.gone:
        print(f"retired {chain}")
    print(f"{counted(len(done.gone), 'chain')} retired" + (f", on record in {done.record}" if done.record else ""))
    return 1 if done.refused or done.kept.keys() & set(arguments.chain) else 0


def _retirement(arguments: argparse.Namespace) -> Retirement:
    for directory in filter(None, (arguments.path, arguments.to)):
        if not directory.is_dir():
            raise _UsageError(f"{directory}: no directory")
    if arguments.before is None and not arguments.chain:
        raise _UsageError("say which: --before DATE, or --chain NAME")
    configured = load_config(arguments.config).audit.mac_key if arguments.config is not None else None
    keys = [load_mac_key(path) for path in [*([configured] if configured else []), *arguments.mac_key]]
    settings = AuditSettings(arguments.path, mac_key=keys[0] if keys else None)
    checkpoints = _checkpoints(arguments.checkpoint, keys)
    return Retirement(settings, keys, arguments.to, OsDisk(), time.time_ns, checkpoints)


def run_show(arguments: argparse.Namespace) -> int:
    """Print the records that match, safe for any terminal.

    Return 1 if some lines are not records, 64 if there is nothing to read or no such event.
    """
    wanted = {"event": arguments.event, "decision_id": arguments.decision}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    callers = Callers(arguments.principal) if arguments.principal is not None else None
    numbers = {"seen": 0, "shown": 0}

    def show(members: Members, raw: bytes) -> None:
        """Print one record if it is asked for."""
        theirs = callers is None or callers.are(members)
        numbers["seen"] += 1
        if theirs and all(members.get(name) == value for name, value in wanted.items()):
            numbers["shown"] += 1
            print(json_line(raw) if arguments.json else folded(human_line(members)))

    unread = _read("show", arguments.paths, show)
    if unread is None:
        return USAGE
    if not numbers["shown"] and (wanted or callers):
        return _said(unread) or _matched_none(arguments, numbers["seen"])
    return _said(unread)


def _matched_none(arguments: argparse.Namespace, seen: int) -> int:
    """Say that the filters match nothing; return the exit code, which is 64 if there is no such event."""
    filters = {"--event": arguments.event, "--principal": arguments.principal, "--decision": arguments.decision}
    asked = " ".join(f"{option} {shlex.quote(value)}" for option, value in filters.items() if value is not None)
    print(f"audit show: none of {counted(seen, 'record')} matches {printable(asked)}", file=sys.stderr)
    names = [event.NAME for event in EVENTS]
    if arguments.event is None or arguments.event in names:
        return 0
    # A later version may have other events: their records would have been found and shown.
    close = difflib.get_close_matches(arguments.event[:MOST_GUESSED], names, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    print(f"audit show: there is no event of this name{guess}; events are: {', '.join(names)}", file=sys.stderr)
    return USAGE


def _read(command: str, paths: Sequence[Path], take: Callable[[Members, bytes], None]) -> int | None:
    """Pass every record and its line to `take`. Return how many lines are not records; None if nothing can be read."""
    unread = 0
    try:
        for members, raw in _records(paths):
            if members is None:
                unread += 1
            else:
                take(members, raw)
            if lost():
                break
    except (_UsageError, OSError) as exc:
        print(f"audit {command}: {fault_in_words(exc)}", file=sys.stderr)
        return None
    return unread


def _said(unread: int) -> int:
    if unread:
        print(f"{counted(unread, 'line is no record', 'lines are no records')}; see audit verify", file=sys.stderr)
    return 1 if unread else 0


def _records(paths: Sequence[Path]) -> Iterator[tuple[Members | None, bytes]]:
    # Each chain is read in its own order, whatever the order of the files: later records continue earlier ones.
    for files in chains_in(iter(_files(paths))).values():
        for _, path in files:
            yield from _records_in(path)


def _records_in(path: Path) -> Iterator[tuple[Members | None, bytes]]:
    try:
        for line in lines_of(path):
            raw = line.removesuffix(b"\n")
            members = parse_line(raw)
            yield (None if isinstance(members, str) else members), raw
    except (FileNotFoundError, NotAFile):
        yield None, b""  # retired meanwhile, or put there by somebody: nobody can tell what it held


def human_line(members: Members) -> str:
    """Return time, event and the members that have a value, in one line of shell words without control characters."""
    told = {name: value for name, value in members.items() if name not in _ENVELOPE and value not in (None, [], {})}
    words = [f"{_word(name)}={_word(value)}" for name, value in told.items()]
    return printable(f"{members['ts']} {members['seq']:>6} {_word(members['event']):<9} {' '.join(words)}")


def _word(value: object) -> str:
    """Return the value as one word, quoted as a shell reads it, so that no value can pass for a further member."""
    if not isinstance(value, str):
        # JSON has quotes of its own around everything that holds a space.
        return orjson.dumps(value).decode()
    if value.isprintable() and _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'


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
    unread = _read("stats", arguments.paths, lambda members, _: stats.add(members))
    if unread is None:
        return USAGE
    print("\n".join(folded(printable(line)) for line in decisions.lines(stats)))
    print(f"cancelled runs: {stats.cancelled}; lines that are no records: {unread}")
    return 1 if unread else 0


def _run_shadow(arguments: argparse.Namespace) -> int:
    stats = history.ShadowStats()
    unread = _read("stats", arguments.paths, lambda members, _: stats.add(members))
    if unread is None:
        return USAGE
    print("\n".join(folded(printable(line)) for line in history.lines(stats)))
    return _said(unread)
