"""The `decisions` command: what became of the requests of one's team, from the gateway's record."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import quote

from gateway.cli.cancel.answers import Lost, Refusal, ShownDecision
from gateway.cli.cancel.client import Gateway
from gateway.cli.cancel.command import USAGE, add_connection, gateway_of
from gateway.cli.cancel.flow import KEY, URL
from gateway.cli.output import FAILED, folded, printable, printable_json
from gateway.core.forms.shown import PLAN_ID, Members
from gateway.operations.words import words_of
from gateway.process import forbid_core_dumps

LIMIT, MOST = 20, 100

_STATES = {
    "denied": "refused by policy, nothing was sent",
    "in_flight": "under way, not known yet what comes of it",
    "accepted": "QStash works on it in the background, not known yet how many {things}",
    "refused": "QStash refused it, nothing was {done}",
    "not_sent": "nothing was sent",
    "unknown": "not known what came of it",
}

_WORDS = {
    "at": "when",
    "principal": "who",
    "team": "team",
    "action": "action",
    "request": "asked",
    "reason": "why",
    "decision": "judgement",
    "rule": "rule",
    "orders": "orders",
    "upstream_status": "QStash",
    "over_cancelled": "too many",
    "settled": "settled",
    "policy_digest": "policies",
}
"""The word before each member, in the order in which they are shown; the state comes last."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "decisions",
        help="show what became of your team's requests",
        description=f"Asks the gateway at ${URL} (https://HOST or unix:PATH), with the key in ${KEY}.",
    )
    parser.add_argument(
        "decision", nargs="?", type=_decision_id, metavar="ID", help="one decision, with all its members"
    )
    parser.add_argument("--limit", type=_limit, default=LIMIT, metavar="N", help=f"how many (default: {LIMIT})")
    parser.add_argument("--json", action="store_true", help="one JSON object, as the gateway answers it")
    add_connection(parser)
    parser.set_defaults(run=run, product=True)


def run(arguments: argparse.Namespace) -> int:
    """Show decisions. Return 0 if they were shown, 1 if the gateway shows none, 2 if it cannot be asked."""
    forbid_core_dumps()
    gateway = gateway_of(arguments)
    if gateway is None:
        return USAGE
    try:
        found = asyncio.run(_found(gateway, arguments.decision, arguments.limit))
    except KeyboardInterrupt:
        return FAILED
    if isinstance(found, Refusal | Lost):
        why = found.sentence if isinstance(found, Refusal) else f"No decisions: {found.why}."
        print(folded(printable(why), sys.stderr), file=sys.stderr)
        return FAILED
    if arguments.json:
        shown = found.members if isinstance(found, ShownDecision) else {"decisions": [one.members for one in found]}
        print(printable_json(json.dumps(shown, indent=2)))
        return 0
    lines = _whole(found) if isinstance(found, ShownDecision) else _table(found)
    for line in lines:
        print(folded(printable(line)))
    return 0


async def _found(
    gateway: Gateway, decision_id: str | None, limit: int
) -> ShownDecision | list[ShownDecision] | Refusal | Lost:
    return await (gateway.decisions(limit) if decision_id is None else gateway.decision(decision_id))


def _decision_id(text: str) -> str:
    if not PLAN_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "that is no ID of a decision, which is like 01a20940-2aab-7277-8e2b-a745c03af883"
        )
    return text


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST}")
    return int(text)


def _table(decisions: list[ShownDecision]) -> Iterator[str]:
    """Yield two lines for each decision: when, which and what came of it; then who, why and under which rule."""
    if not decisions:
        yield "No decisions of your team are known to this gateway."
    for one in decisions:
        yield f"{_second(one.members.get('at'))}  {one.decision_id}  {_short(one)}"
        who = [_text(one.members.get(name)) for name in ("principal", "rule", "reason")]
        yield f"  {'  '.join(word for word in who if word)}  {_asked(one.members.get('request'))}"


def _whole(decision: ShownDecision) -> Iterator[str]:
    """Yield every member of a decision in a line; those that this command does not know stand with their names."""
    members = decision.members
    width = max(len(word) for word in (*_WORDS.values(), "came of it"))
    line = partial("{:<{width}}  {}".format, width=width)
    yield line("decision", decision.decision_id)
    said = _said(members)
    for name, word in _WORDS.items():
        if members.get(name) is not None:
            yield line(word, said.get(name) or _text(members[name]))
    for name in sorted(members.keys() - _WORDS.keys() - {"decision_id", "state", "cancelled"}):
        yield line(name, _text(members[name]))
    yield line("came of it", _state(decision))


def _said(members: Members) -> dict[str, str]:
    """Return the members that are said otherwise than they are written."""
    words = words_of(members.get("action"))
    said = {"at": _second(members.get("at")), "request": _asked(members.get("request"))}
    match members.get("orders"):
        case {"planned": int(planned), "sent": int(sent)}:
            said["orders"] = f"{sent} of {planned} sent"
    if isinstance(members.get("upstream_status"), int):
        said["upstream_status"] = f"answered with status {members['upstream_status']}"
    if type(over := members.get("over_cancelled")) is int:
        said["over_cancelled"] = f"{words.number(over)} more than were sent" if over else "none"
    match members.get("settled"):
        case {"at": str(at), "source": str(source), "cancelled": cancelled}:
            known = f"{words.number(cancelled)} {words.done}" if type(cancelled) is int else "still not known"
            said["settled"] = f"{known}, looked up at {_second(at)} ({source})"
    return said


def _short(decision: ShownDecision) -> str:
    """Return the state in one or two words."""
    words = words_of(decision.members.get("action"))
    if not decision.cancelled:
        return decision.state
    return words.number(decision.cancelled) + f" {words.done}" * (words is not words_of(None))


def _state(decision: ShownDecision) -> str:
    words = words_of(decision.members.get("action"))
    if decision.cancelled and decision.certain:
        return f"{words.number(decision.cancelled)} {words.done}"
    if decision.state == "cancelled":
        return f"no {words.thing} was {words.done}"
    so_far = decision.members.get("cancelled")
    known = words.number(so_far) if type(so_far) is int and so_far else ""
    certain = f"; {known} {words.done} for certain so far" if known else ""
    state = _STATES.get(decision.state)
    return (decision.state if state is None else state.format(things=words.things, done=words.done)) + certain


def _asked(request: object) -> str:
    """Return a request on one line: a request line as it is, members as a query."""
    if not isinstance(request, Mapping):
        return _text(request)
    pairs = [(name, one) for name, value in request.items() for one in (value if isinstance(value, list) else [value])]
    return "&".join(f"{name}={quote(_text(one), safe=':/')}" for name, one in pairs if one is not None)


def _second(at: object) -> str:
    """Return a time to the second."""
    text = _text(at)
    return f"{text[:19]}Z" if text.endswith("Z") and len(text) > 19 else text


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
