"""UpstreamLog as `serve` makes it, in front of a real socket, with time that passes only by its own waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.core.request import ByFilter
from gateway.core.run import LookUpBounds
from gateway.simulator.account import LogManner
from gateway.simulator.core import Simulator
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from gateway.upstream.client import Exchange, UpstreamLimits
from gateway.upstream.pool import PooledTransport
from gateway.upstream.runs.log import MAX_READINGS, UpstreamLog
from gateway.upstream.token import AccountTokens, TokenHolder, UpstreamToken
from tests.support.stand_ins import StillClock

WRITING = "CANARY-writing-1a2b3c4d5e6f70819"
READING = "CANARY-reading-9f8e7d6c5b4a39281"
NOW_MS = 1_795_000_000_000
INVOICE = "https://billing.example.com/api/invoice"
OURS = ByFilter((INVOICE,), exact=True)


@dataclass
class Time(StillClock):
    """A clock that moves by what was waited for, and by nothing else."""

    waits: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.steady_s += seconds
        self.wall_ms += int(seconds * 1000)


def tokens(reading: str | None = READING) -> AccountTokens:
    """The account's tokens; with None there is no read-only one."""
    return AccountTokens(
        TokenHolder(UpstreamToken(WRITING), 0),
        None if reading is None else TokenHolder(UpstreamToken(reading), 0),
    )


@asynccontextmanager
async def opened(
    url: str,
    *,
    time: Time | None = None,
    account: AccountTokens | None = None,
    total_timeout_s: float = 20,
    deadline_s: float = 60,
    max_runs: int = 10_000,
) -> AsyncIterator[UpstreamLog]:
    """The log at an address."""
    clock = time or Time()
    transport = PooledTransport(max_connections=MAX_READINGS, connect_timeout_s=10)
    exchange = Exchange(url, limits=UpstreamLimits(10, total_timeout_s), transport=transport)
    log = UpstreamLog(
        exchange,
        tokens=account or tokens(),
        clock=clock,
        sleep=clock.sleep,
        bounds=lambda: LookUpBounds(max_runs, deadline_s),
    )
    try:
        yield log
    finally:
        await log.aclose()


def serving(*runs: Run, log: LogManner | None = None, latency_ms: int = 0) -> SimulatorServer:
    """A simulated upstream with these runs and the tokens of these tests."""
    simulator = Simulator(runs, log=log)

    def days_later() -> int:
        """When the index knows also the runs that a test gives a date after the others."""
        return NOW_MS + 3 * 86_400_000

    return SimulatorServer(simulator, token=WRITING, read_token=READING, clock=days_later, latency_ms=latency_ms)


def run(number: int, *, url: str = INVOICE, run_id: str | None = None, labels: tuple[str, ...] = ()) -> Run:
    """A running run, the older the smaller its number."""
    return Run(run_id or f"wfr_{number:05d}", url, NOW_MS - 10_000_000 + number * 1000, labels=labels)


def runs(number: int) -> tuple[Run, ...]:
    """So many running runs of one workflow."""
    return tuple(run(index) for index in range(number))
