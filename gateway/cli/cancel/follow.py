"""A plan followed to an end that is certain, where that can be had: through Ctrl-C, lost answers and unknown outcomes.

A Ctrl-C while a plan is applied stops the plan after the order in flight; the second one leaves at once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from gateway.cli.cancel.answers import Done, Lost, Refusal, ShownDecision
from gateway.cli.cancel.client import EVERY_S, Gateway, Told
from gateway.core.forms.shown import ShownPlan

AT_WORK = ("looking", "applying")
"""The states of a plan in which the gateway is busy with it."""

SLOWER_S = 2.0
"""The time between two looks at a decision that is still open, in seconds, after the first looks."""

STOPPING = "Stopping after the order in flight; Ctrl-C again leaves at once."

Says = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Known:
    """What is certain of a plan although its answer does not say it. `whole` says that nothing of it was left undone.

    `decision_id` is empty if only the plan says it.
    """

    cancelled: int
    whole: bool
    decision_id: str = ""


@dataclass(frozen=True, slots=True)
class Carried:
    """A plan that was applied: the answer, None if the person left before it; and what is certain if the answer is not.

    `interrupted` says that the person asked to stop.
    """

    answer: Done | Refusal | Lost | None
    known: Known | None = None
    interrupted: bool = False

    @property
    def unclear(self) -> bool:
        """Whether the answer leaves open what was cancelled."""
        return _unclear(self.answer)


def carry_out(gateway: Gateway, plan: ShownPlan, told: Told, says: Says, *, wait_s: float) -> Carried:
    """Apply the plan; if its answer leaves open what was cancelled, look for up to `wait_s` seconds what came of it."""
    stops: list[asyncio.Task[None]] = []
    try:
        answer = asyncio.run(_applied(gateway, plan, told, says, stops))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Carried(None, interrupted=True)
    if not _unclear(answer):
        return Carried(answer, interrupted=bool(stops))
    says(f"Not known yet what came of it. Asking the gateway, for up to {wait_s:g} s.")
    try:
        known = asyncio.run(_certain(gateway, plan, answer, wait_s=wait_s))
    except KeyboardInterrupt:
        return Carried(answer, interrupted=True)
    return Carried(answer, known, interrupted=bool(stops))


def followed(gateway: Gateway, plan_id: str, told: Told, *, within_s: float) -> ShownPlan | Refusal | Lost:
    """Watch a plan for as long as the gateway is busy with it, at most `within_s` seconds; return it as it was last."""

    async def watch() -> ShownPlan | Refusal | Lost:
        seen = await gateway.look(plan_id)
        deadline_s = asyncio.get_running_loop().time() + within_s
        while isinstance(seen, ShownPlan) and seen.state in AT_WORK and asyncio.get_running_loop().time() < deadline_s:
            told(seen)
            await asyncio.sleep(EVERY_S)
            seen = await gateway.look(plan_id)
        return seen

    return asyncio.run(watch())


async def _applied(
    gateway: Gateway, plan: ShownPlan, told: Told, says: Says, stops: list[asyncio.Task[None]]
) -> Done | Refusal | Lost:
    me = asyncio.current_task()
    assert me is not None

    def interrupted() -> None:
        """Stop the plan at the first Ctrl-C, leave at the second."""
        if stops:
            me.cancel()
            return
        says(STOPPING)
        stops.append(asyncio.create_task(_stop(gateway, plan, says)))

    with _on_ctrl_c(interrupted):
        return await gateway.apply(plan, told)


async def _stop(gateway: Gateway, plan: ShownPlan, says: Says) -> None:
    answer = await gateway.stop(plan.plan_id)
    if not isinstance(answer, ShownPlan):
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
                return await _decided(gateway, plan, answer.decision_id)
    return None


async def _decided(gateway: Gateway, plan: ShownPlan, decision_id: str) -> Known | None:
    """Wait until a decision is certain; return None if it never will be, or is not shown."""
    pause_s = EVERY_S
    while True:
        match await gateway.decision(decision_id):
            case ShownDecision(cancelled=int(cancelled)):
                return Known(cancelled, cancelled >= plan.runs, decision_id)
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
            case ShownPlan(state="applied" | "stopped" as state, cancelled=cancelled):
                return Known(cancelled, state == "applied")
            case ShownPlan(state="ready"):
                # The call seems not to have arrived. A plan that is stopped cannot be applied by one that still comes.
                if not arrived:
                    await gateway.stop(plan.plan_id)
                arrived = False
            case ShownPlan(state="unknown", members={"settled": {"cancelled": int(cancelled)}}):
                return Known(cancelled, cancelled >= plan.runs)
            case ShownPlan(state="applying" | "unknown", members=members) if not members.get("settled"):
                pass
            case ShownPlan():
                return None
            case Lost():
                pass
            case Refusal() as refusal if not refusal.passing:
                return None
        await asyncio.sleep(EVERY_S)
