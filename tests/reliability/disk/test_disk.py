"""Failing system calls, in short; `python -m tests.reliability.disk` tries every N of every fault."""

from __future__ import annotations

import pytest

from tests.reliability.crash import strace
from tests.reliability.disk.__main__ import holds, report
from tests.reliability.disk.faults import SERVING, STARTING, Failing
from tests.reliability.disk.loop import Case, run_case

SHORT = ("write ENOSPC", "fdatasync EIO", "fsync EIO", "openat EMFILE")


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
