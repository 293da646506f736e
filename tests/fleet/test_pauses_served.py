"""A pause that ends by itself, by gateway processes over a real store: resumed once, whatever happens in between."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Kind
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.support.holdings import small_holdings
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until

PAUSE = "/v2/queues/qn/pause"
HOUR_MS = 3_600_000
STATE = 'state: {url: "sqlite:state.db"}\noperators: {teams: [platform]}\n'
POLICY = """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: queues, action: [pause, resume], queue: {any_of: [qn]}}
"""


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(Simulator(holdings=small_holdings()), token=REAL_TOKEN) as server:
        yield server


def made(url: str, directory: Path, *, more: str = STATE, policy: str = POLICY) -> RunningGateway:
    """A gateway before an account."""
    policies, teams = {"billing.yaml": policy}, ("billing", "platform")
    return RunningGateway(Setup(url, directory / "gateway", policies, teams, more=more))


def paused(gateway: RunningGateway, lasts: str = "1h") -> str:
    """Pauses the queue for so long; the decision."""
    answer = gateway.request("POST", PAUSE, headers={"Gateway-Until": lasts})
    assert (answer.status, answer.body) == (200, b"")
    return answer.headers["gateway-decision"]


def passes(gateway: RunningGateway, milliseconds: int = HOUR_MS) -> None:
    """What time does to timers, without the time."""
    change(gateway, "UPDATE timers SET due_ms = due_ms - ?", milliseconds)


def change(gateway: RunningGateway, statement: str, *values: object) -> None:
    """Does something to the store that no gateway does."""
    with closing(sqlite3.connect(gateway.audit_directory / "state.db", timeout=20)) as store, store:
        store.execute(statement, values)


def stages(gateway: RunningGateway) -> list[str]:
    """How far each timer has come."""
    with closing(sqlite3.connect(gateway.audit_directory / "state.db", timeout=20)) as store:
        return [stage for (stage,) in store.execute("SELECT stage FROM timers")]


def kinds(simulator: SimulatorServer) -> list[Kind]:
    """What has reached QStash."""
    return [entry.kind for entry in simulator.ledger]


def told(gateway: RunningGateway, word: str) -> Callable[[], bool]:
    """Whether operators are told something with this word in it."""
    return lambda: word in str(gateway.request("GET", "/readyz", team=None).json()["notices"])


def test_it_is_resumed_on_record_when_its_time_has_come(simulator: SimulatorServer, tmp_path: Path) -> None:
    """The header stays here; both intents are on record, and that of the resume names the pause."""
    with made(simulator.url, tmp_path) as gateway:
        decision = paused(gateway)
        [sent] = simulator.ledger
        assert not [name for name, _ in sent.call.headers if name.startswith("gateway")]
        assert (simulator.simulator.holdings.switches["queues/qn"], stages(gateway)) == (True, ["waiting"])
        passes(gateway)
        until(lambda: not simulator.simulator.holdings.switches["queues/qn"])
        until(lambda: not stages(gateway))
        pause, resume = gateway.records("intent")
        assert pause["asked"] == {"queue": ["qn"], "count": 1, "Gateway-Until": "1h"}
        assert (resume["asked"], resume["ends"]) == ({"queue": ["qn"], "count": 1}, decision)
        assert (resume["principal"], resume["remote"]) == (pause["principal"], None)
        until(lambda: len(gateway.records("outcome")) == 2)
    assert kinds(simulator) == [Kind.PAUSE, Kind.RESUME]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_outlives_the_process(simulator: SimulatorServer, tmp_path: Path, how: str) -> None:
    """It is the store that remembers."""
    gateway = made(simulator.url, tmp_path)
    with gateway:
        paused(gateway)
        getattr(gateway, how)()
        passes(gateway)
        gateway.start()
        until(lambda: not stages(gateway))
    assert kinds(simulator) == [Kind.PAUSE, Kind.RESUME]


def test_a_resume_in_flight_at_a_kill_is_not_repeated(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Its intent is on record, and nobody knows what came of it: that stands as a notice."""
    with HeldAnswers(int(simulator.url.rpartition(":")[2])) as proxy, made(proxy.url, tmp_path) as gateway:
        paused(gateway)
        with proxy.held(b"POST "):
            passes(gateway)
            until(lambda: kinds(simulator) == [Kind.PAUSE, Kind.RESUME])
            gateway.kill()
        gateway.start()
        until(told(gateway, "whether it was resumed is not known"))
        assert stages(gateway) == ["stuck"]
        passes(gateway, 10 * HOUR_MS)
        gateway.stop()
        gateway.start()
        until(told(gateway, "whether it was resumed is not known"))
        assert gateway.request("POST", "/v2/queues/qn/resume").status == 200
        until(lambda: not told(gateway, "qn")())
        assert stages(gateway) == []
    assert kinds(simulator) == [Kind.PAUSE, Kind.RESUME, Kind.RESUME]


def test_a_resume_without_an_intent_at_a_kill_is_resumed_then(simulator: SimulatorServer, tmp_path: Path) -> None:
    """The process died between the store and its record: nothing was sent."""
    gateway = made(simulator.url, tmp_path)
    with gateway:
        paused(gateway)
        instance = gateway.records("intent")[0]["instance"]
        gateway.kill()
        change(gateway, "UPDATE timers SET stage = 'taken', resume_id = 'r', instance = ?, due_ms = 1", instance)
        gateway.start()
        until(lambda: not stages(gateway))
    assert kinds(simulator) == [Kind.PAUSE, Kind.RESUME]


@pytest.mark.parametrize("answered", [True, False])
def test_a_pause_in_flight_at_a_kill_is_settled_by_the_record(
    simulator: SimulatorServer, tmp_path: Path, *, answered: bool
) -> None:
    """Where its outcome is on record the timer waits from now on; else whether it is paused is not known."""
    with HeldAnswers(int(simulator.url.rpartition(":")[2])) as proxy, made(proxy.url, tmp_path) as gateway:
        if answered:
            paused(gateway)
            gateway.kill()
            change(gateway, "UPDATE timers SET stage = 'prepared', due_ms = NULL")
        else:
            with proxy.held(b"POST "), pytest.raises(OSError):
                _ask_and_kill(gateway, simulator)
        gateway.start()
        until(lambda: stages(gateway) == (["waiting"] if answered else ["stuck"]))
        until(lambda: answered or told(gateway, "whether it was paused at all is not known")())
    assert kinds(simulator) == [Kind.PAUSE]


def _ask_and_kill(gateway: RunningGateway, simulator: SimulatorServer) -> None:
    """Pauses, and kills the gateway when the pause has arrived. Raises: OSError: the connection ended."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.request, "POST", PAUSE, headers={"Gateway-Until": "1h"})
        until(lambda: kinds(simulator) == [Kind.PAUSE])
        gateway.kill()
        asked.result()


def test_two_gateways_over_one_store_resume_it_once(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Each looks every second."""
    first = made(simulator.url, tmp_path / "a")
    with first:
        shared = f'state: {{url: "sqlite:{first.audit_directory / "state.db"}"}}\n'
        with made(simulator.url, tmp_path / "b", more=shared) as second:
            paused(first)
            passes(first)
            until(lambda: not stages(first))
            resumes = [one for gateway in (first, second) for one in gateway.records("intent") if "ends" in one]
            assert len(resumes) == 1
    assert kinds(simulator) == [Kind.PAUSE, Kind.RESUME]


def test_a_freeze_holds_it_back_and_says_so(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Until somebody thaws it."""
    with made(simulator.url, tmp_path) as gateway:
        paused(gateway)
        members = b'{"team": "billing", "reason": "at night"}'
        headers = {"Content-Type": "application/json"}
        freeze = gateway.request("POST", "/gateway/v1/freezes", team="platform", body=members, headers=headers)
        assert freeze.status == 201
        passes(gateway)
        until(told(gateway, "the resume is held back by freeze"))
        assert kinds(simulator) == [Kind.PAUSE]
        name = freeze.json()["id"]
        assert gateway.request("DELETE", f"/gateway/v1/freezes/{name}", team="platform").status in (200, 204)
        until(lambda: not stages(gateway))
    assert kinds(simulator) == [Kind.PAUSE, Kind.RESUME]


def test_policies_of_then_are_asked(simulator: SimulatorServer, tmp_path: Path) -> None:
    """A team that may not resume any more: the refusal is on record, and what is paused is named."""
    gateway = made(simulator.url, tmp_path)
    with gateway:
        paused(gateway)
        gateway.stop()
        passes(gateway)
        gateway.setup.policies = {"billing.yaml": POLICY.replace("[pause, resume]", "pause")}
        gateway.start()
        until(told(gateway, "policy does not allow the resume any more"))
        [denied] = gateway.records("denied")
        assert denied["ends"] == gateway.records("intent")[0]["decision_id"]
    assert kinds(simulator) == [Kind.PAUSE]


def test_a_later_pause_without_an_end_stays(simulator: SimulatorServer, tmp_path: Path) -> None:
    """It replaces the timer."""
    with made(simulator.url, tmp_path) as gateway:
        paused(gateway)
        assert gateway.request("POST", PAUSE).status == 200
        until(lambda: not stages(gateway))
        paused(gateway, "2h")
        paused(gateway, "3h")
        until(lambda: stages(gateway) == ["waiting"])
    assert kinds(simulator) == [Kind.PAUSE] * 4


def test_without_state_it_is_refused_before_anything_is_sent(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Nobody would remember it. The sentence says what to do."""
    with made(simulator.url, tmp_path, more="") as gateway:
        answer = gateway.request("POST", PAUSE, headers={"Gateway-Until": "1h"})
        assert (answer.status, answer.json()["code"]) == (409, "needs_state")
        assert "pause without Gateway-Until" in str(answer.json()["error"])
        assert gateway.request("POST", PAUSE).status == 200
    assert kinds(simulator) == [Kind.PAUSE]
