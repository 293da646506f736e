"""Failing system calls, in short; `python -m tests.reliability.disk` tries every N of every fault."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.reliability.crash import strace
from tests.reliability.crash.loop import Life
from tests.reliability.crash.victim import Tracer, Victim
from tests.reliability.disk.__main__ import holds, report
from tests.reliability.disk.faults import SERVING, STARTING, Failing
from tests.reliability.disk.loop import DIED, LEFT_OPEN, Case, DiskBatch, run_case

SHORT = ("write ENOSPC", "os, write ENOSPC", "fdatasync EIO", "fsync EIO", "openat EMFILE")


@pytest.mark.parametrize(
    "fault",
    [fault for fault in (*STARTING, *SERVING) if fault.name in SHORT],
    ids=lambda fault: f"{fault.phase} {fault.name}",
)
def test_a_failing_call_sends_nothing_unrecorded_and_leaves_nothing_open(fault: Failing) -> None:
    """The first two calls of each kind: nothing without a durable intent, every intent closed once, all verified."""
    strace.required()
    outcome = run_case(Case(fault, most=2))
    assert holds(outcome), report([outcome], took_s=0)


class Forgetful(DiskBatch):
    """Its gateways record nothing of what came of their cancels, and end in good order or are killed."""

    def __init__(self, phase: str, directory: Path, *, kills: bool) -> None:
        super().__init__(Case(Failing("none", ("flock:error=EIO:when=999",), on_files=False, phase=phase)), directory)
        self._kills = kills

    async def _end(self, victim: Victim, life: Life, tracer: Tracer) -> bool:
        if self._kills:
            await victim.kill()
        met = await super()._end(victim, life, tracer)
        for path in victim.segments():
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(line for line in lines if b'"event":"outcome"' not in line))
        return met


@pytest.mark.parametrize("phase", ["start", "serve"])
def test_what_a_gateway_leaves_open_is_seen(phase: str, tmp_path: Path) -> None:
    """An intent without an outcome is counted, whether the fault is laid on the start or on what comes after."""
    strace.required()
    batch = Forgetful(phase, tmp_path, kills=False)
    asyncio.run(batch.every_n())
    assert batch.tally.broken[LEFT_OPEN]
    assert (batch.outcome.deaths, batch.tally.broken[DIED]) == (0, 0)


def test_who_dies_on_the_way_leaves_its_intents_to_the_next_start(tmp_path: Path) -> None:
    """A gateway that a signal ended could not write any more: its death is counted, not what it left open."""
    strace.required()
    batch = Forgetful("start", tmp_path, kills=True)
    asyncio.run(batch.every_n())
    assert (batch.outcome.deaths, batch.tally.broken[LEFT_OPEN]) == (1, 0)


def test_who_dies_while_it_serves_breaks_a_law(tmp_path: Path) -> None:
    """No fault of a file or a descriptor may end a gateway that serves."""
    strace.required()
    batch = Forgetful("serve", tmp_path, kills=True)
    asyncio.run(batch.every_n())
    assert batch.tally.broken[DIED] == 1
