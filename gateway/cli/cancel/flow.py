"""One cancel from beginning to end, or a plan taken up again: look, show, ask, apply. Every way out is an `Ending`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import quote

from gateway.cli.cancel.answers import (
    Done,
    Lost,
    Refusal,
    left_by,
    left_in_words,
    runs_in_words,
    too_many,
)
from gateway.cli.cancel.client import APPLY_S, LOOK_S, Gateway, Told
from gateway.cli.cancel.follow import AT_WORK, Carried, Known, carry_out, followed, known_of, left_early
from gateway.core.forms.shown import Left, ShownPlan
from gateway.core.run import Skip

URL, KEY = "QSTASH_GATEWAY_URL", "QSTASH_GATEWAY_KEY"
"""The environment variables for the gateway's address and the caller's key."""

CALL = "DELETE /v2/workflows/runs"

OPTIONS = {
    "workflowUrl": "--url U",
    "host": "--host H",
    "path": "--path P",
    "label": "--label L",
    "workflowRunIds": "--run-id ID",
    "toDate": "--older-than D",
}
"""The option for each field of a request."""

UNSENT = "Nothing was cancelled."
NONE_NOW = "No run can be cancelled now, although runs are left."

WAIT_S = 45.0
"""How long to look for what came of a cancel whose answer does not say it, in seconds, if no option says it."""


class End(StrEnum):
    """The ways in which a cancel ends."""

    CANCELLED = "cancelled"
    NOTHING_FOUND = "nothing_found"
    DRY_RUN = "dry_run"
    WITHDRAWN = "withdrawn"
    DECLINED = "declined"
    STOPPED = "stopped"
    INCOMPLETE = "incomplete"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def exit_code(self) -> int:
        """0 if what was asked for was done, else 1: to cancel nothing while runs that match are left is not done."""
        return 0 if self in (End.CANCELLED, End.NOTHING_FOUND, End.DRY_RUN, End.WITHDRAWN) else 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A person's request: the query of a bulk cancel, the latest creation of its runs (Unix ms), and the reason."""

    pairs: Sequence[tuple[str, str]]
    to_date: int | None = None
    reason: str | None = None

    @property
    def request(self) -> str:
        """The request line."""
        until = [] if self.to_date is None else [("toDate", str(self.to_date))]
        return f"{CALL}?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in (*self.pairs, *until))


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a cancel: one sentence, and what is known of it.

    `total` is the sum over the plans of --until-none; `sums` are further sentences, a line each.
    """

    how: End
    sentence: str
    plan: ShownPlan | None = None
    done: Done | None = None
    refusal: Refusal | None = None
    total: Mapping[str, object] | None = None
    sums: tuple[str, ...] = ()

    def members(self) -> dict[str, object]:
        """Return the ending as a JSON object for programs."""
        return {
            "outcome": self.how.value,
            "sentence": " ".join((self.sentence, *self.sums)),
            "plan": None if self.plan is None else dict(self.plan.members),
            "result": self._result(),
            "problem": None if self.refusal is None else dict(self.refusal.members),
        }

    def _result(self) -> dict[str, object] | None:
        if self.total is not None:
            return dict(self.total)
        return None if self.done is None else _result(self.done)


class Screen(Protocol):
    """The part that shows a cancel to the person and takes the answer.

    `until` says that the question is about all runs created up to that time, of which the plan may hold only a part.
    """

    def looking(self) -> AbstractContextManager[Told]:
        """Show that runs are being looked up, until the context ends. It gives a function to call with the plan."""

    def shows(self, plan: ShownPlan, *, until: str | None = None) -> None:
        """Show the plan."""

    def asks(self, plan: ShownPlan, *, until: str | None = None) -> bool:
        """Ask whether to go on; return the answer."""

    def applying(self, plan: ShownPlan) -> AbstractContextManager[Told]:
        """Show that the plan is being applied. The context gives a function to call with the plan as it advances."""

    def says(self, sentence: str) -> None:
        """Show a sentence in between."""

    def ends(self, ending: Ending) -> None:
        """Show the ending."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How to go about it: whether only to show, whether to ask, and how long to look for what is not known."""

    dry_run: bool
    ask: bool
    wait_s: float = WAIT_S


def cancel(gateway: Gateway, asked: Asked, screen: Screen, manner: Manner) -> Ending:
    """Show which runs the request means and, unless the person says no or it is a dry run, cancel exactly those."""
    plan = planned(gateway, asked, screen)
    return plan if isinstance(plan, Ending) else _agreed_and_applied(gateway, plan, screen, manner)


def resume(gateway: Gateway, plan_id: str, screen: Screen, manner: Manner) -> Ending:
    """Show a plan that was made before; follow it while the gateway is busy with it; apply it if it is ready."""
    try:
        found = asyncio.run(gateway.look(plan_id))
        if isinstance(found, ShownPlan) and not found.cancels_runs:
            other = f"Plan {plan_id} is for {found.action}, and this command only cancels runs. {UNSENT}"
            return Ending(End.REFUSED, other)
        if isinstance(found, ShownPlan) and found.state in AT_WORK:
            watching, within_s = (screen.looking(), LOOK_S) if found.looking else (screen.applying(found), APPLY_S)
            with watching as told:
                found = followed(gateway, plan_id, told, within_s=within_s)
    except KeyboardInterrupt:
        return Ending(End.DECLINED, f"This command only watched: the gateway goes on with plan {plan_id}.")
    if isinstance(found, Lost):
        return Ending(End.UNKNOWN, f"Plan {plan_id} cannot be seen: {found.why}.")
    if isinstance(found, Refusal):
        return _no_plan(found)
    if found.state in ("ready", "awaiting_approval"):
        # Whether enough have approved, the gateway says.
        return _agreed_and_applied(gateway, found, screen, manner)
    if found.failure is None:
        screen.shows(found)
    return _at_rest(found)


def stop(gateway: Gateway, plan_id: str, screen: Screen) -> Ending:
    """Stop a plan before its next order, and wait for the one in flight."""
    try:
        found = asyncio.run(gateway.stop(plan_id))
        if isinstance(found, ShownPlan) and found.state in AT_WORK:
            with screen.applying(found) as told:
                found = followed(gateway, plan_id, told, within_s=WAIT_S)
    except KeyboardInterrupt:
        left = "Left before the plan was seen to be stopped: what came of the order in flight is not known."
        return Ending(End.UNKNOWN, left, sums=_where_to_look(plan_id))
    if isinstance(found, Lost):
        return Ending(End.FAILED, f"Not known whether plan {plan_id} was stopped: {found.why}.")
    if isinstance(found, Refusal):
        return _no_plan(found)
    if found.state == "stopped":
        before = f"{runs_in_words(found.cancelled)} cancelled before." if found.cancelled else UNSENT
        return Ending(End.WITHDRAWN, f"Plan {plan_id} is stopped. {before}", found)
    return _at_rest(found)


def planned(gateway: Gateway, asked: Asked, screen: Screen) -> ShownPlan | Ending:
    """Return the plan of a request, or the ending if there is none."""
    # The look-up and the apply each have an event loop, so that Ctrl-C reaches the question in between.
    try:
        with screen.looking() as told:
            found = asyncio.run(gateway.plan(asked.request, reason=asked.reason, told=told))
    except KeyboardInterrupt:
        return Ending(End.DECLINED, f"Stopped. {UNSENT}")
    return found if isinstance(found, ShownPlan) else _no_plan(found)


def _no_plan(found: Refusal | Lost) -> Ending:
    if isinstance(found, Lost):
        return Ending(End.FAILED, f"No plan: {found.why}. {UNSENT}")
    return Ending(End.REFUSED, " ".join([found.sentence, *_in_options(found)]), refusal=found)


def _in_options(refusal: Refusal) -> Iterator[str]:
    """Yield what to change on the command line or in the environment, if the refusal is about that."""
    if refusal.code == "unauthenticated":
        yield f"This command sends what is in {KEY}: put another key there."
    if refusal.code == "approval_required":
        yield f"Once it is approved: qstash-gateway cancel --plan {refusal.members.get('plan')}."
    match refusal.members.get("not_admitted"):
        case {"field": "Gateway-Reason"}:
            yield "Say why with --reason TEXT."
        case {"field": "workflowUrlExactMatch"}:
            yield "Write --url in place of --prefix."
        case {"field": "count"}:
            yield "Ask for fewer with --count N."
        case {"field": "host" | "path", "value": str()}:
            yield "Without such a rule write --url or --prefix in place of --host and --path."
        case {"field": str(field), "value": None} if field in OPTIONS:
            yield f"Add {OPTIONS[field]}."


def _agreed_and_applied(gateway: Gateway, plan: ShownPlan, screen: Screen, manner: Manner) -> Ending:
    screen.shows(plan)
    left = left_by(plan)
    if not plan.runs and not left and not plan.more:
        return Ending(End.NOTHING_FOUND, f"No run to cancel was found. {UNSENT}", plan)
    if manner.dry_run:
        return Ending(End.DRY_RUN, f"Only a dry run. {UNSENT}", plan)
    if not plan.runs:
        sums = (f"Left: {left_in_words(left)}.",) if left else ()
        return Ending(End.INCOMPLETE, f"{NONE_NOW} {UNSENT}", plan, sums=sums)
    if manner.ask and not agreed(screen, plan):
        return Ending(End.DECLINED, UNSENT, plan)
    try:
        with screen.applying(plan) as told:
            carried = carry_out(gateway, plan, told, screen.says, wait_s=manner.wait_s)
    except KeyboardInterrupt:
        carried = Carried(None, interrupted=True)
    return ending_of(gateway, plan, carried)


def agreed(screen: Screen, plan: ShownPlan, *, until: str | None = None) -> bool:
    """Ask the person; return the answer. Ctrl-C is a no."""
    try:
        return screen.asks(plan, until=until)
    except KeyboardInterrupt:
        return False


def ending_of(gateway: Gateway, plan: ShownPlan, carried: Carried) -> Ending:
    """Return the ending of a plan that was applied."""
    match carried.answer:
        case None:
            said, *more = left_early(plan, carried)
            return Ending(End.UNKNOWN, said, plan, sums=(*more, *_where_to_look(plan.plan_id)))
        case Done() as done:
            return _done(plan, done, carried)
        case Refusal(code="plan_stopped") as refusal:
            return Ending(End.STOPPED, _stopped(plan, refusal, ours=carried.interrupted), plan, refusal=refusal)
        case Refusal() as refusal if not refusal.unclear:
            how = End.INCOMPLETE if refusal.code == "nothing_cancelled" else End.REFUSED
            return Ending(how, " ".join([refusal.sentence, *_in_options(refusal)]), plan, refusal=refusal)
        case Lost(sent=False, why=why):
            return Ending(End.FAILED, f"Not sent: {why}. {UNSENT}", plan)
    return _after_doubt(gateway, plan, carried)


def _done(plan: ShownPlan, done: Done, carried: Carried) -> Ending:
    late = " It was too late to stop it." if carried.interrupted else ""
    said = f"{runs_in_words(done.cancelled)} cancelled, under decision {done.decision_id}"
    if missed := _not_cancelled(plan, done):
        sentence = f"{said}; {missed} more of those ordered were not.{late} {_anew(carried.warning)}"
        return Ending(End.INCOMPLETE, sentence, plan, done=done)
    return Ending(End.CANCELLED, f"{said}.{late}{_rest(done)}", plan, done=done)


def _not_cancelled(plan: ShownPlan, done: Done) -> int:
    """Return how many runs were ordered and not cancelled; those left out at the last moment were not ordered."""
    left_out = sum(max(0, left.runs - plan.skipped.get(why, Left(0)).runs) for why, left in done.skipped.items())
    return max(0, plan.runs - left_out - (done.cancelled - done.over_cancelled))


def _anew(warning: str) -> str:
    return " ".join(["Plan anew for the rest.", *([warning] if warning else [])])


def _stopped(plan: ShownPlan, refusal: Refusal, *, ours: bool) -> str:
    if not ours:
        return refusal.sentence
    under = f", under decision {refusal.decision_id}" if refusal.decision_id else ""
    return f"Stopped. {refusal.cancelled} of {runs_in_words(plan.runs)} cancelled{under}; the others were not sent."


def _after_doubt(gateway: Gateway, plan: ShownPlan, carried: Carried) -> Ending:
    """Return the ending after an answer that left open what was cancelled."""
    refusal = carried.answer if isinstance(carried.answer, Refusal) else None
    if (known := carried.known) is not None:
        under = f", under decision {known.decision_id}" if known.decision_id else f", by plan {plan.plan_id}"
        warning = carried.warning
        if not known.rest(plan.runs):
            sentence = (
                f"The answer did not say it, but it is certain: {runs_in_words(known.cancelled)} cancelled{under}."
            )
            done = Done(known.cancelled, known.decision_id, {}, carried.over_cancelled)
            return Ending(End.CANCELLED, f"{sentence} {warning}".strip(), plan, done, refusal)
        sentence = f"It is certain by now: {_of(known, plan)} cancelled{under}."
        because = [f"The plan was applied, and {known.nothing}."] if known.nothing else []
        return Ending(End.INCOMPLETE, " ".join([*because, sentence, _anew(warning)]), plan, refusal=refusal)
    if refusal is not None:
        return Ending(End.UNKNOWN, " ".join([refusal.sentence, *_in_options(refusal)]), plan, refusal=refusal)
    assert isinstance(carried.answer, Lost)
    sums = (*_seen(gateway, plan), *_where_to_look(plan.plan_id))
    return Ending(End.UNKNOWN, f"Not known what came of it: {carried.answer.why}.", plan, sums=sums)


def _at_rest(plan: ShownPlan) -> Ending:
    """Return the ending for a plan that can neither be followed nor applied."""
    cancelled, known = runs_in_words(plan.cancelled), known_of(plan)
    if plan.failure is not None:
        refusal = Refusal(plan.failure, f"plan_{plan.state}", plan.members)
        return Ending(End.REFUSED, " ".join([plan.failure, *_in_options(refusal)]), plan, refusal=refusal)
    match plan.state:
        case "applied" | "unknown" if known is not None:
            return _applied(plan, known)
        case "stopped":
            return Ending(End.STOPPED, f"The plan was stopped: {plan.cancelled} of {plan.runs} cancelled.", plan)
        case "unknown":
            sentence = f"Not known what came of it; {cancelled} cancelled for certain."
            ended = ("The gateway has ended looking for it.",) if plan.settled is not None else ()
            return Ending(End.UNKNOWN, sentence, plan, sums=(*ended, "Look at it in the gateway's record."))
    return Ending(End.INCOMPLETE, f"The plan is {plan.state}: {cancelled} cancelled.", plan)


def _applied(plan: ShownPlan, known: Known) -> Ending:
    """Return the ending for a plan that was applied, if it is certain how many runs it cancelled."""
    if known.nothing:
        how = End.REFUSED if plan.outcome == "refused" else End.FAILED
        return Ending(how, f"The plan was applied, and {known.nothing}. {UNSENT}", plan)
    warning = too_many(known.over_cancelled, at_least=True)
    sentence = f"The plan was applied: {_of(known, plan)} cancelled."
    if known.rest(plan.runs):
        return Ending(End.INCOMPLETE, f"{sentence} {_anew(warning)}", plan)
    return Ending(End.CANCELLED, f"{sentence} {warning}".strip(), plan)


def _of(known: Known, plan: ShownPlan) -> str:
    """Return how many runs were cancelled, and of how many unless it were all or too many."""
    if known.over_cancelled or not known.rest(plan.runs):
        return runs_in_words(known.cancelled)
    return f"{known.cancelled} of {runs_in_words(plan.runs)}"


def _rest(done: Done) -> str:
    """Return a warning if upstream did more than it was asked for, or else how many runs are left to cancel, if any.

    It ends the last line, so that a person who reads nothing else does not take a part for the whole.
    """
    if done.over_cancelled:
        return f" {too_many(done.over_cancelled, at_least=False)}"
    beyond = done.skipped.get(Skip.BEYOND_COUNT)
    if beyond is None or not beyond.runs:
        return ""
    left = "is left" if beyond.runs == 1 else "are left"
    return f" {runs_in_words(beyond.runs)} beyond the count {left}: run the command again."


def _seen(gateway: Gateway, plan: ShownPlan) -> Iterator[str]:
    """Yield what the gateway says of a plan after its answer to the apply was lost, if it says anything."""
    with suppress(KeyboardInterrupt):
        seen = asyncio.run(gateway.look(plan.plan_id))
        if isinstance(seen, ShownPlan):
            yield f"The plan is {seen.state}, {runs_in_words(seen.cancelled)} cancelled for certain so far."


def _where_to_look(plan_id: str) -> tuple[str, ...]:
    return f"Look at it: qstash-gateway cancel --plan {plan_id}", "Plan anew rather than repeat."


def _result(done: Done) -> dict[str, object]:
    return {
        "cancelled": done.cancelled,
        "decision_id": done.decision_id,
        "over_cancelled": done.over_cancelled,
        "skipped": {why: left.to_json() for why, left in done.skipped.items()},
    }
