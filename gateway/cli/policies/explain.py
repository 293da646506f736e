"""The `explain` command, which shows the decision on a request and every rule's part in it. It sends nothing."""

from __future__ import annotations

import argparse
import difflib
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import orjson

from gateway.authoring.explain import (
    Explanation,
    Part,
    approval_in_words,
    budget_in_words,
    explain,
    resolution_in_words,
)
from gateway.authoring.question import Question, from_line
from gateway.cli.output import printable, printable_json
from gateway.config import Config, load_config
from gateway.core.errors import Refusal
from gateway.core.forms.times import instant_ms
from gateway.core.plan import Denial, Permit
from gateway.core.request import CANCEL_RUNS, Action, Principal
from gateway.operations.table import OPERATIONS
from gateway.operations.words import WORDS
from gateway.policy.format.load import load_policies
from gateway.policy.nearest import in_words
from gateway.policy.rules import Policies
from gateway.policy.words.things import of_action

OK, FAILED = 0, 1
_MOST_CHARS = 64
SUBJECT = "explain"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("explain", help="why a request would be allowed or refused; nothing is sent")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    parser.add_argument("--team", required=True, metavar="T", help="whose request it is")
    parser.add_argument(
        "request", metavar="REQUEST", help="'DELETE /v2/workflows/runs?…', the call of any action, or only the query"
    )
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "--action", type=Action, choices=tuple(OPERATIONS), metavar="A", help="what a query alone asks for; cancel_runs"
    )
    parser.add_argument(
        "--header", action="append", default=[], type=_header, metavar="H", help="a header, like 'Upstash-Retries: 3'"
    )
    parser.add_argument("--body", default="", metavar="JSON", help="the body, for clients that send one")
    parser.add_argument("--reason", metavar="TEXT", help="the value of Gateway-Reason")
    parser.add_argument("--at", type=_at, metavar="TIME", help="when, like 2026-03-29T01:30:00+01:00; default: now")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=partial(run, parser), product=True)


def _at(text: str) -> int:
    try:
        return instant_ms(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (name and colon and value.strip()):
        raise argparse.ArgumentTypeError("a header as 'Name: value'")
    return name.strip(), value.strip()


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Print the explanation and return 0, whatever the decision. Return 1 if the gateway could not read the request."""
    if arguments.more:
        parser.error("one request: join the parts with & and quote it")
    config = load_config(arguments.config)
    policies = load_policies(config.policies)
    try:
        request = from_line(
            arguments.request,
            body=arguments.body.encode(),
            reason=arguments.reason,
            action=arguments.action,
            headers=arguments.header,
        )
    except (Refusal, ValueError) as exc:
        print(f"malformed: {printable(str(exc))}", file=sys.stderr)
        return FAILED
    now_ms = time.time_ns() // 1_000_000 if arguments.at is None else arguments.at
    question = Question(Principal(arguments.team, SUBJECT), request, now_ms)
    explanation = explain(policies, question)
    unknown = _unknown(arguments.team, config, policies)
    if arguments.json:
        members = explanation.members() | ({"unknown_team": unknown} if unknown is not None else {})
        print(printable_json(orjson.dumps(members, option=orjson.OPT_INDENT_2).decode()))
    else:
        print("\n".join(map(printable, [*([unknown] if unknown is not None else []), *lines(explanation)])))
    return OK


def _unknown(team: str, config: Config, policies: Policies) -> str | None:
    """Return a warning that nothing names the team, which may be a typing error; None if something does."""
    callers = {key.team for key in config.keys}.union(*(issuer.team.names for issuer in config.issuers))
    known = sorted(callers | policies.named)
    if team in known:
        return None
    close = difflib.get_close_matches(team[:_MOST_CHARS], known, n=1)
    guess = f"Did you mean '{close[0]}'?" if close else f"Named are: {', '.join(known) or 'none'}."
    said = f"No key, no issuer and no policy names the team '{team}', so nobody can call as it. {guess}"
    return f"{said} What follows is what the rules for every team make of the request."


def lines(explanation: Explanation) -> Iterator[str]:
    """Yield the explanation for people: the decision, then a line for each rule in the order of judgement."""
    decision, asked = explanation.decision, explanation.question.request
    thing, words = of_action(asked.action), WORDS[asked.action]
    yield f"asked: {'' if asked.action is CANCEL_RUNS else f'{asked.action}: '}{in_words(asked.wire())}"
    match decision:
        case Permit(effective=effective, resolution=resolution, budget=budget, approval=approval):
            yield f"permit by {decision.rule}: {in_words(effective.wire())}"
            if resolution is not None:
                done = f"looked up, judged and {words.done} by ID"
                yield f"the {thing.many} are {done}: {resolution_in_words(resolution)}"
            if budget is not None:
                yield f"its budget: {budget_in_words(budget, thing)}; Gateway-Budget on its answers says what is left"
            if approval is not None:
                yield f"its approval: {approval_in_words(approval, thing)}; until then the answer is 409, with the plan"
        case Denial(reason=reason):
            yield f"deny by {decision.rule or 'default'}: {reason}"
    if decision.shadow is not None:
        yield f"with shadow rules enforced: {decision.decided}, by {decision.shadow}"
    for part in explanation.parts:
        yield f"{'->' if part.decides else '  '} {part.effect:<7} {part.rule}{_said(part)}"


def _said(part: Part) -> str:
    words = f": {part.words}" if part.words else ""
    lowered = f" (count {part.count_before} to {part.count_after})" if part.count_after < part.count_before else ""
    return f" {'[shadow] ' if part.shadow else ''}{part.result}{words}{lowered}"
