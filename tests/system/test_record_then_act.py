"""Record, then act, then record: shown by the system calls of the running gateway."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.support.gateway import RunningGateway, Setup

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"


@pytest.fixture
def strace() -> str:
    """The tracer; required in CI."""
    found = shutil.which("strace")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("strace is missing")
    if found is None:
        pytest.skip("strace is not installed")
    return found


def test_the_intent_is_on_disk_before_upstream_hears_and_the_outcome_before_the_caller_does(
    strace: str, simulator: SimulatorServer, tmp_path: Path
) -> None:
    """In the order of system calls: intent, fdatasync, DELETE to upstream, outcome, fdatasync, 200 to the caller."""
    setup = Setup(simulator.url, tmp_path / "gateway", audit="{directory: audit, durability: fsync}")
    trace = tmp_path / "trace"
    before = [
        strace,
        "-D",
        "-f",
        "-s",
        "400",
        "-o",
        str(trace),
        "-e",
        "trace=write,writev,sendto,sendmsg,fdatasync,fsync",
    ]
    with RunningGateway(setup, before=before) as gateway:
        assert gateway.cancel(OWN).status == 200
    assert _steps(trace.read_text()) == ["intent", "synced", "DELETE", "outcome", "synced", "200"]


def test_the_intent_is_written_before_upstream_hears_where_no_sync_is_waited_for(
    strace: str, simulator: SimulatorServer, tmp_path: Path
) -> None:
    """As above without fdatasync: intent, DELETE to upstream, outcome, 200 to the caller."""
    setup = Setup(simulator.url, tmp_path / "gateway", audit="{directory: audit, durability: os}")
    trace = tmp_path / "trace"
    calls = "trace=write,writev,sendto,sendmsg,fdatasync,fsync"
    with RunningGateway(setup, before=[strace, "-D", "-f", "-s", "400", "-o", str(trace), "-e", calls]) as gateway:
        assert gateway.cancel(OWN).status == 200
    assert _steps(trace.read_text()) == ["intent", "DELETE", "outcome", "200"]


def _steps(trace: str) -> list[str]:
    """The calls that matter, in order; an fdatasync of the record counts when it returned."""
    steps: list[str] = []
    audit, syncing = None, ""
    for line in trace.splitlines():
        thread = line.partition(" ")[0]
        if found := re.search(r'write\((\d+), "\{.*?\\"event\\":\\"(intent|outcome)\\"', line):
            audit = found[1]
            steps.append(found[2])
        elif "DELETE /v2/workflows/runs?" in line:
            steps.append("DELETE")
        elif '"HTTP/1.1 200' in line:
            steps.append("200")
        elif audit and re.search(rf"fdatasync\({audit} <unfinished", line):
            syncing = thread
        elif audit and re.search(rf"fdatasync\({audit}\)\s+= 0", line):
            steps.append("synced")
        elif thread == syncing and re.search(r"<\.\.\. fdatasync resumed>\)\s+= 0", line):
            steps.append("synced")
            syncing = ""
    return steps[: steps.index("200") + 1] if "200" in steps else steps
