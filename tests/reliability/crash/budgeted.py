"""The same deaths where each cancel takes of a budget: what a dead process had reserved is given back or settled.

Every other request has an Idempotency-Key. One that a death left without an answer is asked for again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from gateway.cli.state.rebuild import taken_in
from gateway.core.plan import Budget
from gateway.state.admissions import Left, Reservation
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from gateway.store.upkeep.rebuilding import restore
from tests.reliability.crash.laws import recorded, violations
from tests.reliability.crash.ledger import Sent
from tests.reliability.crash.load import Told, call, queries
from tests.reliability.crash.loop import Batch, Life
from tests.reliability.crash.points import (
    CALLERS,
    POINTS,
    REACH_S,
    Point,
    Scene,
    after_send,
    before_outcome,
    mid_write,
)
from tests.reliability.crash.reserved import LAWS, LEFT_OPEN, NOT_REBUILT, broken_laws
from tests.reliability.crash.stores import Beside, PostgresBeside, Row, SqliteBeside
from tests.reliability.crash.victim import Tracer, Victim
from tests.support.gateway import Setup
from tests.support.state.fixtures import sqlite_settings

REST_S = 30.0
"""A store that is told nothing more for so long will not be told, on a busy machine either."""

BUDGET = Budget(86_400_000, runs=1_000_000, requests=1_000_000)
RULE = "crash/by-name"
POLICY = """version: 1
name: crash
teams: [crash]
allow:
  - id: by-name
    workflowRunIds: {max: 20, prefix: [wfr_]}
    owner: unchecked
    budget: {runs: 1000000, requests: 1000000, per: 24h}
"""
AFTER_INTENT, IN_RESERVE, BEFORE_INTENT = "after intent", "in reserve", "before intent"
BEFORE_SETTLE, MID_COMMIT = "before settle", "mid-commit"


def once(query: str) -> tuple[str, ...]:
    """The header of an Idempotency-Key, of every other query."""
    digest = hashlib.sha256(query.encode()).hexdigest()
    return (f"Idempotency-Key: {digest}",) if int(digest, 16) % 2 else ()


@dataclass(slots=True, kw_only=True)
class BudgetScene(Scene):
    """Callers under a budget; `begun` are the queries that were asked for."""

    store: Beside
    begun: list[str] = field(default_factory=list)

    def load(self) -> asyncio.Task[object]:
        """The callers, until the gateway is gone."""
        victim = self.victim
        calls = (call(victim.port, victim.key, self._noted(), self.told, headers=once) for _ in range(CALLERS))
        return asyncio.ensure_future(asyncio.gather(*calls))

    def _noted(self) -> Iterator[str]:
        for query in self.asked:
            self.begun.append(query)
            yield query

    @property
    def to_repeat(self) -> list[str]:
        """What was asked for with a key, and not answered."""
        return [query for query in self.begun if once(query) and query not in self.told.answers]


async def in_reserve(scene: Scene) -> bool:
    """The reservations wait for the store, or have just been let go on."""
    store = _of(scene).store
    held = scene.rng.random() < 0.5
    await store.hold()

    async def point() -> None:
        await asyncio.sleep(scene.rng.uniform(0.02, 0.2))
        if not held:
            await store.release()
            await asyncio.sleep(scene.rng.uniform(0, 0.01))

    try:
        return await scene.under_load(point())
    finally:
        if held:
            await store.release()


async def before_intent(scene: Scene) -> bool:
    """The first reservation is in the store, and its intent about to be written."""
    await scene.tracer.attach("write:signal=KILL:when=1", paths=scene.victim.next_segments(1))
    return await scene.under_load(scene.victim.until_ended(REACH_S))


async def after_intent(scene: Scene) -> bool:
    """The first intent is durable, and its connection about to be made; whoever waits for the store makes fewer."""
    await scene.tracer.attach("connect:signal=KILL:when=1")
    return await scene.under_load(scene.victim.until_ended(REACH_S))


async def before_settle(scene: Scene) -> bool:
    """An outcome is on record, and the store cannot be told of it."""
    store, victim = _of(scene).store, scene.victim
    scene.hold()

    async def point() -> None:
        await scene.in_flight()
        await store.hold()
        before = len(recorded(victim.segments()).outcomes)
        scene.ledger.open.set()
        while len(recorded(victim.segments()).outcomes) == before:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.002)

    try:
        return await scene.under_load(point())
    finally:
        await store.release()


async def mid_commit(scene: Scene) -> bool:
    """What is reserved or settled is written to SQLite's log, and is about to be made durable."""
    beside = _of(scene).store.settings.file
    assert beside is not None
    when = scene.rng.randint(1, 8)
    calls = (f"{name}:signal=KILL:when={when}" for name in ("fdatasync", "fsync"))
    await scene.tracer.attach(*calls, paths=[beside.with_name(f"{beside.name}-wal")])
    return await scene.under_load(scene.victim.until_ended(REACH_S))


def _of(scene: Scene) -> BudgetScene:
    assert isinstance(scene, BudgetScene)
    return scene


class BudgetBatch(Batch):
    """Rounds under a budget that SQLite keeps beside the record.

    `mid-write` is not among them: the limit that brings it about is one of every file, and the store's is larger.
    """

    title = "requests under a budget, on SQLite"
    points: ClassVar[Mapping[str, Point]] = {
        **{name: point for name, point in POINTS.items() if point is not mid_write},
        AFTER_INTENT: after_intent,
        IN_RESERVE: in_reserve,
        BEFORE_INTENT: before_intent,
        BEFORE_SETTLE: before_settle,
        MID_COMMIT: mid_commit,
    }
    laws = LAWS
    more: ClassVar[Mapping[str, str]] = {"given back": "given_back"}
    loaded: ClassVar[Sequence[str]] = ("gateway.fleet.made", "gateway.store.opened", "aiosqlite", "asyncpg")
    before_recovery: ClassVar[Sequence[Point]] = (after_send, before_outcome, before_intent)

    def __init__(self, seed: int, directory: Path) -> None:
        super().__init__(seed, directory)
        self._told = Told()
        self._given_back = 0

    async def within(self, lives: Callable[[], Awaitable[None]]) -> None:
        """The store around it all."""
        self._store = await self._opened()
        try:
            await super().within(lives)
        finally:
            await self._store.aclose()

    async def _opened(self) -> Beside:
        return SqliteBeside(self._audit)

    @property
    def _audit(self) -> Path:
        return self._directory / "audit"

    def _setup(self, url: str) -> Setup:
        found = self._store.settings
        state = '{url: "sqlite:state.db"}'
        if found.url is not None:
            state = f'{{url: "{found.url}", password: {{file: "{found.password}"}}}}'
        policies = {"crash.yaml": POLICY}
        return Setup(url, self._directory, policies=policies, teams=("crash",), more=f"state: {state}\n")

    def _scene(self, victim: Victim, told: Told, name: str) -> Scene:
        tracer = Tracer(victim, self._trace)
        asked = queries(name, self._rng)
        self._at_work = BudgetScene(victim, self._ledger, tracer, asked, told, self._rng, store=self._store)
        return self._at_work

    async def _rounds(self, points: Sequence[str]) -> None:
        await super()._rounds(points)
        await self._compare_rebuilt()

    async def _round(self, number: int, point: str, victim: Victim) -> Victim:
        heir = await super()._round(number, point, victim)
        await self._at_rest()
        await call(heir.port, heir.key, iter(self._at_work.to_repeat), self._told, headers=once)
        rows = await self._at_rest()
        self.tally.cancels = len(self._ledger.sent)
        given_back = sum(row.withdrawn and bool(row.instance) for row in rows)
        self.tally.given_back[point] += given_back - self._given_back
        self._given_back = given_back
        self.tally.broken += await asyncio.to_thread(self._judged, rows)
        return heir

    async def _at_rest(self) -> list[Row]:
        """The rows once the recovery has closed what was left open; what it never does is counted."""
        ends_s = time.monotonic() + REST_S
        while left := [row for row in await self._store.rows() if not row.closed]:
            if time.monotonic() > ends_s:
                self.tally.broken[LEFT_OPEN] += len(left)
                break
            await asyncio.sleep(0.02)
        return await self._store.rows()

    def _judged(self, rows: Sequence[Row]) -> Counter[str]:
        files = sorted(self._audit.glob("*.jsonl"))
        return broken_laws(recorded(files), self._ledger.sent, self._told, rows, taken_in([self._audit]))

    def _compare(self, life: Life, *, may_owe: bool = False) -> None:
        """All that came so far is judged at once, when nothing is under way."""
        self._told.answers |= life.told.answers
        self.tally.intents += len(recorded(life.files()).intents)

    def _broken(self, files: Sequence[Path], sent: Sequence[Sent], told: Told, *, may_owe: bool) -> Counter[str]:
        return violations(recorded(files), sent, {})

    async def _compare_rebuilt(self) -> None:
        rebuilt = sqlite_settings(self._directory / "rebuilt")
        await restore(rebuilt, taken_in([self._audit]))
        one, other = await _left(self._store.settings), await _left(rebuilt)
        self.tally.broken[NOT_REBUILT] += (one.runs, one.requests) != (other.runs, other.requests)


async def _left(settings: StateSettings) -> Left:
    store = await open_store(settings, create=False)
    try:
        [left] = await store.left([Reservation(RULE, RULE, 0, BUDGET)])
        return left
    finally:
        await store.aclose()


class PostgresBatch(BudgetBatch):
    """The same rounds with PostgreSQL.

    `after intent` is not among them, because the first connections that a gateway makes are those to the store.
    """

    title = "requests under a budget, on PostgreSQL"
    points: ClassVar[Mapping[str, Point]] = {
        **{name: point for name, point in POINTS.items() if name != AFTER_INTENT},
        IN_RESERVE: in_reserve,
        BEFORE_INTENT: before_intent,
        BEFORE_SETTLE: before_settle,
    }
    before_recovery: ClassVar[Sequence[Point]] = (after_send, mid_write, before_intent)

    async def _opened(self) -> Beside:
        return await PostgresBeside.started()
