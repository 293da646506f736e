"""The same deaths under requests whose runs are looked up: what was sent is part of a plan recorded before."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

from tests.execution.resolve.account import named
from tests.execution.resolve.laws import LAWS as PLAN_LAWS
from tests.execution.resolve.laws import violations
from tests.reliability.crash.laws import NOT_ENDED, NOT_INTACT, SENT_AFTER_ALL, TOLD_OTHERWISE, WRONG_NUMBER
from tests.reliability.crash.ledger import TARGET, Ledger, Sent, write_json
from tests.reliability.crash.load import Told, answer, request
from tests.reliability.crash.loop import Batch
from tests.reliability.crash.points import CALLERS, POINTS, Point, Scene
from tests.reliability.crash.victim import Tracer, Victim
from tests.support.gateway import Setup

LAWS = (*PLAN_LAWS, WRONG_NUMBER, SENT_AFTER_ALL, TOLD_OTHERWISE, NOT_INTACT, NOT_ENDED)
BETWEEN_ORDERS, IN_A_WAIT, SENT_AGAIN = "between two orders", "in a wait after a 429", "sent again after a 429"
LEAST_RUNS, MOST_RUNS = 90, 130
PAGE_RUNS = 10
BEGUN_MS, EVERY_MS = 1_700_000_000_000, 1000
PAUSE_S = 0.005
URL = "https://a.example/w"
POLICY = """version: 1
name: crash
teams: [crash]
allow:
  - {id: by-label, label: {any: true}, resolve: true, runs: {max: 500}}
"""

_READING = re.compile(rb"GET /v2/workflows/logs\?(\S+) HTTP/1\.1\r\n")


class Account(Ledger):
    """Every label that was asked for has some runs, which run until they are cancelled; the list is newest first.

    `looked` is set by a second look: at one run, or at those of some time. While `refusing` is true the next cancel is
    refused with 429, to be sent again in a second; `refused` is set then.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, most_latency_s=0.002)
        self.cancelled: set[str] = set()
        self.looked = asyncio.Event()
        self.refusing = False
        self.refused = asyncio.Event()
        self._known: dict[str, None] = {}

    async def _exchange(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        reading = _READING.match(head)
        if reading is None and self.refusing:
            await self._refuse(head, writer)
            return
        if reading is None:
            await super()._exchange(head, writer)
            return
        await write_json(writer, json.dumps(self._page(parse_qs(reading[1].decode("ascii")))).encode())

    async def _refuse(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        asked = TARGET.match(head)
        assert asked is not None, head[:200]
        self.refusing = False
        self.sent.append(Sent(asked[1].decode("ascii"), cancelled=0, answered=True))
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        self.refused.set()

    def _carried_out(self, query: str) -> int:
        fresh = set(named(query)) - self.cancelled
        self.cancelled |= fresh
        return len(fresh)

    def _page(self, asked: Mapping[str, Sequence[str]]) -> dict[str, object]:
        if "workflowRunId" in asked:
            self.looked.set()
            return {"cursor": "", "runs": [_entry(asked["workflowRunId"][0], self.cancelled)]}
        if {"fromDate", "toDate"} <= asked.keys():
            self.looked.set()
        labels = asked.get("label", ())
        self._known |= dict.fromkeys(labels)
        from_ms, to_ms = (int(asked[name][0]) if name in asked else None for name in ("fromDate", "toDate"))
        begin = 0 if from_ms is None else max(0, -((BEGUN_MS - from_ms) // EVERY_MS))
        end = MOST_RUNS if to_ms is None else max(0, (to_ms - BEGUN_MS) // EVERY_MS + 1)
        found = [(at, run_id) for label in labels or self._known
                 for at, run_id in enumerate(runs_of(label)[:end]) if at >= begin]  # fmt: skip
        if "state" in asked:
            found = [(at, run_id) for at, run_id in found if run_id not in self.cancelled]
        found.sort(reverse=True)
        first = int(asked.get("cursor", ["0"])[0])
        last = first + PAGE_RUNS
        runs = [_entry(run_id, self.cancelled) for _, run_id in found[first:last]]
        return {"cursor": str(last) if found[last:] else "", "runs": runs}


def _entry(run_id: str, cancelled: AbstractSet[str]) -> dict[str, object]:
    label, _, number = run_id.removeprefix("wfr_").rpartition("_")
    return {
        "workflowRunId": run_id,
        "workflowUrl": URL,
        "workflowState": "RUN_CANCELED" if run_id in cancelled else "RUN_STARTED",
        "workflowRunCreatedAt": BEGUN_MS + EVERY_MS * int(number),
        "labels": [label],
    }


def runs_of(label: str) -> list[str]:
    """The runs of a label, the oldest first: of some labels more than one order takes."""
    number = LEAST_RUNS + zlib.crc32(label.encode()) % (MOST_RUNS - LEAST_RUNS)
    return [f"wfr_{label}_{at}" for at in range(number)]


@dataclass(slots=True)
class PlanScene(Scene):
    """Callers each of which asks for one label after the other."""

    def load(self) -> asyncio.Task[object]:
        """The callers, until the gateway is gone."""
        return asyncio.ensure_future(asyncio.gather(*(self._call() for _ in range(CALLERS))))

    async def _call(self) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.victim.port)
        except ConnectionError:
            return
        try:
            for query in self.asked:
                while True:
                    writer.write(request(query, self.victim.port, self.victim.key))
                    status, body = await answer(reader)
                    # A principal has one look-up at a time; whoever else calls comes again.
                    if status != 429:
                        break
                    await asyncio.sleep(PAUSE_S)
                self.told.answers[query] = status, body
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def between_orders(scene: Scene) -> bool:
    """The first order is recorded, and the runs of the second are being looked at again."""
    assert isinstance(scene.ledger, Account)
    scene.ledger.looked.clear()
    return await scene.under_load(scene.ledger.looked.wait())


async def in_a_wait(scene: Scene) -> bool:
    """An order was refused with 429, and waits to be sent again."""
    return await _after_a_refusal(scene, 0.1)


async def sent_again(scene: Scene) -> bool:
    """An order that was refused with 429 is about to be sent again, is out, or has been carried out."""
    return await _after_a_refusal(scene, 1 + scene.rng.uniform(0, 0.1))


async def _after_a_refusal(scene: Scene, seconds: float) -> bool:
    account = scene.ledger
    assert isinstance(account, Account)
    account.refused.clear()
    account.refusing = True

    async def point() -> None:
        await account.refused.wait()
        await asyncio.sleep(seconds)

    return await scene.under_load(point())


class PlanBatch(Batch):
    """Rounds of requests that are resolved."""

    title = "requests whose runs are looked up"
    points: ClassVar[Mapping[str, Point]] = {
        **POINTS,
        BETWEEN_ORDERS: between_orders,
        IN_A_WAIT: in_a_wait,
        SENT_AGAIN: sent_again,
    }
    laws = LAWS

    def _upstream(self, rng: random.Random) -> Ledger:
        return Account(rng)

    def _setup(self, url: str) -> Setup:
        token = self._directory / "read-token"
        token.write_text("read-only-token-of-the-account\n")
        token.chmod(0o600)
        read_token = ", read_token: {file: read-token}"
        return Setup(url, self._directory, policies={"crash.yaml": POLICY}, teams=("crash",), upstream=read_token)

    def _scene(self, victim: Victim, told: Told, name: str) -> Scene:
        return PlanScene(victim, self._ledger, Tracer(victim, self._trace), _labels(name), told, self._rng)

    def _broken(self, files: Sequence[Path], sent: Sequence[Sent], told: Told, *, may_owe: bool) -> Counter[str]:
        records = [json.loads(line) for path in files for line in path.read_bytes().split(b"\n")[:-1]]
        return violations(records, [entry.query for entry in sent]) + numbers(records, sent, told)


def _labels(name: str) -> Iterator[str]:
    return (f"label=c{name}n{number}&count=500" for number in itertools.count())


def numbers(records: Sequence[Mapping[str, object]], sent: Sequence[Sent], told: Told) -> Counter[str]:
    """How often the record, upstream and the callers differ about what was cancelled."""
    broken: Counter[str] = Counter()
    by_query = {entry.query: entry for entry in sent}
    outcomes = {record["decision_id"]: record for record in records if record["event"] == "outcome"}
    closed: dict[str, list[Mapping[str, object]]] = {}
    for intent in (record for record in records if record["event"] == "intent"):
        asked, orders, outcome = intent["asked"], intent["orders"], outcomes.get(intent["decision_id"])
        assert isinstance(asked, dict)
        assert isinstance(orders, list)
        if outcome is None:
            continue
        closed.setdefault(f"label={asked['label'][0]}&count=500", []).append(outcome)
        arrived = [by_query[order].cancelled for order in orders if order in by_query]
        if outcome["outcome"] == "cancelled":
            broken[WRONG_NUMBER] += outcome["cancelled"] != sum(arrived)
        broken[SENT_AFTER_ALL] += outcome["outcome"] == "not_sent" and bool(arrived)
    for query, (status, body) in told.answers.items():
        broken[TOLD_OTHERWISE] += not _agrees(status, body, closed.get(query, []))
    return +broken


def _agrees(status: int, body: Mapping[str, object], closings: Sequence[Mapping[str, object]]) -> bool:
    if status == 200:
        return [(found["outcome"], found["cancelled"]) for found in closings] == [("cancelled", body["cancelled"])]
    if status == 503:
        return all(found["outcome"] == "not_sent" or found.get("cause") == "recovered" for found in closings)
    return all(found["outcome"] != "cancelled" for found in closings)
