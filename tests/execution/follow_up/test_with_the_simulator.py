"""The settler with the real reading of upstream, against the simulated one over sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.audit.log import AuditLog, AuditSettings
from gateway.core.outcome import Accepted, Cancelled, Outcome, Progress, Unknown
from gateway.core.plan import Order, Plan, Receipt
from gateway.core.run import Listing, Run
from gateway.execution.follow_up import Settler
from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from gateway.upstream.cancel import Upstream
from gateway.upstream.client import Exchange, UpstreamLimits
from gateway.upstream.direct import make_transport
from gateway.upstream.runs.log import UpstreamLog
from gateway.upstream.token import AccountTokens, TokenHolder, UpstreamToken
from tests.execution.follow_up.fakes import BY_URL, ScriptedLog, Told, by_filter, plan_of, report

WAIT_S = 20
TIMEOUT_S = 5


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


@dataclass
class Heard(Told):
    """Can be waited for."""

    first: asyncio.Event = field(default_factory=asyncio.Event)

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        super().note_soon(event, members)
        self.first.set()


class WatchedLog(UpstreamLog):
    """Tells when runs have been looked up."""

    looked: asyncio.Event

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        listing = await super().look_up(run_ids)
        self.looked.set()
        return listing


@dataclass
class Way:
    """The real way to upstream and back: orders out, and what is learnt of them later."""

    upstream: Upstream
    settler: Settler
    heard: Heard
    looked: asyncio.Event

    async def sent(self, plan: Plan) -> list[Outcome]:
        """Sends every order of a plan."""
        return [await self.upstream.send(order, Receipt(plan.decision_id, 1)) for order in plan.orders]

    async def settled(self, plan: Plan, outcome: Outcome) -> Mapping[str, object]:
        """What is recorded of an outcome in the end."""
        self.settler.follow(plan, outcome)
        async with asyncio.timeout(WAIT_S):
            await self.heard.first.wait()
        (members,) = self.heard.settled
        return members


@asynccontextmanager
async def way_to(server: SimulatorServer) -> AsyncIterator[Way]:
    """With both of the account's tokens."""
    writing, reading = (TokenHolder(UpstreamToken(token), 0) for token in (server.token, server.read_token))
    limits = UpstreamLimits(TIMEOUT_S, TIMEOUT_S)
    upstream = Upstream(server.url, writing, limits=limits, transport=make_transport(max_connections=8))
    exchange = Exchange(server.url, limits=limits, transport=make_transport(max_connections=8))
    log, heard = WatchedLog(exchange, tokens=AccountTokens(writing, reading), clock=SystemClock()), Heard()
    log.looked = asyncio.Event()
    settler = Settler(log, heard, operators_log=heard, reads_back=True)
    try:
        yield Way(upstream, settler, heard, log.looked)
    finally:
        await settler.stop()
        await upstream.aclose()
        await log.aclose()


@contextmanager
def account(*, in_background: bool = False) -> Iterator[SimulatorServer]:
    """Sixty runs under the newest contract."""
    runs = make_runs(60, SystemClock().now_ms(), seed=0)
    simulator = Simulator(runs, contract=Contract.V2026_09, always_in_background=in_background, action_ms=700)
    with SimulatorServer(simulator) as server:
        yield server


def running(server: SimulatorServer, number: int) -> Sequence[Run]:
    """Some running runs as a look-up shows them."""
    runs = [run for run in server.simulator.runs if run.running]
    return [Run(run.run_id, run.url, run.created_ms) for run in runs[:number]]


@pytest.mark.parametrize("in_background", [False, True])
async def test_a_filter_is_settled_with_the_runs_that_were_cancelled(in_background: bool) -> None:
    """Whether the answer has a number or an action ID alone; the filter is the one sent, more than count an alarm."""
    with account(in_background=in_background) as server:
        async with way_to(server) as way:
            plan = plan_of(Order(BY_URL, 3))
            (outcome,) = await way.sent(plan)
            members = await way.settled(plan, outcome)
        cancelled = len(server.simulator.cancelled)
    assert cancelled > 3, "the simulator ignores count"
    assert members["cancelled"] == cancelled
    assert (members["over_cancelled"], members["filter_wider"]) == (cancelled - 3, False)
    # Of a number in the answer the edge has told already.
    assert [name for name, _ in way.heard.alarms] == (["over_cancelled"] if in_background else [])


async def test_a_lost_answer_is_settled_by_the_runs() -> None:
    """The order took effect: nobody saw the answer, and the runs say so."""
    with account() as server:
        async with way_to(server) as way:
            plan = plan_of(runs=running(server, 12))
            server.simulator.script(Fault(acts=True, ending=Ending.RESET))
            (outcome,) = await way.sent(plan)
            assert isinstance(outcome, Unknown)
            members = await way.settled(plan, outcome)
        assert len(server.simulator.cancelled) == 12
    assert (members["cancelled"], members["still_running"]) == (12, 0)


async def test_a_lost_order_leaves_its_runs_running() -> None:
    """The order did not arrive; the process ends after the first look, and what it saw is on record."""
    with account() as server:
        async with way_to(server) as way:
            plan = plan_of(runs=running(server, 12))
            server.simulator.script(Fault(ending=Ending.RESET))
            (outcome,) = await way.sent(plan)
            way.settler.follow(plan, outcome)
            await way.looked.wait()
        assert server.simulator.cancelled == ()
    (members,) = way.heard.settled
    assert (members["cancelled"], members["still_running"], members["cause"]) == (0, 12, "stopping")


async def test_a_plan_that_failed_in_the_middle_is_settled_by_what_was_sent() -> None:
    """One order carried out, one lost, one not sent: the true number is that of the first two."""
    with account() as server:
        async with way_to(server) as way:
            runs = running(server, 30)
            parts = [plan_of(runs=part) for part in (runs[:10], runs[10:20], runs[20:])]
            (first,) = await way.sent(parts[0])
            assert first == Cancelled(200, 10)
            server.simulator.script(Fault(acts=True, ending=Ending.RESET))
            await way.sent(parts[1])
            unknown, unsent = (tuple(run.run_id for run in part.runs) for part in parts[1:])
            plan = plan_of(runs=runs)._replace(orders=tuple(order for part in parts for order in part.orders))
            members = await way.settled(plan, Unknown("reset", None, Progress(10, unsent, unknown)))
        assert len(server.simulator.cancelled) == 20
    assert (members["ordered"], members["cancelled"]) == (20, 20)


async def test_what_was_learnt_is_in_the_chain(tmp_path: Path) -> None:
    """The real log takes it without waiting, also at the very end of the process."""
    settings = AuditSettings(tmp_path / "audit", "os", stdout=False, mac_key=None)
    audit = await AuditLog.open(settings, instance="i", upstream="u", start={})
    settler = Settler(ScriptedLog([report(7)]), audit, operators_log=Told(), reads_back=True)
    settler.follow(by_filter(), Accepted(202, "act_1"))
    await asyncio.sleep(1)
    settler.follow(by_filter(), Accepted(202, "act_2"))
    await settler.stop()
    await audit.stop({})
    lines = b"".join(path.read_bytes() for path in (tmp_path / "audit").glob("*.jsonl")).splitlines()
    settled = [record for record in map(json.loads, lines) if record["event"] == "settled"]
    assert [(record["action_id"], record["cancelled"]) for record in settled] == [("act_1", 7), ("act_2", None)]
