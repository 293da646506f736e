"""A request whose task is cancelled before its first step, as a second signal does, holds nobody up."""

from __future__ import annotations

import asyncio

from tests.edge.test_keep_alive import REQUEST, StillLoop, answered


async def test_a_request_that_was_cancelled_before_its_first_step_is_on_no_list_and_has_no_connection() -> None:
    """A server ends only once its list of tasks is empty and its connections are closed, or when its grace is over."""
    protocol, wire = await answered(StillLoop())
    await asyncio.sleep(0)
    assert not protocol.tasks
    protocol.data_received(REQUEST)
    [task] = protocol.tasks
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert task.cancelled()
    assert not protocol.tasks
    assert wire.is_closing()
