"""For N = 1, 2, 3 … until the fault was not met any more: a life with the fault, a restart without, the comparison."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit.evidence.verify import Finding, verify
from tests.reliability.crash.laws import NOT_INTACT, recorded
from tests.reliability.crash.load import call, ready
from tests.reliability.crash.loop import LONGEST_ROUND_S, Batch, Life
from tests.reliability.crash.points import CALLERS, mid_write
from tests.reliability.crash.victim import Tracer, Victim
from tests.reliability.disk.faults import Failing

CALLS_EACH = 3
CHAINS = 12
READY_S = 20.0
FIRST_SIGNAL_S = 10.0
NOT_READY = "gateways that did not become ready again"
DID_NOT_END = "gateways that did not end"
DIED = "gateways that died of a fault while they served"
LEFT_OPEN = "intents that a gateway left open although it could write"


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and the largest N that is tried."""

    fault: Failing
    most: int = 1000


@dataclass(slots=True)
class Outcome:
    """What became of a case: how many N met the fault, and what was broken.

    Of the gateways some refused to start, and some died on their way: the fault made a library call `abort`.
    """

    case: Case
    met: int = 0
    refused_starts: int = 0
    deaths: int = 0
    cancels: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    kept: str | None = None


class DiskBatch(Batch):
    """All N of one case."""

    chain_bytes = 6_000

    def __init__(self, case: Case, directory: Path) -> None:
        super().__init__(1, directory)
        self.outcome = Outcome(case)
        self._fault = case.fault
        self.durability = case.fault.durability

    async def every_n(self) -> None:
        """Every N in turn."""
        await self.within(self._lives)

    async def _lives(self) -> None:
        live = self._start if self._fault.phase == "start" else self._serve
        for number in itertools.count(1):
            life = Life(sent_before=len(self._ledger.sent))
            async with asyncio.timeout(LONGEST_ROUND_S):
                met = await live(number, life)
                await (await self._born()).stop()
            self._compare(life, may_owe=True)
            self._begin_anew()
            self.outcome.met += met
            if not met or number == self.outcome.case.most:
                break
        await (await self._born()).stop()

    def _begin_anew(self) -> None:
        """Each N has an audit directory of its own: a start makes more calls the more chains it finds."""
        audit = self._nursery.audit_directory
        reports = verify(sorted(audit.iterdir()), checkpoints={}, whole=True)
        self.tally.broken[NOT_INTACT] += sum(report.finding is not Finding.INTACT for report in reports)
        if not +self.tally.broken:
            shutil.rmtree(audit)
            self._ledger.sent.clear()

    async def _serve(self, number: int, life: Life) -> bool:
        victim = await self._born()
        tracer = Tracer(victim, self._trace)
        await tracer.attach(*self._injections(number), paths=self._written_by(victim))
        await self._calls(victim, life, f"{number}", each=CALLS_EACH)
        if not self._fault.stays and not await self._ready_again(victim):
            self.tally.broken[NOT_READY] += 1
        met = await self._end(victim, life, tracer)
        self.tally.broken[DIED] += await tracer.died()
        if not self._fault.stays:
            self._judge_left_open(life)
        return met

    async def _start(self, number: int, life: Life) -> bool:
        scene = self._scene(await self._born(), life.told, f"{number}")
        await mid_write(scene)
        life.begun += scene.victim.segments()
        victim = await self._nursery.bear(traced=True)
        tracer = Tracer(victim, self._trace)
        await tracer.attach(*self._injections(number), paths=self._written_by(victim, after=scene.victim))
        victim.go_on()
        served = await victim.until_ready()
        if served:
            await self._calls(victim, life, f"{number}after", each=1)
        met = await self._end(victim, life, tracer)
        if await tracer.died():
            # As after a kill, what is open waits for the next start.
            self.outcome.deaths += 1
        elif not served:
            self.outcome.refused_starts += 1
        else:
            # Its own chains only: one that it could not recover waits for the next start.
            self._judge_left_open(Life(begun=victim.segments()))
        return met

    def _written_by(self, victim: Victim, *, after: Victim | None = None) -> list[Path]:
        """The files on which calls count: of its log, and in a start those of the chain to recover and its messages."""
        if not self._fault.on_files:
            return []
        left = after.possible_segments(0) if after is not None else []
        torn = [path.with_suffix(".torn") for path in left]
        return [*victim.possible_segments(CHAINS), *left, *torn, *([victim.output] if after is not None else [])]

    def _judge_left_open(self, life: Life) -> None:
        self.tally.broken[LEFT_OPEN] += len(recorded(life.files()).open_queries)

    async def _calls(self, victim: Victim, life: Life, name: str, *, each: int) -> None:
        asked = self._scene(victim, life.told, name).asked
        calls = (call(victim.port, victim.key, asked, life.told, most=each) for _ in range(CALLERS))
        await asyncio.gather(*calls)

    async def _ready_again(self, victim: Victim) -> bool:
        deadline_s = time.monotonic() + READY_S
        while not victim.ended and time.monotonic() < deadline_s:
            if await ready(victim.port):
                return True
            await asyncio.sleep(0.02)
        return False

    async def _end(self, victim: Victim, life: Life, tracer: Tracer) -> bool:
        # The call that fails may be the write by which the process hears of a signal, so there is a second one.
        if not await victim.stop(FIRST_SIGNAL_S) and not await victim.stop():
            self.tally.broken[DID_NOT_END] += 1
            await victim.kill()
        life.begun += victim.segments()
        return await tracer.injected() > 0

    def _injections(self, number: int) -> list[str]:
        return [injection.format(number) for injection in self._fault.injections]


def run_case(case: Case) -> Outcome:
    """One case in a directory of its own, which is kept if a law was broken."""
    directory = Path(tempfile.mkdtemp(prefix="disk-"))
    batch = DiskBatch(case, directory)
    outcome = batch.outcome
    outcome.kept = batch.to_the_end(batch.every_n())
    outcome.broken, outcome.cancels = +batch.tally.broken, batch.tally.cancels
    return outcome
