"""The same deaths while failed runs are restarted: whatever happens, none is restarted a second time.

Upstream is the simulator, in whose DLQ an entry stays when it was restarted. A third of the callers restart entries by
ID, each request with an Idempotency-Key under which it is repeated after a death. The others restart what has a label,
and go on as long as anything is answered that was started, as the documented loop does; after a death they ask again,
and for the label of all that was restarted by ID.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Answer, Call
from gateway.simulator.holdings.held import Holdings
from gateway.simulator.holdings.things import DlqEntry
from tests.reliability.crash.laws import LAWS as BASE
from tests.reliability.crash.laws import (
    NO_INTENT,
    NOT_ONCE,
    SENT_AFTER_ALL,
    TOLD_OTHERWISE,
    TWICE,
    WRONG_NUMBER,
    recorded,
)
from tests.reliability.crash.ledger import Ledger, Sent
from tests.reliability.crash.load import Told, answer
from tests.reliability.crash.loop import Batch, Life
from tests.reliability.crash.points import CALLERS, POINTS, Point, Scene, after_send, before_outcome, mid_write
from tests.reliability.crash.victim import Tracer, Victim
from tests.support.gateway import Setup

RESTART = "/v2/workflows/dlq/restart"
RESTARTED_TWICE = "failed runs restarted twice"
LAWS = (RESTARTED_TWICE, *(law for law in BASE if law != TWICE))
LABELLED = 60
"""Entries of a label: more than one order takes."""

BY_ID = 2
"""Of the callers, how many restart by ID."""

PAUSE_S = 0.01
URL = "https://a.example/w"
POLICY = """version: 1
name: crash
teams: [crash]
allow:
  - {id: by-name, action: restart_dlq, dlqIds: {max: 20, prefix: [id_]}, owner: unchecked}
  - {id: by-label, action: restart_dlq, label: {any: true}, resolve: true, runs: {max: 500}}
"""

_HEAD = re.compile(rb"(?P<method>[A-Z]+) (?P<path>[^ ?]+)(?:\?(?P<query>\S*))? HTTP/1\.1\r\n")


class Restarting(Ledger):
    """The simulator behind the ledger: what arrives is written down, carried out, and answered when it is let.

    An entry of the DLQ is there from the moment at which somebody asks for it.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, most_latency_s=0.002)
        self.simulator = Simulator([], holdings=Holdings())

    def fail(self, names: Sequence[str], label: str = "") -> None:
        """Put failed runs into the DLQ."""
        now_ms = time.time_ns() // 1_000_000 - 60_000
        self.simulator.holdings.add(_entry(name, label, now_ms + at) for at, name in enumerate(names))

    @property
    def started(self) -> Counter[str]:
        """How often each entry was restarted, by the simulator's own account."""
        return Counter(one for entry in self.simulator.ledger for one in entry.hit)

    async def _exchange(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        asked = _HEAD.match(head)
        assert asked is not None, head[:200]
        method, path, query = (asked[name].decode("ascii") for name in ("method", "path", "query"))
        answered = self.simulator.answer(Call(method, path, query), time.time_ns() // 1_000_000)
        if method == "GET":
            await _write(writer, answered)
            return
        assert (method, path) == ("POST", RESTART), head[:200]
        sent = Sent(query, cancelled=len(self.simulator.ledger[-1].hit))
        self.sent.append(sent)
        async with self._arrived:
            self._arrived.notify_all()
        await self._told(sent, answered, writer)

    async def _told(self, sent: Sent, answered: Answer, writer: asyncio.StreamWriter) -> None:
        life = self._lives
        await asyncio.sleep(self._rng.uniform(0, self._most_latency_s))
        await self.open.wait()
        if life == self._lives:
            sent.answered = True
            await _write(writer, answered)


def _entry(name: str, label: str, created_ms: int) -> DlqEntry:
    return DlqEntry(
        dlq_id=name,
        message_id=f"msg_{name}",
        url=URL,
        created_ms=created_ms,
        labels=(label,) if label else (),
        run_id=f"wfr_{name}",
        workflow_url=URL,
        workflow_created_ms=created_ms,
    )


async def _write(writer: asyncio.StreamWriter, answered: Answer) -> None:
    head = f"HTTP/1.1 {answered.status} Said\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(answered.content)}\r\n\r\n".encode() + answered.content)
    await writer.drain()


@dataclass(slots=True, kw_only=True)
class RestartScene(Scene):
    """Callers that restart. `begun` are the requests by ID that were made, `labels` the labels that were asked for."""

    name: str
    begun: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    @property
    def of_ids(self) -> str:
        """The label of the entries that are restarted by ID."""
        return f"l{self.name}ids"

    def load(self) -> asyncio.Task[object]:
        """The callers, until the gateway is gone."""
        by_id = (self._restart(self._fresh(number)) for number in range(BY_ID))
        looping = (self._loop(self._labels(number)) for number in range(CALLERS - BY_ID))
        return asyncio.ensure_future(asyncio.gather(*by_id, *looping))

    def _fresh(self, caller: int) -> Iterator[str]:
        for number in itertools.count():
            names = [f"id_{self.name}_{caller}_{number}_{at}" for at in range(self.rng.randint(1, 4))]
            _of(self.ledger).fail(names, self.of_ids)
            self.begun.append("&".join(f"dlqIds={name}" for name in names))
            yield self.begun[-1]

    def _labels(self, caller: int) -> Iterator[str]:
        for number in itertools.count():
            label = f"l{self.name}c{caller}n{number}"
            _of(self.ledger).fail([f"{label}_{at}" for at in range(LABELLED)], label)
            self.labels.append(label)
            yield label

    async def _restart(self, queries: Iterator[str]) -> None:
        await restart(self.victim, queries, self.told)

    async def _loop(self, labels: Iterator[str]) -> None:
        await loop(self.victim, labels)


async def restart(victim: Victim, queries: Iterator[str], told: Told) -> None:
    """One caller that restarts by ID, each request under a key of its own, until the gateway is gone."""
    async with _Caller(victim) as caller:
        for query in queries:
            key = hashlib.sha256(query.encode()).hexdigest()
            told.answers[query] = await caller.post(query, f"Idempotency-Key: {key}")


async def loop(victim: Victim, labels: Iterator[str]) -> None:
    """One caller that restarts what has a label until nothing more is started, and then the next."""
    async with _Caller(victim) as caller:
        for label in labels:
            while True:
                status, body = await caller.post(f"label={label}&count=100")
                if status != 429 and not (status == 200 and (body["workflowRuns"] or body["cursor"])):
                    break
                # A principal has one look-up at a time; whoever else calls comes again.
                await asyncio.sleep(PAUSE_S if status == 429 else 0)


class _Caller:
    """A connection to a gateway; that it has gone ends the block and is no error."""

    def __init__(self, victim: Victim) -> None:
        self._victim = victim
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if self._writer is not None:
            self._writer.close()
        return kind is not None and issubclass(kind, (asyncio.IncompleteReadError, ConnectionError))

    async def post(self, query: str, *headers: str) -> tuple[int, dict]:
        """The answer to a restart."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._victim.port)
        lines = [f"POST {RESTART}?{query} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self._victim.key}"]
        self._writer.write("\r\n".join([*lines, *headers, "Content-Length: 0", "", ""]).encode())
        return await answer(self._reader)


def _of(ledger: Ledger) -> Restarting:
    assert isinstance(ledger, Restarting)
    return ledger


class RestartBatch(Batch):
    """Rounds in which failed runs are restarted, beside a store that knows the keys.

    `mid-write` is not among them: the limit that brings it about is one of every file, and the store's is larger.
    """

    title = "restarts of failed runs"
    points: ClassVar[Mapping[str, Point]] = {name: point for name, point in POINTS.items() if point is not mid_write}
    laws: ClassVar[Sequence[str]] = LAWS
    loaded: ClassVar[Sequence[str]] = ("gateway.fleet.made", "gateway.store.opened", "aiosqlite")
    before_recovery: ClassVar[Sequence[Point]] = (after_send, before_outcome)

    def __init__(self, seed: int, directory: Path) -> None:
        super().__init__(seed, directory)
        self._told = Told()

    def _upstream(self, rng: random.Random) -> Ledger:
        return Restarting(rng)

    def _setup(self, url: str) -> Setup:
        return Setup(
            url,
            self._directory,
            policies={"crash.yaml": POLICY},
            teams=("crash",),
            upstream=", read_token: {file: read-token}",
            more='state: {url: "sqlite:state.db"}\n',
        )

    def _scene(self, victim: Victim, told: Told, name: str) -> Scene:
        tracer = Tracer(victim, self._trace)
        self._at_work = RestartScene(victim, self._ledger, tracer, iter(()), told, self._rng, name=name)
        return self._at_work

    async def _round(self, number: int, point: str, victim: Victim) -> Victim:
        """A round, after which every caller asks again for what it had asked for."""
        heir = await super()._round(number, point, victim)
        scene = self._at_work
        self._told.answers |= scene.told.answers
        again = [query for query in scene.begun if query not in scene.told.answers]
        await asyncio.gather(restart(heir, iter(again), self._told), loop(heir, iter(scene.labels)))
        await loop(heir, iter([scene.of_ids]))
        files = sorted(self._nursery.audit_directory.glob("*.jsonl"))
        self.tally.cancels = len(self._ledger.sent)
        self.tally.broken += broken_laws(_records(files), self._ledger.sent, self._told, _of(self._ledger).started)
        return heir

    def _compare(self, life: Life, *, may_owe: bool = False) -> None:
        """All that came so far is judged at once, after it was asked for again."""
        self.tally.intents += len(recorded(life.files()).intents)

    def _broken(self, files: Sequence[Path], sent: Sequence[Sent], told: Told, *, may_owe: bool) -> Counter[str]:
        return broken_laws(_records(files), sent, told, _of(self._ledger).started)


Record = Mapping[str, object]


def _records(files: Sequence[Path]) -> list[Record]:
    return [json.loads(line) for path in files for line in path.read_bytes().split(b"\n")[:-1]]


def broken_laws(
    records: Sequence[Record], sent: Sequence[Sent], told: Told, started: Mapping[str, int]
) -> Counter[str]:
    """How often each law was broken, at a time at which nothing is under way."""
    broken: Counter[str] = Counter()
    orders = {str(one["decision_id"]): _orders(one) for one in records if one["event"] == "intent"}
    outcomes: dict[str, list[Record]] = {name: [] for name in orders}
    for one in records:
        if one["event"] == "outcome":
            outcomes.setdefault(str(one["decision_id"]), []).append(one)
    arrived = {entry.query: entry.cancelled for entry in sent}
    intended = {query for queries in orders.values() for query in queries}
    broken[RESTARTED_TWICE] = sum(number > 1 for number in started.values())
    broken[NO_INTENT] = sum(entry.query not in intended for entry in sent)
    broken[NOT_ONCE] = sum(len(found) != 1 or name not in orders for name, found in outcomes.items())
    for name, queries in orders.items():
        for outcome in outcomes[name]:
            there = [arrived[query] for query in queries if query in arrived]
            broken[WRONG_NUMBER] += outcome["outcome"] == "cancelled" and outcome["cancelled"] != sum(there)
            broken[SENT_AFTER_ALL] += outcome["outcome"] == "not_sent" and bool(there)
    for query, (status, body) in told.answers.items():
        closings = [found for name, queries in orders.items() if query in queries for found in outcomes[name]]
        broken[TOLD_OTHERWISE] += not _agrees(status, body, closings)
    return +broken


def _orders(intent: Record) -> list[str]:
    orders = intent["orders"]
    assert isinstance(orders, list)
    return [str(order).rpartition("?")[2] for order in orders]


def _agrees(status: int, body: Mapping[str, object], closings: Sequence[Record]) -> bool:
    outcomes = [(found["outcome"], found["cancelled"]) for found in closings]
    match status:
        case 200:
            runs = body["workflowRuns"]
            return isinstance(runs, list) and outcomes == [("cancelled", len(runs))]
        case 409:
            return body["code"] == "outcome_unknown" and len(closings) == 1
        case _:
            return all(name != "cancelled" for name, _ in outcomes)
