"""The `replay` command, which shows what a candidate policy directory would have decided on recorded requests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson

from gateway.authoring.history import Change, Replay, replay
from gateway.cli.audit.reading import UsageError, lines_in
from gateway.cli.output import fault_in_words, printable, printable_json
from gateway.core.errors import counted
from gateway.core.request import CANCEL_RUNS
from gateway.policy.format.load import load_policies
from gateway.policy.nearest import in_words

OK, FAILED, USAGE = 0, 1, 2
FAIL_ON = (Change.PERMIT_TO_DENY, Change.DENY_TO_PERMIT, "any")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("replay", help="judge the requests on record by a candidate policy directory")
    parser.add_argument("--policies", type=Path, required=True, metavar="NEW", help="the candidate directory")
    parser.add_argument("--fail-on", choices=FAIL_ON, default=FAIL_ON[0], help="which change makes the exit code 1")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("paths", nargs="+", type=Path, metavar="AUDIT", help="an audit directory, or files of it")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the changes and return 0; return 2 if there are no records to read.

    Return 1 if a decision would change as `--fail-on` says, or if a line on record could not be judged again.
    """
    policies = load_policies(arguments.policies)
    try:
        result = replay(policies, ((f"{line.path}:{line.number}", line.members) for line in lines_in(arguments.paths)))
    except UsageError as exc:
        print(f"replay: {fault_in_words(exc)}", file=sys.stderr)
        return USAGE
    if arguments.json:
        print(printable_json(orjson.dumps(_members(result, policies.digest), option=orjson.OPT_INDENT_2).decode()))
    else:
        print("\n".join(_lines(result)))
    failing = result.totals.total() if arguments.fail_on == "any" else result.totals[Change(arguments.fail_on)]
    return FAILED if failing or result.unread else OK


def _lines(result: Replay) -> Iterator[str]:
    for group, times in result.changes.most_common():
        example = result.examples[group]
        before, after = group.rule_before or "default", group.rule_after or "default"
        about = "" if group.action is CANCEL_RUNS else f"  {group.action}"
        yield printable(f"{group.change}  {group.team}{about}  {before} -> {after}  {counted(times, 'time')}")
        yield printable(f"  such as {example.decision_id}: {in_words(example.asked)}")
        if example.reason is not None:
            yield printable(f"  {example.reason}")
        elif example.effective_after is not None:
            yield printable(f"  would be sent: {in_words(example.effective_after)}")
    if result.more_changes:
        yield f"and {counted(result.more_changes, 'change')} of further teams and rules"
    for why, times in result.unread.most_common():
        yield printable(f"{counted(times, 'line')} could not be judged again ({why}), first {result.unread_at[why]}")
    changed = ", ".join(f"{change} {result.totals[change]}" for change in Change)
    yield f"{counted(result.judged, 'decision')} judged again: {changed}; not judged: {result.unread.total()}"


def _members(result: Replay, policy_digest: str) -> dict[str, object]:
    return {
        "judged": result.judged,
        "totals": {change.value: result.totals[change] for change in Change},
        "changes": [
            {**asdict(group), "times": times, "example": asdict(result.examples[group])}
            for group, times in result.changes.most_common()
        ],
        "more_changes": result.more_changes,
        "not_judged": [
            {"why": why, "times": times, "first": result.unread_at[why]} for why, times in result.unread.most_common()
        ],
        "policy_digest": policy_digest,
    }
