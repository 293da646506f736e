"""A gateway that ends says so: it is waited for and named as silent no more, and what it could not write is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.audit.segment import ChainLock, OsDisk
from gateway.core.errors import FreezeUnsure
from gateway.fleet.taken import died
from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from gateway.state.freezes import FORGOTTEN_MS
from tests.fleet.fleets import BILLING, Member, shared
from tests.fleet.test_served import STATE, post, setup
from tests.fleet.test_taken import ALIVE, DEAD, OWN, chain
from tests.support.gateway import REAL_TOKEN, RunningGateway
from tests.support.waiting import until


async def test_a_gateway_that_has_left_is_neither_waited_for_nor_silent() -> None:
    """One that was killed is silent, for a bounded time; nobody knows what it has in force."""
    store = shared()
    here, there, killed = (Member(store, name) for name in ("a", "b", "c"))
    for member in (here, there, killed):
        await member.beat()
    await there.following.leave(["b"])
    store.gateways["c"] = replace(store.gateways["c"], seen_ms=store.now_ms() - FORGOTTEN_MS + 1)
    await here.beat()
    _, reached = await here.switch.freeze(BILLING, reason="x", until_ms=None, by="platform/ops")
    assert (reached.in_force, reached.silent) == (["a"], ["c"])
    store.gateways["c"] = replace(store.gateways["c"], seen_ms=store.now_ms() - FORGOTTEN_MS - 1)
    await here.beat()
    _, later = await here.switch.freeze(BILLING, reason="y", until_ms=None, by="platform/ops")
    assert later.silent == []


async def test_leaving_a_store_that_is_away_raises_nothing() -> None:
    """The process ends; it is silent for a while then."""
    store = shared()
    here = Member(store)
    await here.beat()
    store.fails = "unreachable"
    await here.following.leave(["a"])
    assert list(store.gateways) == ["a"]


async def test_a_freeze_that_could_not_be_written_is_written_at_the_end() -> None:
    """Once more, before the process is gone that held it."""
    store = shared()
    here, there = Member(store, "a"), Member(store, "b")
    for member in (here, there):
        await member.beat()
    store.fails = "timeout"
    with pytest.raises(FreezeUnsure):
        await here.switch.freeze(BILLING, reason="x", until_ms=None, by="platform/ops")
    store.fails = None
    await here.following.end()
    await there.beat()
    assert (there.frozen, here.freezes.unwritten()) == (True, [])
    assert "freeze_lost" not in [event for event, _ in here.lines.said]


async def test_a_freeze_that_is_lost_with_its_process_is_told_to_operators() -> None:
    """Which one, and what it was about, so that somebody freezes again."""
    store = shared()
    here = Member(store)
    await here.beat()
    store.fails = "unreachable"
    with pytest.raises(FreezeUnsure) as unsure:
        await here.switch.freeze(BILLING, reason="x", until_ms=None, by="platform/ops")
    await here.following.end()
    told = [members for event, members in here.lines.said if event == "freeze_lost"]
    assert told == [{"freeze_id": unsure.value.freeze_id, "team": "billing", "rule": None}]


async def test_of_the_processes_of_a_directory_those_that_ended_are_known(tmp_path: Path) -> None:
    """By the lock on their chains; one that lives, this one, and one of elsewhere are not among them."""
    chain(tmp_path, DEAD)
    chain(tmp_path, OWN)
    lock = ChainLock.take(OsDisk(), tmp_path, ALIVE, first=chain(tmp_path, ALIVE))
    assert lock is not None
    try:
        assert await died(tmp_path, OWN, [DEAD, ALIVE, OWN, "elsewhere"]) == [DEAD]
        assert await died(tmp_path, OWN, ["elsewhere"]) == []
    finally:
        lock.release()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway with operators and a state of its own."""
    with (
        SimulatorServer(Simulator([]), token=REAL_TOKEN) as upstream,
        RunningGateway(setup(upstream, tmp_path / "gateway", more=STATE)) as running,
    ):
        yield running


def silent(gateway: RunningGateway) -> object:
    """The gateways of which a new freeze says that nobody knows."""
    made = post(gateway, reason="x", team="search")
    assert made.status == 201, made.body
    return made.json()["silent"]


def listed(gateway: RunningGateway) -> list[str]:
    """The gateways that the store names."""
    with closing(sqlite3.connect(gateway.audit_directory / "state.db")) as link:
        return [name for (name,) in link.execute("SELECT instance FROM gateways")]


def test_after_a_clean_end_nothing_of_it_is_silent(gateway: RunningGateway) -> None:
    """SIGTERM and a new start: the store names the one that serves."""
    gateway.stop()
    assert listed(gateway) == []
    gateway.start()
    assert silent(gateway) == []


def test_a_killed_process_is_not_silent_once_it_was_started_again(gateway: RunningGateway) -> None:
    """The next process on its directory finds that it has ended, and says it."""
    gateway.kill()
    assert len(listed(gateway)) == 1
    gateway.start()
    until(lambda: len(listed(gateway)) == 1)
    assert silent(gateway) == []


def test_a_freeze_that_is_lost_at_a_stop_stands_in_the_operators_log(gateway: RunningGateway) -> None:
    """The store is locked by somebody else until the process has ended."""
    with closing(sqlite3.connect(gateway.audit_directory / "state.db", isolation_level=None)) as link:
        link.execute("BEGIN EXCLUSIVE")
        unsure = post(gateway, team="billing", reason="second")
        assert unsure.status == 503
        assert gateway.stop() == 0
        link.execute("ROLLBACK")
    told = [json.loads(line) for line in gateway.stderr().splitlines() if '"freeze_lost"' in line]
    assert [one["freeze_id"] for one in told] == [unsure.json()["id"]]
