"""The command `audit verify`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from gateway.audit.chain import MacKey, Members, is_hex, mac_holds
from gateway.audit.evidence.verify import ChainReport, Claim, Finding, claim_of, verify_listed
from gateway.audit.reader import lines_in
from gateway.audit.segment import load_mac_key
from gateway.cli.audit.reading import USAGE, Parser, UsageError, add_paths, entries
from gateway.cli.output import fault_in_words, printable
from gateway.core.errors import AuditFailure, counted

_WORST_FIRST = (Finding.TAMPERED, Finding.OPEN, Finding.TORN, Finding.INTACT)


def register(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("verify", help="0 intact, 1 tampered, 2 torn tail, 3 open intents, 64 usage")
    parser.add_argument("--mac-key", action="append", default=[], type=Path, metavar="FILE", help="also an older key")
    parser.add_argument("--checkpoint", action="append", default=[], type=Path, metavar="FILE", help="kept checkpoints")
    parser.set_defaults(run=run_verify)
    add_paths(parser)


def run_verify(arguments: argparse.Namespace) -> int:
    """Print a report on each chain; return the worst finding as the exit code, or 64 if there is nothing to read."""
    try:
        keys = [load_mac_key(path) for path in arguments.mac_key]
        checkpoints = checkpoints_of(arguments.checkpoint, keys)
        whole = any(path.is_dir() for path in arguments.paths)
        reports = verify_listed(lambda: entries(arguments.paths), keys=keys, checkpoints=checkpoints, whole=whole)
    except (AuditFailure, UsageError, OSError) as exc:
        print(f"audit verify: {fault_in_words(exc)}", file=sys.stderr)
        return USAGE
    for report in reports:
        print("\n".join(_report_lines(report, keyed=bool(keys))))
    findings = {report.finding for report in reports}
    worst = next((finding for finding in _WORST_FIRST if finding in findings), Finding.INTACT)
    print(f"{counted(len(reports), 'chain')}: {worst.name.lower()}")
    return worst.value


def checkpoints_of(paths: Sequence[Path], keys: Sequence[MacKey]) -> dict[str, list[Claim]]:
    """Return the claims in kept files of checkpoints, by chain. Raises: UsageError: one holds none."""
    claims: dict[str, list[Claim]] = {}
    for path in paths:
        found = _checkpoints_in(path, keys)
        if not found:
            raise UsageError(f"{path}: no checkpoint in it that holds")
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
