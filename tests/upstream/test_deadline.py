"""The deadline of an exchange ends what is inside, is told from every other cancellation, and leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from gateway.upstream.deadline import Deadline

SOON_S, NEVER_S = 0.01, 600.0


async def test_what_is_inside_ends_with_a_timeout() -> None:
    """The task itself goes on, and is not left as if somebody had asked it to end."""
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError), Deadline(loop, SOON_S):
        await asyncio.sleep(NEVER_S)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_ends_in_time_is_left_alone() -> None:
    """The timer is gone: what comes after may take any time."""
    loop = asyncio.get_running_loop()
    with Deadline(loop, SOON_S):
        await asyncio.sleep(0)
    await asyncio.sleep(2 * SOON_S)


async def test_a_cancellation_from_elsewhere_is_no_timeout() -> None:
    """The end of a process must be told from a slow QStash: the one is `stopping`, the other not known."""
    loop = asyncio.get_running_loop()

    async def held() -> None:
        """Wait inside a deadline that is far away."""
        with Deadline(loop, NEVER_S):
            await asyncio.sleep(NEVER_S)

    task = asyncio.create_task(held())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_beside_the_deadline_is_not_swallowed() -> None:
    """Both at once: whoever asked the task to end sees it end."""
    loop = asyncio.get_running_loop()

    async def held() -> None:
        """Be cancelled from elsewhere in the same turn in which the deadline passes."""
        task = asyncio.current_task()
        assert task is not None
        with Deadline(loop, 0):
            loop.call_soon(task.cancel)
            await asyncio.sleep(NEVER_S)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(held())


async def test_another_fault_stays_what_it_is() -> None:
    """Also one that is raised while the deadline's own cancellation is on its way."""
    loop = asyncio.get_running_loop()

    async def fails() -> None:
        """Answer the deadline's cancellation with a fault."""
        with Deadline(loop, SOON_S):
            try:
                await asyncio.sleep(NEVER_S)
            except asyncio.CancelledError:
                raise LookupError from None

    with pytest.raises(LookupError):
        await fails()
