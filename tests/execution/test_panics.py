"""A panic of a native library, which `except Exception` does not catch, at every port of a request's way."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from gateway.audit.decisions.finding import Decisions
from gateway.audit.decisions.keeper import Keeper
from gateway.audit.decisions.latest import Latest
from gateway.audit.refusals import RefusalLog
from gateway.callers.admission import Admission, Slot
from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.in_force import InForce, LiveSettings
from gateway.callers.issuers import Pins
from gateway.callers.settings import CallerKey, Limits
from gateway.core.outcome import Cancelled, Closing, Outcome, Refused
from gateway.core.plan import Order, Plan, Receipt
from gateway.core.request import Everything, Filter, Principal
from gateway.core.run import STARTED, Listing, LookUp, Resolution, Run
from gateway.edge.app import Edge
from gateway.edge.health import HealthApp, HealthPages
from gateway.edge.inbound import Intake
from gateway.edge.pages.calls import Pages
from gateway.edge.pages.decisions import DecisionPages
from gateway.edge.pages.questions import Questions
from gateway.execution.in_flight import JOINABLE_S
from gateway.execution.pipeline import Pipeline
from gateway.execution.ports import LookUps
from gateway.policy.conditions import RunIdCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.upstream.client import Exchange, Failed, UpstreamLimits
from gateway.upstream.token import UpstreamToken
from tests.callers.virtual_time import run
from tests.execution.fakes import HeldUpstream, MemoryLog, MemoryRuns, PromptUpstream, StillClock
from tests.execution.test_pipeline import ANN, call, pipeline
from tests.support.waiting import soon


class Panic(BaseException):
    """As `pyo3_runtime.PanicException`: no Exception, with a text that nobody chose."""


SECRET = "what-the-library-was-working-on"
KEY = "qgk_ci_" + "a" * 43
HEADERS = [(b"authorization", b"Bearer " + KEY.encode())]
RUN = Run("wfr_1", "https://a.example/api", 1_794_000_000_000, STARTED)


@dataclass
class Fuse:
    """Panics in the named call, from its `at`-th time on, `times` times."""

    call: str = ""
    at: int = 1
    times: int = 10**9
    calls: int = 0

    def burn(self, call: str) -> None:
        if call == self.call:
            self.calls += 1
            if self.at <= self.calls < self.at + self.times:
                raise Panic(SECRET)


@dataclass
class FusedLog(MemoryLog):
    fuse: Fuse = field(default_factory=Fuse)

    async def intent(self, plan: Plan) -> Receipt:
        self.fuse.burn("intent")
        return await super().intent(plan)

    async def chunk(self, members: Mapping[str, object]) -> bool:
        self.fuse.burn("chunk")
        return await super().chunk(members)

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        self.fuse.burn("close")
        await super().close(receipt, closing)

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        self.fuse.burn("note")
        await super().note(event, members)

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        self.fuse.burn("note_soon")


@dataclass
class FusedUpstream(PromptUpstream):
    fuse: Fuse = field(default_factory=Fuse)

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        outcome = await super().send(order, receipt)
        self.fuse.burn("cancel")
        return outcome


@dataclass
class FusedRuns(MemoryRuns):
    fuse: Fuse = field(default_factory=Fuse)

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        self.fuse.burn("look_up")
        return await super().look_up(run_ids)

    async def running(self, selection: Filter | Everything, look: LookUp) -> Listing:
        return await super().running(selection, look)


@dataclass
class FusedClock(StillClock):
    fuse: Fuse = field(default_factory=Fuse)

    def now_ms(self) -> int:
        self.fuse.burn("now_ms")
        return super().now_ms()

    def monotonic_s(self) -> float:
        self.fuse.burn("monotonic_s")
        return super().monotonic_s()


@dataclass
class FusedSettler:
    fuse: Fuse

    def follow(self, plan: Plan, outcome: Outcome) -> None:
        self.fuse.burn("follow")


class FusedAuthenticator(Authenticator):
    fuse = Fuse()

    def authenticate(self, authorization: bytes | None, now_ms: int) -> Principal:
        self.fuse.burn("authenticate")
        return super().authenticate(authorization, now_ms)


class FusedAdmission(Admission):
    fuse = Fuse()

    def place(self, principal: Principal, monotonic_s: float, *, cost: int = 1) -> Slot:
        self.fuse.burn("place")
        return super().place(principal, monotonic_s, cost=cost)


class FusedProxies(TrustedProxies):
    fuse = Fuse()

    def remote(self, scope: object) -> str | None:
        self.fuse.burn("remote")
        return None


@dataclass
class FusedLines:
    """The operators' log."""

    fuse: Fuse
    said: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    def info(self, event: str, **members: object) -> None:
        self.fuse.burn("info")

    def error(self, event: str, **members: object) -> None:
        self.fuse.burn("error")
        self.said.append((event, members))


@dataclass
class FusedPage:
    fuse: Fuse

    def report(self) -> tuple[bool, dict[str, object]]:
        self.fuse.burn("report")
        return True, {"state": "ready"}


@dataclass
class House:
    """An edge with every port in hand; `resolve` makes its rule look runs up, `taken` holds its answers back."""

    fuse: Fuse
    resolve: bool = False
    upstream: PromptUpstream | HeldUpstream | None = None
    taken: asyncio.Event | None = None

    def __post_init__(self) -> None:
        policies = Policies((_rule(resolve=self.resolve),), "digest")
        self.log, self.clock, self.lines = FusedLog(fuse=self.fuse), FusedClock(fuse=self.fuse), FusedLines(self.fuse)
        self.sent = self.upstream or FusedUpstream(fuse=self.fuse)
        self.pages = HealthPages(FusedPage(self.fuse))
        key = CallerKey("ci", "team", hashlib.sha256(KEY.encode()).digest())
        authenticator, proxies = FusedAuthenticator([key], is_upstream_token=lambda _: False), FusedProxies(())
        authenticator.fuse = proxies.fuse = self.fuse
        limits = Limits()
        current = LiveSettings(InForce(policies, authenticator, (key,), Pins(), limits, proxies))
        admission = FusedAdmission(max_in_flight=9, principal_in_flight=9, requests_per_minute=0)
        admission.fuse, current.admission = self.fuse, admission
        self.pipeline = Pipeline(
            upstream=self.sent,
            upstream_url="https://up.example",
            audit=self.log,
            clock=self.clock,
            look_ups=LookUps(FusedRuns([RUN], fuse=self.fuse)),
            settler=FusedSettler(self.fuse),
        )
        intake, nowhere = Intake(current, self.clock, lambda _: False), Path("nowhere")
        latest = Latest()
        decisions = Decisions(nowhere, latest, Keeper(nowhere, latest, operators_log=self.lines))
        self.edge = Edge(
            pipeline=self.pipeline,
            pages=Pages(intake, self.pipeline, Questions(self.log, self.clock), DecisionPages(intake, decisions)),
            health=self.pages,
            refusals=RefusalLog(self.log, self.clock, log=self.lines),
            wall=self.clock,
            log=self.lines,
        )

    async def ask(
        self, query: bytes = b"workflowRunIds=wfr_1", *, method: str = "DELETE", path: bytes = b"/v2/workflows/runs"
    ) -> tuple[int, str, dict]:
        """One request: status, content type, members of the body."""
        scope = {
            "type": "http",
            "method": method,
            "path": path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": HEADERS,
        }
        sent: list[Message] = []

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            self.fuse.burn("send")
            if self.taken is not None:
                await self.taken.wait()
            sent.append(message)

        await self.edge(scope, receive, send)
        start, body = sent
        return start["status"], dict(start["headers"])[b"content-type"].decode(), json.loads(body["body"])

    def opened(self) -> set[str]:
        """The decisions with an intent."""
        return {decision for name, decision, _ in self.log.events if name == "intent"}

    def closed(self) -> list[str]:
        """The decision of every closing record."""
        return [decision for name, decision, _ in self.log.events if name == "outcome"]


def _rule(*, resolve: bool) -> Rule:
    return Rule(
        policy="team",
        id="own",
        effect=Effect.ALLOW,
        conditions={"workflowRunIds": RunIdCondition(prefix=("wfr_",))},
        teams=frozenset(("team",)),
        resolution=Resolution(max_runs=50) if resolve else None,
    )


BEFORE = [
    Fuse("authenticate"),
    Fuse("place"),
    Fuse("remote"),
    Fuse("now_ms"),
    Fuse("monotonic_s", times=1),
    Fuse("intent"),
]


@pytest.mark.parametrize("fuse", BEFORE, ids=lambda fuse: fuse.call)
async def test_before_the_receipt_it_is_a_503_and_nothing_is_sent(fuse: Fuse) -> None:
    """The answer is a problem, no order is out, and the same request goes through once the panics end."""
    house = House(replace(fuse))
    status, kind, members = await house.ask()
    assert (status, kind, members["code"]) == (503, "application/problem+json", "internal_error")
    assert (house.sent.orders, house.opened()) == ([], set())
    house.fuse.call = ""
    assert (await house.ask())[0] == 200
    assert [event for event, _ in house.lines.said] == ["internal_error"]


AFTER = [
    (Fuse("cancel"), False, 504, 1),
    (Fuse("close"), False, 504, 0),
    (Fuse("close", times=1), False, 200, 1),
    (Fuse("monotonic_s", at=2), False, 200, 1),
    (Fuse("follow"), False, 200, 1),
    (Fuse("cancel"), True, 504, 1),
    (Fuse("chunk"), True, 504, 1),
]


@pytest.mark.parametrize(("fuse", "resolve", "status", "closed"), AFTER)
async def test_after_the_receipt_it_is_a_value_and_the_intent_is_closed(
    fuse: Fuse, resolve: bool, status: int, closed: int
) -> None:
    """The true outcome, or 504; one closing record where the log takes any; the repeat is a cancel of its own.

    It orders no run by ID that an order may have cancelled already.
    """
    house = House(replace(fuse), resolve=resolve)
    answer = await house.ask()
    assert answer[0] == status
    assert answer[2].get("code") == ("outcome_unknown" if status == 504 else None)
    assert len(house.opened()) == 1
    assert house.closed() == list(house.opened()) * closed
    house.fuse.call = ""
    house.sent.orders.clear()
    # What may have been carried out is not said to be done.
    assert (await house.ask())[0] in ((200, 409) if resolve else (200,))
    assert len(house.sent.orders) == (0 if resolve else 1)
    assert house.log.named("joined") == []


async def test_in_a_look_up_it_refuses_the_request_and_frees_the_principal() -> None:
    """Nothing was sent, and the next look-up of the same principal begins."""
    house = House(Fuse("look_up"), resolve=True)
    assert [(await house.ask())[2]["code"] for _ in range(2)] == ["lookup_failed"] * 2
    house.fuse.call = ""
    assert (await house.ask())[0] == 200


async def test_before_an_order_of_a_plan_nothing_more_is_sent_and_the_plan_is_closed() -> None:
    """The second look panics after the intent: the order was not sent, and that is what the record says."""
    house = House(Fuse("now_ms", at=5), resolve=True)
    status, _, members = await house.ask()
    assert (status, members["cause"], house.sent.orders) == (502, "internal_Panic", [])
    assert house.closed() == list(house.opened())


@pytest.mark.parametrize("call", ["note", "error", "info"])
async def test_a_log_that_panics_changes_no_refusal(call: str) -> None:
    """What a stranger or a caller is refused with does not depend on who hears of it."""
    house = House(Fuse(call))
    assert (await house.ask(b"workflowRunIds=wfr_1&workflowRunIds=%00"))[0] == 400


@pytest.mark.parametrize(
    "outcome", [Cancelled(200, 99), Refused(403, "no")], ids=["over-cancelled", "refused-by-upstream"]
)
async def test_operators_hear_after_the_answer_and_a_log_that_panics_keeps_none_in_flight(outcome: Outcome) -> None:
    """The true answer is out before the operators' log is touched, and the next identical cancel is sent."""
    house = House(Fuse("error"), upstream=PromptUpstream([outcome, outcome]))
    expected = 200 if isinstance(outcome, Cancelled) else 502
    assert [(await house.ask())[0] for _ in range(2)] == [expected] * 2
    assert (len(house.sent.orders), house.log.named("joined")) == (2, [])


async def test_an_outcome_that_cannot_be_put_into_words_is_a_504() -> None:
    """Upstream's text has half a surrogate pair: the answer names the record, and the cancel is released."""
    house = House(Fuse(), upstream=PromptUpstream([Refused(403, "\ud800")]))
    status, kind, members = await house.ask()
    assert (status, kind, members["code"]) == (504, "application/problem+json", "outcome_unknown")
    assert (await house.ask())[0] == 200
    assert house.log.named("joined") == []


async def test_no_line_says_what_a_panic_was_about() -> None:
    """A fault's text may be a caller's bytes or a secret: operators get its class and its place."""
    house = House(Fuse("authenticate"))
    await house.ask()
    ((event, members),) = house.lines.said
    assert (event, members["error"]) == ("internal_error", "Panic")
    assert str(members["at"]).startswith("test_panics.py:")
    assert SECRET not in str(house.lines.said)


async def test_a_task_that_is_cancelled_leaves_an_answer_and_nothing_in_flight_for_ever() -> None:
    """The server cancels at the end of its grace: the caller gets 504, the cancel goes on and is recorded."""
    house = House(Fuse(), upstream=HeldUpstream())
    assert isinstance(house.sent, HeldUpstream)
    asked = asyncio.ensure_future(house.ask())
    await house.sent.called.wait()
    asked.cancel()
    assert (await asked)[2]["code"] == "outcome_unknown"
    house.sent.answer.set_result(Cancelled(200, 1))
    await soon(lambda: bool(house.closed()))
    assert house.closed() == list(house.opened())


async def test_an_answer_that_cannot_be_written_is_never_replaced_by_nothing_was_sent() -> None:
    """The cancel was carried out, and then the first write fails: the caller is told of the record."""
    house = House(Fuse("send", times=1))
    status, _, members = await house.ask()
    assert (status, members["code"], len(house.sent.orders)) == (504, "outcome_unknown", 1)


async def test_an_answer_that_waits_to_be_taken_outlives_the_end_of_its_task() -> None:
    """The server cancels it before it has taken a byte: the true outcome is written once there is room."""
    house = House(Fuse(), taken=asyncio.Event())
    asked = asyncio.ensure_future(house.ask())
    await soon(house.closed)
    for _ in range(5):
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.sleep(0)
    assert house.taken is not None
    house.taken.set()
    status, _, members = await asked
    assert (status, members) == (200, {"cancelled": 1})


@pytest.mark.parametrize("turns", range(25))
@pytest.mark.parametrize("resolve", [False, True])
async def test_at_whatever_moment_a_task_is_cancelled_its_answer_is_true(turns: int, *, resolve: bool) -> None:
    """Turn by turn through the whole way: "nothing was sent" is said only if nothing was, then and later."""
    house = House(Fuse(), resolve=resolve)
    asked = asyncio.ensure_future(house.ask())
    # In its first turn the task has not begun, and a cancellation ends it unseen.
    for _ in range(turns + 1):
        await asyncio.sleep(0)
    asked.cancel()
    try:
        status, _, members = await asked
    except asyncio.CancelledError:
        pytest.fail("a cancellation left the door")
    for _ in range(30):
        await asyncio.sleep(0)
    assert status in (200, 503, 504)
    assert status != 503 or (members["code"] == "shutting_down" and not house.sent.orders)


def test_no_cancel_stays_joinable_whatever_becomes_of_its_callers() -> None:
    """Nobody says that the answer was written: ten seconds after its end the same request is a new cancel."""

    async def story() -> None:
        gateway = pipeline(PromptUpstream(), MemoryLog())
        await gateway.run(call("d1"))
        assert gateway.any_to_join(ANN)
        await asyncio.sleep(JOINABLE_S + 0.1)
        assert not gateway.any_to_join(ANN)

    run(story())


@pytest.mark.parametrize("fault", [Panic(SECRET), SystemExit(3), KeyboardInterrupt()])
async def test_whatever_leaves_the_transport_may_have_been_sent(fault: BaseException) -> None:
    """But for a cancellation, every end of an exchange is a value that says so."""

    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise fault

    exchange = Exchange("https://up.example", limits=UpstreamLimits(1, 1), transport=Broken())
    token = UpstreamToken("t" * 40)
    failed = await exchange.send("DELETE", b"/", token, max_answer_bytes=10)
    assert isinstance(failed, Failed)
    assert failed.sent


async def test_a_page_that_panics_is_a_problem() -> None:
    """Also on the listener that has nothing but the pages."""
    house, sent = House(Fuse("report")), list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "raw_path": b"/readyz", "query_string": b"", "headers": []}
    await HealthApp(house.pages)(scope, receive, send)
    assert sent[0]["status"] == 503
    assert (await house.ask(b"", method="GET", path=b"/readyz"))[0] == 503
