"""A plan followed to an end that is certain, where that can be had: through Ctrl-C, lost answers and unknown outcomes.

A Ctrl-C while a plan is applied stops the plan after the order in flight; the second one leaves at once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from gateway.cli.cancel.answers import Done, Lost, Refusal, ShownDecision, runs_in_words, too_many
from gateway.cli.cancel.client import EVERY_S, Gateway, Told
from gateway.core.forms.shown import ShownPlan
from gateway.core.plan import ORDER_RUNS

AT_WORK = ("looking", "applying")
"""The states of a plan in which the gateway is busy with it."""

_CERTAIN = ("applied", "stopped")
"""The states of a plan that has ended, and of which it is certain how many runs it cancelled."""

SLOWER_S = 2.0
"""The time between two looks at a decision that is still open, in seconds, after the first looks."""

STOPPING = "Stopping after the order in flight; Ctrl-C again leaves at once."

Says = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Known:
    """What is certain of a plan although its answer does not say it.

    `decision_id` is empty if only the plan says it; then `over_cancelled`, how many runs were cancelled beyond those
    that were sent, is the least that it can be. `nothing` says why nothing was cancelled, if that is known.
    """

    cancelled: int
    decision_id: str = ""
    over_cancelled: int = 0
    nothing: str = ""

    def rest(self, runs: int) -> int:
        """Return how many of the plan's runs are not cancelled."""
        return max(0, runs - max(0, self.cancelled - self.over_cancelled))


@dataclass(frozen=True, slots=True)
class Carried:
    """A plan that was applied: the answer, None if the person left before it; and what is certain if the answer is not.

    `interrupted` says that the person asked to stop. `seen` is the plan as it was last seen before the person left, and
    `stopping` whether the gateway had said by then that it stops the plan.
    """

    answer: Done | Refusal | Lost | None
    known: Known | None = None
    interrupted: bool = False
    seen: ShownPlan | None = None
    stopping: bool = False

    @property
    def unclear(self) -> bool:
        """Whether the answer leaves open what was cancelled."""
        return _unclear(self.answer)

    @property
    def over_cancelled(self) -> int:
        """How many runs were cancelled beyond those that were sent, as far as any answer says it."""
        said = self.answer.over_cancelled if isinstance(self.answer, Done | Refusal) else 0
        return max(said, 0 if self.known is None else self.known.over_cancelled)

    @property
    def warning(self) -> str:
        """A sentence if upstream did more than it was asked for, else an empty text."""
        least = self.known is not None and not self.known.decision_id
        return too_many(self.over_cancelled, at_least=least)


@dataclass(slots=True)
class _Watched:
    """What was seen of a plan while it was applied, and the stop that the person asked for."""

    seen: ShownPlan | None = None
    stop: asyncio.Task[None] | None = None
    stopping: bool = False


def known_of(seen: ShownPlan) -> Known | None:
    """Return what is certain of a plan that has ended; None if nobody knows (yet) how many runs it cancelled."""
    # An order holds at most ORDER_RUNS; a plan of one order may not have counted it.
    sent = min(seen.runs, seen.orders_sent * ORDER_RUNS) if seen.orders_sent else seen.runs
    cancelled, nothing = seen.cancelled, _NOTHING.get(seen.outcome or "", "")
    match seen.members:
        case {"settled": {"cancelled": int(learnt)}}:
            cancelled, nothing = learnt, ""
        case _ if seen.state == "unknown":
            return None
    over = max(0, max(cancelled, seen.cancelled) - sent) if seen.runs else 0
    return Known(cancelled, over_cancelled=over, nothing=nothing)


_NOTHING = {"refused": "QStash refused it", "not_sent": "nothing of it was sent"}
"""The outcomes of a plan that was applied and cancelled nothing, in words."""


def left_early(plan: ShownPlan, carried: Carried) -> tuple[str, ...]:
    """Return what was sent and what is not known, when the person left before the answer: a sentence each."""
    seen = carried.seen or plan
    rest, orders = max(0, plan.runs - seen.cancelled), -(-plan.runs // ORDER_RUNS)
    certain = f"{seen.cancelled} of {runs_in_words(plan.runs)} cancelled, by {seen.orders_sent} of {orders} orders."
    if not carried.stopping:
        left = "Left before the gateway said that it stops the plan: it may go on to send all of it."
        return left, f"Certain when it was last seen: {certain}", f"Not known: {runs_in_words(rest)}."
    open_ones = 0 if seen.state in _CERTAIN else min(rest, ORDER_RUNS)
    others = f"{runs_in_words(rest - open_ones)} of the plan not cancelled." if rest > open_ones else ""
    unknown = f"Not known: up to {runs_in_words(open_ones)}, of the order in flight." if open_ones else ""
    left = "Left; after the order in flight the gateway sends nothing more of the plan."
    return tuple(filter(None, (left, f"Certain: {certain}", unknown, others)))


def carry_out(gateway: Gateway, plan: ShownPlan, told: Told, says: Says, *, wait_s: float) -> Carried:
    """Apply the plan; if its answer leaves open what was cancelled, look for up to `wait_s` seconds what came of it."""
    watched = _Watched()
    try:
        answer = asyncio.run(_applied(gateway, plan, told, says, watched))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Carried(None, interrupted=True, seen=watched.seen, stopping=watched.stopping)
    interrupted = watched.stop is not None
    if not _unclear(answer):
        return Carried(answer, interrupted=interrupted)
    says(f"Not known yet what came of it. Asking the gateway, for up to {wait_s:g} s.")
    try:
        known = asyncio.run(_certain(gateway, plan, answer, wait_s=wait_s))
    except KeyboardInterrupt:
        return Carried(answer, interrupted=True)
    return Carried(answer, known, interrupted=interrupted)


def followed(gateway: Gateway, plan_id: str, told: Told, *, within_s: float) -> ShownPlan | Refusal | Lost:
    """Watch a plan for as long as the gateway is busy with it, at most `within_s` seconds; return it as it was last."""

    async def watch() -> ShownPlan | Refusal | Lost:
        """Look every half second."""
        seen = await gateway.look(plan_id)
        deadline_s = asyncio.get_running_loop().time() + within_s
        while isinstance(seen, ShownPlan) and seen.state in AT_WORK and asyncio.get_running_loop().time() < deadline_s:
            told(seen)
            await asyncio.sleep(EVERY_S)
            seen = await gateway.look(plan_id)
        return seen

    return asyncio.run(watch())


async def _applied(
    gateway: Gateway, plan: ShownPlan, told: Told, says: Says, watched: _Watched
) -> Done | Refusal | Lost:
    me = asyncio.current_task()
    assert me is not None

    def interrupted() -> None:
        """Stop the plan at the first Ctrl-C, leave at the second."""
        if watched.stop is not None:
            me.cancel()
            return
        says(STOPPING)
        watched.stop = asyncio.create_task(_stop(gateway, plan, says, watched))

    def noted(seen: ShownPlan) -> None:
        """Remember the plan as it was last seen."""
        watched.seen = seen
        told(seen)

    with _on_ctrl_c(interrupted):
        return await gateway.apply(plan, noted)


async def _stop(gateway: Gateway, plan: ShownPlan, says: Says, watched: _Watched) -> None:
    answer = await gateway.stop(plan.plan_id)
    if isinstance(answer, ShownPlan):
        watched.seen, watched.stopping = answer, True
        return
    why = answer.sentence if isinstance(answer, Refusal) else answer.why
    says(f"The plan cannot be stopped: {why} Waiting for its end; Ctrl-C again leaves at once.")


@contextmanager
def _on_ctrl_c(interrupted: Callable[[], None]) -> Iterator[None]:
    """Call `interrupted` in the event loop in place of KeyboardInterrupt, unless the command is to ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _unclear(answer: Done | Refusal | Lost | None) -> bool:
    return (isinstance(answer, Refusal) and answer.unclear) or (isinstance(answer, Lost) and answer.sent)


async def _certain(gateway: Gateway, plan: ShownPlan, answer: Done | Refusal | Lost, *, wait_s: float) -> Known | None:
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            if not isinstance(answer, Refusal) or answer.code != "outcome_unknown":
                return await _at_rest(gateway, plan)
            if answer.decision_id is not None:
                return await _decided(gateway, answer.decision_id)
    return None


async def _decided(gateway: Gateway, decision_id: str) -> Known | None:
    """Wait until a decision is certain; return None if it never will be, or is not shown."""
    pause_s, over = EVERY_S, 0
    while True:
        seen = await gateway.decision(decision_id)
        if isinstance(seen, ShownDecision):
            over = max(over, seen.over_cancelled)
        match seen:
            case ShownDecision(cancelled=int(cancelled)):
                return Known(cancelled, decision_id, over)
            case ShownDecision(settled=True):
                return None
            case Refusal() as refusal if refusal.retry_after_s is None:
                return None
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, SLOWER_S)


async def _at_rest(gateway: Gateway, plan: ShownPlan) -> Known | None:
    """Wait until a plan, whose answer was lost, says how it ended; return None if it cannot say."""
    arrived = True
    while True:
        match await gateway.look(plan.plan_id):
            case ShownPlan(state="applied" | "stopped" | "unknown") as seen:
                if (known := known_of(seen)) is not None or seen.settled is not None:
                    return known
            case ShownPlan(state="ready"):
                # The call seems not to have arrived. A plan that is stopped cannot be applied by one that still comes.
                if not arrived:
                    await gateway.stop(plan.plan_id)
                arrived = False
            case ShownPlan(state="applying") | Lost():
                pass
            case ShownPlan():
                return None
            case Refusal() as refusal if not refusal.passing:
                return None
        await asyncio.sleep(EVERY_S)
