"""A full or read-only disk under the audit log of a running gateway."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.support.gateway import Answer, RunningGateway, Setup
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 256 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def upstream(simulator: SimulatorServer) -> Iterator[HeldAnswers]:
    """The simulator, whose answers can be kept back."""
    with HeldAnswers(simulator.port) as answers:
        yield answers


@pytest.fixture
def gateway(upstream: HeldAnswers, tmp_path: Path, disk: Path) -> Iterator[RunningGateway]:
    """A gateway that records on that file system."""
    setup = Setup(upstream.url, tmp_path / "gateway", audit=f'{{directory: "{disk / "audit"}", durability: fsync}}')
    with RunningGateway(setup) as running:
        yield running


def fill(disk: Path) -> Path:
    """Takes all the space there is."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
        try:
            while True:
                file.write(b"x")
        except OSError:
            return filler


def until_ready(gateway: RunningGateway, status: int) -> None:
    """Waits until `/readyz` answers with a status."""
    until(lambda: gateway.request("GET", "/readyz", team=None).status == status)


def fill_pages(gateway: RunningGateway) -> list[Answer]:
    """Cancels until one is refused: the last page of the file may still take a record or two."""
    answers = []
    for number in range(60):
        answers.append(gateway.cancel(f"{OWN}&count={number + 1}"))
        if answers[-1].status != 200:
            break
    return answers


def test_on_a_full_disk_nothing_is_sent_and_the_gateway_recovers_when_there_is_space(
    gateway: RunningGateway, simulator: SimulatorServer, disk: Path
) -> None:
    """503 audit_unavailable, not one DELETE more, /readyz red; with space again everything works by itself."""
    filler = fill(disk)
    answers = fill_pages(gateway)
    assert (answers[-1].status, answers[-1].json()["code"]) == (503, "audit_unavailable")
    assert len(simulator.ledger) == len(answers) - 1
    until_ready(gateway, 503)
    assert gateway.request("GET", "/healthz", team=None).status == 200
    assert gateway.cancel("count=1").status == 403, "a denial is answered even when the log is full"
    filler.unlink()
    until_ready(gateway, 200)
    assert gateway.cancel(OWN).status == 200


def test_an_outcome_that_cannot_be_written_is_answered_truly_and_owed(
    gateway: RunningGateway, simulator: SimulatorServer, upstream: HeldAnswers, disk: Path
) -> None:
    """The disk fills after the intent: the caller gets the true number; no intent is taken until it is written."""
    with ThreadPoolExecutor(1) as callers:
        with upstream.held():
            caller = callers.submit(gateway.cancel, OWN)
            until(lambda: simulator.ledger)
            filler = fill(disk)
            while gateway.request("GET", "/readyz", team=None).status == 200:
                # Records that are shorter than an outcome take what is left of the file's last page.
                gateway.request(target="/v2/workflows/runs?count=1", team=None)
        while not caller.done():
            fill(disk)  # what others give back, like the index of decisions
    assert (caller.result().status, caller.result().json()) == (200, {"cancelled": 50})
    assert gateway.cancel(f"{OWN}&count=7").json()["code"] == "audit_unavailable"
    assert len(simulator.ledger) == 1
    assert [record["event"] for record in gateway.records() if record["event"] in ("intent", "outcome")] == ["intent"]
    filler.unlink()
    until_ready(gateway, 200)
    outcomes = gateway.records("outcome")
    assert [(record["outcome"], record["cancelled"]) for record in outcomes] == [("cancelled", 50)]
