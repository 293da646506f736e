"""The outcome's record comes before the answer."""

from __future__ import annotations

import asyncio

from gateway.core.outcome import Closing
from gateway.core.plan import Receipt
from tests.execution.fakes import MemoryLog, PromptUpstream
from tests.execution.test_pipeline import call, pipeline, settled


class HeldLog(MemoryLog):
    """Does not come back from a close until let go."""

    def __init__(self) -> None:
        super().__init__()
        self.closing, self.let_go = asyncio.Event(), asyncio.Event()

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        self.closing.set()
        await self.let_go.wait()
        await super().close(receipt, closing)


async def test_the_answer_waits_for_the_record_of_the_outcome() -> None:
    """A caller who was told a number can rely on it being in the log."""
    log = HeldLog()
    running = asyncio.ensure_future(pipeline(PromptUpstream(), log).run(call("d1")))
    await log.closing.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not running.done()
    log.let_go.set()
    await settled(await running)
    assert len(log.closings()) == 1
