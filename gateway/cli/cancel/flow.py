"""One cancel from beginning to end: look up, show, ask, apply. Every way out is an `Ending`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.cli.cancel.answers import Done, Lost, Refusal
from gateway.cli.cancel.client import Gateway
from gateway.core.errors import counted
from gateway.core.forms.shown import PLANS, ShownPlan
from gateway.core.run import Skip

URL, KEY = "QSTASH_GATEWAY_URL", "QSTASH_GATEWAY_KEY"
"""The environment variables for the gateway's address and the caller's key."""

OPTIONS = {
    "workflowUrl": "--url U",
    "label": "--label L",
    "workflowRunIds": "--run-id ID",
    "toDate": "--older-than D",
}
"""The option for each field of a request."""

UNSENT = "Nothing was cancelled."


class End(StrEnum):
    """The ways in which a cancel ends."""

    CANCELLED = "cancelled"
    NOTHING_FOUND = "nothing_found"
    DRY_RUN = "dry_run"
    DECLINED = "declined"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def exit_code(self) -> int:
        """0 if what was asked for was done, else 1."""
        return 0 if self in (End.CANCELLED, End.NOTHING_FOUND, End.DRY_RUN) else 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A person's request: the request line of a bulk cancel, and the reason."""

    request: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a cancel: one sentence, and what is known of it."""

    how: End
    sentence: str
    plan: ShownPlan | None = None
    done: Done | None = None
    refusal: Refusal | None = None

    def members(self) -> dict[str, object]:
        """Return the ending as a JSON object for programs."""
        return {
            "outcome": self.how.value,
            "sentence": self.sentence,
            "plan": None if self.plan is None else dict(self.plan.members),
            "result": None if self.done is None else _result(self.done),
            "problem": None if self.refusal is None else dict(self.refusal.members),
        }


class Screen(Protocol):
    """The part that shows a cancel to the person and takes the answer."""

    def looking(self) -> AbstractContextManager[None]:
        """Show that the runs are being looked up, until the context ends."""

    def shows(self, plan: ShownPlan) -> None:
        """Show the plan."""

    def asks(self, plan: ShownPlan) -> bool:
        """Ask whether to go on; return the answer."""

    def applying(self, plan: ShownPlan) -> AbstractContextManager[Callable[[ShownPlan], None]]:
        """Show that the plan is being applied. The context gives a function to call with the plan as it advances."""

    def ends(self, ending: Ending) -> None:
        """Show the ending."""


def cancel(gateway: Gateway, asked: Asked, screen: Screen, *, dry_run: bool, ask: bool) -> Ending:
    """Show which runs the request means and, unless the person says no or it is a dry run, cancel exactly those."""
    plan = _planned(gateway, asked, screen)
    if isinstance(plan, Ending):
        return plan
    screen.shows(plan)
    if not plan.runs:
        return Ending(End.NOTHING_FOUND, f"No run to cancel was found. {UNSENT}", plan)
    if dry_run:
        return Ending(End.DRY_RUN, f"Only a dry run. {UNSENT}", plan)
    if ask and not _agreed(screen, plan):
        return Ending(End.DECLINED, UNSENT, plan)
    return _applied(gateway, plan, screen)


def runs_in_words(runs: int) -> str:
    """Return a number of runs in words: `1 run`, `137 runs`."""
    return counted(runs, "run")


def _planned(gateway: Gateway, asked: Asked, screen: Screen) -> ShownPlan | Ending:
    # The look-up and the apply each have an event loop, so that Ctrl-C reaches the question in between.
    try:
        with screen.looking():
            found = asyncio.run(gateway.plan(asked.request, reason=asked.reason))
    except KeyboardInterrupt:
        return Ending(End.DECLINED, f"Stopped. {UNSENT}")
    match found:
        case Lost(why=why):
            return Ending(End.FAILED, f"No plan: {why}. {UNSENT}")
        case Refusal(sentence=sentence):
            return Ending(End.REFUSED, " ".join([sentence, *_in_options(found)]), refusal=found)
    return found


def _in_options(refusal: Refusal) -> Iterator[str]:
    """Yield what to change on the command line or in the environment, if the refusal is about that."""
    if refusal.code == "unauthenticated":
        yield f"This command sends what is in {KEY}: put another key there."
    match refusal.members.get("not_admitted"):
        case {"field": "Gateway-Reason"}:
            yield "Say why with --reason TEXT."
        case {"field": "workflowUrlExactMatch"}:
            yield "Write --url in place of --prefix."
        case {"field": "count"}:
            yield "Ask for fewer with --count N."
        case {"field": str(field), "value": None} if field in OPTIONS:
            yield f"Add {OPTIONS[field]}."


def _agreed(screen: Screen, plan: ShownPlan) -> bool:
    try:
        return screen.asks(plan)
    except KeyboardInterrupt:
        return False


def _applied(gateway: Gateway, plan: ShownPlan, screen: Screen) -> Ending:
    try:
        with screen.applying(plan) as told:
            result = asyncio.run(gateway.apply(plan, told))
    except KeyboardInterrupt:
        sentence = f"The gateway goes on without this command. {_where_to_look(plan)}"
        return Ending(End.UNKNOWN, sentence, plan)
    match result:
        case Done(cancelled=cancelled, decision_id=decision_id):
            sentence = f"{runs_in_words(cancelled)} cancelled, under decision {decision_id}.{_rest(result)}"
            return Ending(End.CANCELLED, sentence, plan, done=result)
        case Refusal(sentence=sentence, code=code):
            sentence = " ".join([sentence, *_in_options(result)])
            how = End.UNKNOWN if code == "outcome_unknown" else End.REFUSED
            return Ending(how, sentence, plan, refusal=result)
        case Lost(sent=False, why=why):
            return Ending(End.FAILED, f"Not sent: {why}. {UNSENT}", plan)
        case Lost(why=why):
            return Ending(End.UNKNOWN, f"Not known what came of it: {why}. {_seen(gateway, plan)}", plan)


def _rest(done: Done) -> str:
    """Return a warning if upstream did more than it was asked for, or else how many runs are left to cancel, if any.

    It ends the last line, so that a person who reads nothing else does not take a part for the whole.
    """
    if done.over_cancelled:
        return f" QStash cancelled {runs_in_words(done.over_cancelled)} more than were sent to it: tell the operators."
    beyond = done.skipped.get(Skip.BEYOND_COUNT)
    if beyond is None or not beyond.runs:
        return ""
    left = "is left" if beyond.runs == 1 else "are left"
    return f" {runs_in_words(beyond.runs)} beyond the count {left}: run the command again."


def _seen(gateway: Gateway, plan: ShownPlan) -> str:
    """Return what the gateway says of a plan after its answer to the apply was lost."""
    look = _where_to_look(plan)
    try:
        seen = asyncio.run(gateway.look(plan))
    except KeyboardInterrupt:
        return look
    if seen is None:
        return look
    return f"The plan is {seen.state}, {runs_in_words(seen.cancelled)} cancelled for certain so far. {look}"


def _where_to_look(plan: ShownPlan) -> str:
    return (
        f"Look at plan {plan.plan_id}: GET {PLANS}/{plan.plan_id}, or in the gateway's record. "
        "Plan anew rather than repeat."
    )


def _result(done: Done) -> dict[str, object]:
    return {
        "cancelled": done.cancelled,
        "decision_id": done.decision_id,
        "over_cancelled": done.over_cancelled,
        "skipped": {why: left.to_json() for why, left in done.skipped.items()},
    }
