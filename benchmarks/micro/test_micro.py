"""Read, decide, render, record, answer; run by `make microbench`, never by the suite."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture
from starlette.applications import Starlette
from starlette.types import Message

from benchmarks.harness.requests import KEY
from benchmarks.micro import values
from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.audit.log import AuditLog, AuditSettings
from gateway.audit.record import intent_members
from gateway.callers.authenticate import Authenticator
from gateway.callers.in_force import InForce
from gateway.callers.settings import CallerKey
from gateway.core.parse import Body
from gateway.core.plan import Order, Permit
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.health import HealthPages
from gateway.edge.inbound import INBOUND, Inbound
from gateway.edge.pages.calls import Pages
from gateway.edge.routing.cancels import Cancels
from gateway.edge.routing.table import routes
from gateway.execution.in_flight import Result
from gateway.operations.calls.cancel_runs import RUNS, parse_cancel
from gateway.policy.decide import decide

DONE = Answer(200, [], b"{}")
UPSTREAM = "https://qstash.upstash.io"


def test_calibration(benchmark: BenchmarkFixture) -> None:
    """Work of the same kinds, with none of our code: all other figures are told in multiples of it."""
    text = "&".join(f"name{number}=value{number}" for number in range(20))

    def loop() -> int:
        """Splitting, dictionaries, digests."""
        pairs = dict(pair.split("=") for pair in text.split("&"))
        digest = hashlib.sha256("".join(sorted(pairs.values())).encode()).digest()
        return sum(digest) + len(pairs)

    assert benchmark(loop) > 0


def test_read(benchmark: BenchmarkFixture) -> None:
    """A query with a URL, a label and a count."""
    assert benchmark(parse_cancel, values.QUERY, Body()).count == 50


def test_read_a_hundred_run_ids(benchmark: BenchmarkFixture) -> None:
    """A query of 100 run IDs."""
    assert benchmark(parse_cancel, values.HUNDRED_IDS, Body()).count == 100


@pytest.mark.parametrize("keys", [10, 10_000])
def test_authenticate(benchmark: BenchmarkFixture, keys: int) -> None:
    """A key among others."""
    known = [CallerKey(f"k{number}", "bench", hashlib.sha256(b"%d" % number).digest()) for number in range(keys - 1)]
    known.append(CallerKey("bench", "bench", hashlib.sha256(KEY.encode()).digest()))
    authenticator = Authenticator(known, is_upstream_token=lambda _: False)
    header = f"Bearer {KEY}".encode()
    assert benchmark(authenticator.authenticate, header, values.NOW_MS).subject == "bench"


@pytest.mark.parametrize("rules", [10, 10_000])
def test_decide(benchmark: BenchmarkFixture, rules: int) -> None:
    """One rule among others permits."""
    policies, asked = values.policies(rules), values.request()
    assert isinstance(benchmark(decide, policies, values.PRINCIPAL, asked, values.NOW_MS), Permit)


def test_rebuild(benchmark: BenchmarkFixture) -> None:
    """The canonical query of an order, which is made once for each."""
    (order,) = values.plan().orders

    def query() -> str:
        """A new order each time, since an order keeps its query."""
        return Order(order.selection, order.count).query

    assert benchmark(query).endswith("count=50")


def test_render(benchmark: BenchmarkFixture) -> None:
    """The line of an intent, sealed into the chain."""
    sealer = Sealer("bench", key=None)
    record = Record(values.NOW_MS * 10**6, "intent", intent_members(values.plan(), upstream=UPSTREAM))
    lines, _ = benchmark(sealer.seal, GENESIS, [record])
    assert lines[0].endswith(b'"mac":null}\n')


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The event loop that `serve` runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as made:
        yield made


@pytest.mark.parametrize("at_once", [1, 32])
def test_record(benchmark: BenchmarkFixture, tmp_path: Path, runner: asyncio.Runner, at_once: int) -> None:
    """Intent and outcome of so many requests at once, each waited for, through the log's own thread to a file."""
    settings = AuditSettings(directory=tmp_path / "audit", durability="os")
    log = runner.run(AuditLog.open(settings, instance="bench", upstream=UPSTREAM, start={}))
    numbers, plan = itertools.count(), values.plan()

    async def carry_out(number: int) -> None:
        """What the pipeline does with the log for one request."""
        receipt = await log.intent(plan._replace(decision_id=f"{values.DECISION_ID[:-12]}{number:012d}"))
        await log.close(receipt, values.CLOSING)

    async def all_at_once() -> None:
        """Requests of the same moment."""
        await asyncio.gather(*(carry_out(next(numbers)) for _ in range(at_once)))

    benchmark(lambda: runner.get_loop().run_until_complete(all_at_once()))
    assert log.state.open_intents == 0
    runner.run(log.stop({}))


def test_route(benchmark: BenchmarkFixture) -> None:
    """From the application to the endpoint of a cancel and back, with no door before it and no work in it."""

    async def nothing(_: Inbound) -> Answer:
        """Does nothing and answers."""
        return DONE

    async def receive() -> Message:
        """Is never called."""
        raise AssertionError

    async def send(_: Message) -> None:
        """Takes the answer."""

    calls = ("preview", "logs", "failed_runs", "whoami", "explain", "plan", "planned", "plans", "stop", "openapi")
    cancels = SimpleNamespace(cancel=nothing, apply=nothing, keeps_state=False)
    pages = SimpleNamespace(**dict.fromkeys(calls, nothing))
    pages.decisions = SimpleNamespace(one=nothing, listed=nothing, record=nothing)
    pages.counts, pages.events = SimpleNamespace(counts=nothing), SimpleNamespace(events=nothing)
    pages.policies, pages.with_state = SimpleNamespace(policies=nothing), lambda: ()
    app = Starlette(routes=routes(cast(Cancels, cancels), cast(Pages, pages), cast(HealthPages, None)))
    inbound = Inbound({"headers": []}, receive, values.DECISION_ID, None, cast(InForce, None))

    def ask() -> bool:
        """One request; nothing in it waits."""
        scope = {"type": "http", "method": "DELETE", "path": RUNS, "state": {INBOUND: inbound}}
        try:
            app(scope, receive, send).send(None)
        except StopIteration:
            return True
        return False

    assert benchmark(ask)


def test_answer(benchmark: BenchmarkFixture) -> None:
    """Headers and body of a 200."""
    assert benchmark(answers.outcome, Result(values.plan(), values.OUTCOME), values.DECISION_ID).status == 200


def test_refuse(benchmark: BenchmarkFixture) -> None:
    """A denial with the nearest that would be allowed, and its answer."""
    policies = values.policies(10)
    asked = parse_cancel(values.QUERY.replace(b"count=50", b"count=5000"), Body())

    def refuse() -> int:
        """The judgement and its answer."""
        denied = decide(policies, values.PRINCIPAL, asked, values.NOW_MS)
        assert not isinstance(denied, Permit)
        return answers.denial(denied, values.DECISION_ID).status

    assert benchmark(refuse) == 403
