"""Faults in the life of a whole gateway: a slow disk, a directory it cannot use, a neighbour, a caller's odd end."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.in_force import InForce
from gateway.callers.issuers import Pins
from gateway.callers.settings import Limits
from gateway.core.outcome import Cancelled
from gateway.edge.inbound import Inbound
from gateway.execution.in_flight import Done
from gateway.execution.ports import Call
from gateway.policy.rules import Policies
from gateway.simulator.server import SimulatorServer
from tests.execution.fakes import MemoryLog, PromptUpstream
from tests.execution.test_pipeline import ANN, POLICIES, REQUEST, pipeline
from tests.reliability.crash import strace
from tests.support.gateway import Answer, RunningGateway, Setup
from tests.support.waiting import findings, until

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
DELAYED = "fdatasync:delay_enter=4000000:when=3"
"""The writer's third, after an intent and its outcome; strace counts by thread, and the start has one of its own."""


def test_a_disk_that_takes_too_long_refuses_the_intent_and_holds_up_nobody_else(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    """One fdatasync takes 4 s: that cancel gets 503 with nothing sent, /healthz answers before it does."""
    strace.required()
    setup = Setup(simulator.url, tmp_path / "gateway", audit="{directory: audit, durability: fsync}")
    tracer = ["strace", "-D", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=fdatasync"]
    with RunningGateway(setup, before=[*tracer, f"--inject={DELAYED}"]) as gateway:
        assert gateway.cancel(f"{OWN}&count=1").status == 200
        answers: list[Answer] = []
        slow = threading.Thread(target=lambda: answers.append(gateway.cancel(f"{OWN}&count=2")))
        slow.start()
        assert gateway.request("GET", "/healthz", team=None).status == 200
        assert not answers
        slow.join()
        until(lambda: gateway.request("GET", "/readyz", team=None).status == 200)
    assert [(answer.status, answer.json()["code"]) for answer in answers] == [(503, "audit_unavailable")]
    assert len(simulator.ledger) == 1
    assert [record["outcome"] for record in gateway.records("outcome")] == ["cancelled", "not_sent"]


@pytest.mark.parametrize("obstacle", ["a file in its place", "no parent"])
def test_an_audit_directory_that_cannot_be_used_refuses_the_start(
    obstacle: str, simulator: SimulatorServer, tmp_path: Path
) -> None:
    """As `check` has it: 3, the place in the configuration, and no port; it never runs without its record."""
    place = tmp_path / "place" / "audit"
    if obstacle == "a file in its place":
        place.parent.mkdir()
        place.write_text("")
    setup = Setup(simulator.url, tmp_path / "gateway", audit=f'{{directory: "{place}"}}')
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(setup.write())]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 3
    assert str(place.parent if obstacle == "no parent" else place) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_gateways_in_one_directory_have_a_chain_each(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Neither recovers what the other is writing; each chain holds its own process's decisions and is intact."""
    audit = f'{{directory: "{tmp_path / "audit"}", durability: fsync}}'
    first = Setup(simulator.url, tmp_path / "first", audit=audit)
    second = Setup(simulator.url, tmp_path / "second", audit=audit)
    with RunningGateway(first) as one, RunningGateway(second) as other:
        threads = [
            threading.Thread(target=gateway.cancel, args=(f"{OWN}&count={count}",))
            for gateway in (one, other)
            for count in range(1, 11)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    records = one.records()
    assert len({record["instance"] for record in records}) == 2
    assert [record["event"] for record in records].count("intent") == 20
    assert [record["event"] for record in records].count("recovery") == 0
    assert findings(tmp_path / "audit") == {"INTACT"}


async def test_the_outcome_is_recorded_when_the_caller_cannot_be_asked_whether_he_is_there() -> None:
    """Asking may fail, for want of a descriptor: after the receipt the outcome is recorded all the same."""
    log = MemoryLog()

    async def broken() -> bool:
        raise OSError(24, "Too many open files")

    settled = await pipeline(PromptUpstream(), log).run(
        Call(POLICIES, ANN, REQUEST, "d1", "127.0.0.1", broken, lambda: None)
    )
    assert isinstance(settled, Done)
    assert settled.outcome == Cancelled(200, 50)
    assert [(closing.outcome, closing.caller_gone) for closing in log.closings()] == [(Cancelled(200, 50), True)]


async def test_asking_whether_the_caller_is_there_never_fails() -> None:
    """Who cannot be asked counts as gone."""

    async def broken() -> dict:
        raise OSError(24, "Too many open files")

    nobody = Authenticator((), is_upstream_token=lambda digest: False)
    live = InForce(Policies((), "digest"), nobody, (), Pins(), Limits(), TrustedProxies(()))
    inbound = Inbound({"type": "http", "headers": []}, broken, "d1", None, live)
    assert await inbound.gone()
