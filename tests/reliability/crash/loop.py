"""Round after round: a gateway lives under load and dies; the next one recovers what it left; then all is compared.

All rounds of a batch share one audit directory. The gateway that recovers a round is the victim of the next.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.reliability.crash.laws import LAWS, NOT_ENDED, NOT_INTACT, Recorded, recorded, violations
from tests.reliability.crash.ledger import Ledger, Sent
from tests.reliability.crash.load import Told, queries
from tests.reliability.crash.points import (
    CHAIN_BYTES,
    POINTS,
    Point,
    Scene,
    after_send,
    mid_write,
    recovery_injection,
)
from tests.reliability.crash.victim import Nursery, Tracer, Victim
from tests.support.gateway import Setup

RECOVERY = "during recovery"
LONGEST_ROUND_S = 120.0
"""Who does not come to an end in this time, on a busy machine too, never will."""
POLICY = """version: 1
name: crash
teams: [crash]
allow:
  - {id: by-name, workflowRunIds: {max: 20, prefix: [wfr_]}, owner: unchecked}
"""


COLUMNS = {
    "kills": "kills",
    "reached": "reached",
    "between": "between",
    "not sent": "unsent",
    "sent": "unanswered",
    "answered": "answered",
    "torn tails": "torn",
}
"""What the table of every batch shows, and the members of `Tally` that hold it."""


@dataclass(slots=True)
class Tally:
    """What happened, by named point where it says so."""

    kills: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    between: Counter[str] = field(default_factory=Counter)
    unsent: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    torn: Counter[str] = field(default_factory=Counter)
    given_back: Counter[str] = field(default_factory=Counter)
    intents: int = 0
    cancels: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    kept: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Counts another's as well."""
        for name in (*COLUMNS.values(), "given_back", "broken"):
            getattr(self, name).update(getattr(other, name))
        self.intents += other.intents
        self.cancels += other.cancels
        self.kept += other.kept

    def killed(self, point: str, left: Recorded, sent: Sequence[Sent], *, reached: bool, torn: bool) -> None:
        """Notes what a death left behind."""
        arrived = {entry.query: entry for entry in sent}
        open_queries = left.open_queries
        self.kills[point] += 1
        self.reached[point] += reached
        self.between[point] += bool(open_queries)
        self.torn[point] += torn
        self.unsent[point] += sum(query not in arrived for query in open_queries)
        self.unanswered[point] += sum(query in arrived and not arrived[query].answered for query in open_queries)
        self.answered[point] += sum(query in arrived and arrived[query].answered for query in open_queries)


@dataclass(slots=True)
class Life:
    """A round: what was told and sent while it lasted, and a file of each chain that it began."""

    told: Told = field(default_factory=Told)
    sent_before: int = 0
    begun: list[Path] = field(default_factory=list)

    def files(self) -> list[Path]:
        """The files of these chains now: a recovery may begin another."""
        chains = {path.name.partition(".")[0]: path.parent for path in self.begun}
        return [path for chain, directory in chains.items() for path in sorted(directory.glob(f"{chain}.*.jsonl"))]


class Batch:
    """Rounds that share an audit directory and an upstream.

    `more` are columns of its table beside `COLUMNS`, `loaded` the modules that its gateways have from the start, and
    `before_recovery` the deaths whose recovery is killed.
    """

    title = "requests by run IDs"
    chain_bytes = CHAIN_BYTES
    durability = "fsync"
    points: ClassVar[Mapping[str, Point]] = POINTS
    laws: ClassVar[Sequence[str]] = LAWS
    more: ClassVar[Mapping[str, str]] = {}
    loaded: ClassVar[Sequence[str]] = ()
    before_recovery: ClassVar[Sequence[Point]] = (after_send, mid_write)

    def __init__(self, seed: int, directory: Path) -> None:
        self.tally = Tally()
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 - moments and places, no secret
        self._directory = directory
        self._trace = directory / "trace"

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Where its gateways die."""
        return (*cls.points, RECOVERY)

    async def run(self, points: Sequence[str]) -> None:
        """A round for each point, then a clean end, and the verification of the whole directory."""
        await self.within(lambda: self._rounds(points))

    async def within(self, lives: Callable[[], Awaitable[None]]) -> None:
        """Upstream and the process that forks, around the lives; then the verification."""
        self._ledger = await self._upstream(self._rng).start()
        setup = self._setup(self._ledger.url)
        setup.audit = f"{{directory: audit, durability: {self.durability}}}"
        self._nursery = Nursery(setup, chain_bytes=self.chain_bytes, loaded=self.loaded)
        await self._nursery.open()
        try:
            await lives()
        finally:
            await self._nursery.close()
            self._ledger.stop()
        self._verify_all()

    def to_the_end(self, work: Coroutine[None, None, None]) -> str | None:
        """Does the work in a loop of its own; what ends it is counted and written down.

        Returns the directory where a law was broken; otherwise it is removed.
        """
        try:
            asyncio.run(work)
        except Exception:  # noqa: BLE001 - the other batches go on, and there is a table
            self.tally.broken[NOT_ENDED] += 1
            (self._directory / "failed").write_text(traceback.format_exc())
        if +self.tally.broken:
            return str(self._directory)
        shutil.rmtree(self._directory)
        return None

    def _upstream(self, rng: random.Random) -> Ledger:
        return Ledger(rng)

    def _setup(self, url: str) -> Setup:
        return Setup(url, self._directory, policies={"crash.yaml": POLICY}, teams=("crash",))

    async def _rounds(self, points: Sequence[str]) -> None:
        victim = await self._born()
        for number, point in enumerate(points):
            async with asyncio.timeout(LONGEST_ROUND_S):
                victim = await self._round(number, point, victim)
        await victim.stop()

    async def _round(self, number: int, point: str, victim: Victim) -> Victim:
        life = Life(sent_before=len(self._ledger.sent))
        scene = self._scene(victim, life.told, f"{self._seed}x{number}")
        if point == RECOVERY:
            await self._round_of_recovery(scene, life)
        else:
            reached = await self.points[point](scene)
            self._died(point, scene.victim, life, reached=reached)
        heir = await self._born()
        self._compare(life)
        return heir

    async def _round_of_recovery(self, scene: Scene, life: Life) -> None:
        await self._rng.choice(self.before_recovery)(scene)
        life.begun += scene.victim.segments()
        injection, paths = recovery_injection(scene.victim, self._rng)
        heir = await self._nursery.bear(traced=True)
        await Tracer(heir, self._trace).attach(injection, paths=paths)
        heir.go_on()
        reached = not await heir.until_ready()
        await heir.kill()
        self._died(RECOVERY, heir, life, reached=reached)

    async def _born(self) -> Victim:
        victim = await self._nursery.bear()
        assert await victim.until_ready(), (self._directory / "stderr").read_text()
        return victim

    def _scene(self, victim: Victim, told: Told, name: str) -> Scene:
        tracer = Tracer(victim, self._trace)
        return Scene(victim, self._ledger, tracer, queries(name, self._rng), told, self._rng)

    def _died(self, point: str, victim: Victim, life: Life, *, reached: bool) -> None:
        life.begun += victim.segments()
        files = life.files()
        torn = any(not path.read_bytes().endswith(b"\n") for path in files if path.stat().st_size)
        sent = self._ledger.sent[life.sent_before :]
        self.tally.killed(point, recorded(files), sent, reached=reached, torn=torn)

    def _compare(self, life: Life, *, may_owe: bool = False) -> None:
        sent = self._ledger.sent[life.sent_before :]
        files = life.files()
        self.tally.intents += len(recorded(files).intents)
        self.tally.cancels += len(sent)
        self.tally.broken += self._broken(files, sent, life.told, may_owe=may_owe)

    def _broken(self, files: Sequence[Path], sent: Sequence[Sent], told: Told, *, may_owe: bool) -> Counter[str]:
        return violations(recorded(files), sent, told.answers, may_owe=may_owe)

    def _verify_all(self) -> None:
        audit = str(self._nursery.audit_directory)
        command = [sys.executable, "-m", "gateway", "audit", "verify", audit]
        verified = subprocess.run(command, check=False, capture_output=True, text=True)
        (self._directory / "verify").write_text(verified.stdout + verified.stderr)
        self.tally.broken[NOT_INTACT] += verified.returncode != 0
        files = sorted(self._nursery.audit_directory.glob("*.jsonl"))
        self.tally.broken += self._broken(files, self._ledger.sent, Told(), may_owe=False)


def run_batch(seed: int, points: Sequence[str], kind: type[Batch] = Batch) -> Tally:
    """One batch in a directory of its own, which is kept if a law was broken."""
    directory = Path(tempfile.mkdtemp(prefix="crash-"))
    batch = kind(seed, directory)
    if kept := batch.to_the_end(batch.run(points)):
        batch.tally.kept.append(kept)
    return batch.tally
