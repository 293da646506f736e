"""What somebody says of a plan, from the command line: it is shown first, and what is sent names exactly its runs."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal
from urllib.parse import quote

from gateway.cli.cancel.answers import Lost, Refusal
from gateway.cli.cancel.command import USAGE, add_connection, gateway_of
from gateway.cli.cancel.flow import KEY, URL
from gateway.cli.output import FAILED, folded, printable
from gateway.core import grammar
from gateway.core.forms.shown import PLAN_ID, SAMPLE, Members
from gateway.operations.words import words_of
from gateway.process import forbid_core_dumps

Word = Literal["approve", "reject"]

_NOBODY = "qstash-gateway: no terminal to ask on: say --yes to {word} without a question"
_DONE = {"approve": "Approved", "reject": "Rejected"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], word: Word) -> None:
    """Add the command that says this word."""
    which = "lets its requester cancel them" if word == "approve" else "ends the plan, and tells its requester why"
    parser = subparsers.add_parser(
        word,
        help=f"{word} a cancel that waits for your team",
        description=f"Shows the runs of a plan, asks, and {which}; through the gateway at ${URL} (https://HOST or "
        f"unix:PATH), with the key in ${KEY}.",
    )
    parser.add_argument("plan", type=_plan_id, metavar="PLAN", help="the plan, as `approvals` names it")
    parser.add_argument("--reason", type=_reason, metavar="TEXT", help="why, for the requester and the record")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_connection(parser)
    parser.set_defaults(run=partial(run, word))


def run(word: Word, arguments: argparse.Namespace) -> int:
    """Say it. Return 0 if it counts, 1 if not, or if nobody knows, 2 if nobody can be asked."""
    forbid_core_dumps()
    if not arguments.yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(_NOBODY.format(word=word), file=sys.stderr)
        return USAGE
    gateway = gateway_of(arguments)
    if gateway is None:
        return USAGE
    found = asyncio.run(gateway.waiting(arguments.plan))
    if isinstance(found, Refusal | Lost):
        return _refused(found)
    _say([*about(found), *_runs(found.get("listed"))])
    if not arguments.yes and not _agreed(word, found):
        _say(["Nothing was said."])
        return FAILED
    body: dict[str, object] = {"digest": found.get("digest"), "decision": word}
    if arguments.reason is not None:
        body["reason"] = arguments.reason
    told = asyncio.run(gateway.say(arguments.plan, body))
    if isinstance(told, Refusal | Lost):
        return _refused(told)
    _say([f"{_DONE[word]}. {_what_next(word, told)}"])
    return 0


def about(plan: Members) -> Iterator[str]:
    """Yield what a plan would do, who wants it and why, and what was said of it so far."""
    words, number = words_of(plan.get("action")), plan.get("runs")
    things = words.number(number) if isinstance(number, int) else words.things
    yield f"{plan.get('principal')} wants to {words.verb} {things}, by rule {plan.get('rule')}"
    if isinstance(reason := plan.get("reason"), str):
        yield f"why: {reason}"
    if isinstance(asked := plan.get("request"), dict):
        yield f"asked: {'&'.join(_pairs(asked))}"
    match plan.get("approvals"):
        case {"needed": int(needed), "by": list(by), "given": list(given), "until": str(until)}:
            names = [str(one.get("principal")) for one in given if isinstance(one, dict)]
            so_far = f", approved by {', '.join(names)}" if names else ""
            yield f"waits until {until} for {needed} of {' or '.join(map(str, by))}{so_far}"


def _pairs(asked: Members) -> Iterator[str]:
    for name, value in asked.items():
        for one in value if isinstance(value, list) else [value]:
            text = str(one).lower() if isinstance(one, bool) else str(one)  # as a request line says it
            yield f"{name}={quote(text, safe=':/')}"


def _runs(listed: object) -> Iterator[str]:
    """Yield a line for each run, up to a number."""
    runs = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    for run in runs[:SAMPLE]:
        name = run.get("dlqId") or run.get("messageId") or run.get("workflowRunId")
        yield f"  {name}  {run.get('created')}  {run.get('workflowUrl', '')}"
    if len(runs) > SAMPLE:
        yield f"  and {len(runs) - SAMPLE} more: GET /gateway/v1/plans/PLAN has all of them (listed)"


def _agreed(word: Word, plan: Members) -> bool:
    """Return whether the person who is asked says yes; an end of the input says no."""
    words, number = words_of(plan.get("action")), plan.get("runs")
    things = words.number(number) if isinstance(number, int) else f"these {words.things}"
    try:
        return input(f"{word.capitalize()} the {words.act} of {things}? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def _what_next(word: Word, plan: Members) -> str:
    if word == "reject":
        return "Its requester is told by whom, and why."
    match plan.get("approvals"):
        case {"needed": int(needed), "given": list(given)} if len(given) < needed:
            return f"{len(given)} of {needed} have approved so far."
    if (words := words_of(plan.get("action"))) is not words_of(None):
        return f"They are {words.done} when their requester sends the same {words.act} again, until the time is up."
    return "Its requester cancels them with the same cancel again, once, until the time is up."


def _refused(found: Refusal | Lost) -> int:
    """Say why nothing was said, or that nobody knows; return the exit code."""
    if isinstance(found, Refusal):
        sentence = found.sentence
    else:
        said = "It may count, and may not" if found.sent else "Nothing was said"
        sentence = f"{said}: {found.why}. Saying it again is safe."
    print(folded(printable(sentence), sys.stderr), file=sys.stderr)
    return FAILED


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(folded(printable(line)))


def _plan_id(text: str) -> str:
    if not PLAN_ID.fullmatch(text):
        raise argparse.ArgumentTypeError("that is no ID of a plan, which is like 01a20940-29d0-75d0-b53c-60683b75722a")
    return text


def _reason(text: str) -> str:
    try:
        return grammar.reason(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
