"""Bugs of stopping a plan, and of sending an order again that was refused for the pace."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

PIPELINE = "gateway/execution/pipeline.py"
DRAFT, ORDERS, WAITS = (f"gateway/execution/plans/{name}.py" for name in ("draft", "orders", "waiting"))
WAITING, STOPPING = ("tests/execution/test_waits.py",), ("tests/execution/test_stopped_plans.py",)
AGAIN = "            look = await self.again(order, number, by_id=attempt > 1)\n"

IN_STOPPING = (
    Bug(
        "a filter is sent again after a 429",
        (
            Edit(
                PIPELINE,
                "            outcome = await send(order)\n",
                "            outcome = await send(order)\n"
                "            if outcome.upstream_status == 429:\n"
                "                outcome = await send(order)\n",
            ),
        ),
        WAITING,
    ),
    Bug(
        "any order may be sent again",
        (
            Edit(
                WAITS,
                "if not isinstance(order.selection, ByIds) or attempt > MOST_AGAIN:",
                "if attempt > MOST_AGAIN:",
            ),
        ),
        WAITING,
    ),
    Bug("sent again without end", (Edit(WAITS, " or attempt > MOST_AGAIN:", ":"),), WAITING),
    Bug(
        "waits without end",
        (Edit(WAITS, "if wait is None or self.waited_s + wait > MOST_WAITS_S:", "if wait is None:"),),
        WAITING,
    ),
    Bug("the minute is that of each order", (Edit(WAITS, "        self.waited_s += wait\n", ""),), WAITING),
    Bug(
        "sent again at once",
        (Edit(ORDERS, "            await self.halt.wait(again_s)\n", ""),),
        WAITING,
    ),
    Bug(
        "sent again without a second look",
        (
            Edit(ORDERS, AGAIN, "            look = Look(order) if attempt > 1 else await self.again(order, number)\n"),
            Edit(ORDERS, "import SecondLook\n", "import Look, SecondLook\n"),
        ),
        WAITING,
    ),
    Bug(
        "sent again on a look-up that is fresh",
        (Edit(ORDERS, ", by_id=attempt > 1)", ")"),),
        WAITING,
    ),
    Bug(
        "a stop does not end the wait",
        (Edit(WAITS, "                await self._ended.wait()\n", "                await asyncio.sleep(seconds)\n"),),
        WAITING,
    ),
    Bug(
        "the end of the process does not end the wait",
        (
            Edit(
                "gateway/execution/plans/drafts.py",
                "            draft.halt.end_waits()\n",
                "            assert draft\n",
            ),
        ),
        WAITING,
    ),
    Bug(
        "a stopped plan goes on",
        (
            Edit(
                ORDERS,
                "STOPPED if self.halt.by is not None else halted()\n",
                "STOPPED if self.halt.by is not None and not self.sent else halted()\n",
            ),
        ),
        STOPPING,
    ),
    Bug(
        "a stop is not seen behind the second look",
        (Edit(ORDERS, "if look.order is None or self._is_halted(halted):", "if look.order is None:"),),
        STOPPING,
    ),
    Bug(
        "a stopped plan that was ready can be applied",
        (
            Edit(
                DRAFT,
                "if self.state in (State.LOOKING, State.READY, State.AWAITING):",
                "if self.state is State.LOOKING:",
            ),
        ),
        STOPPING,
    ),
    Bug(
        "a stop makes an unknown order certain",
        (
            Edit(
                ORDERS,
                "        if self.stopped in (None, STOPPED):\n",
                "        if self.stopped in (None, STOPPED) or self.halt.by is not None:\n",
            ),
        ),
        STOPPING,
    ),
)
