"""What a task leaves of the event loop to others, as a share that a busy machine does not change."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise


async def longest_turn(task: asyncio.Task[object]) -> float:
    """Waits for a task; returns the share of that time that was the loop's longest turn, 1 if it did nothing else."""
    turns_s = [time.perf_counter()]
    while not task.done():
        await asyncio.sleep(0.001)
        turns_s.append(time.perf_counter())
    return max(after_s - before_s for before_s, after_s in pairwise(turns_s)) / (turns_s[-1] - turns_s[0])
