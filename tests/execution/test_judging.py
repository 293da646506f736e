"""What takes long to judge is judged beside the loop, and in turn; nothing of it stands before a reload."""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import gateway
from gateway.core.errors import Unauthenticated
from gateway.core.plan import Decision, Denial, Permit
from gateway.core.request import ActionRequest, ByFilter, ByIds, Principal
from gateway.core.run import Listing, Run
from gateway.execution.in_flight import Replay
from gateway.execution.judging import Judging
from gateway.execution.pipeline import Pipeline
from gateway.execution.ports import Call
from gateway.policy.conditions import UrlCondition, ValueCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.upstream.shares import Desk
from tests.execution.bench import ANN, BOB, POLICIES, URL
from tests.execution.fakes import MemoryLog, PromptUpstream, StillClock
from tests.support.turns import longest_turn

DIRECT = tuple(replace(rule, resolution=None) for rule in POLICIES.rules)
EVE = Principal("others", "eve")
MANY = 100
ONE = ActionRequest(ByFilter(workflow_urls=(f"{URL}/",)), 5)
FEW = ActionRequest(ByFilter(workflow_urls=(URL,)), 5)
WIDE = ActionRequest(ByFilter(workflow_urls=tuple(f"{URL}/{number}/" for number in range(MANY))), 5)


@dataclass
class Watched(StillClock):
    """A clock that remembers which threads asked it."""

    threads: set[str] = field(default_factory=set)

    def now_ms(self) -> int:
        self.threads.add(threading.current_thread().name)
        return super().now_ms()


@dataclass
class Gate:
    """Work that begins when a thread takes it, and ends when it is told to."""

    begun: list[str] = field(default_factory=list)
    opened: threading.Event = field(default_factory=threading.Event)

    def work(self, name: str) -> Callable[[], Callable[[], str]]:
        """One piece of work."""

        def run() -> str:
            self.begun.append(name)
            assert self.opened.wait(30)
            return name

        return lambda: run

    async def until(self, number: int) -> None:
        """Waits until so many pieces have begun."""
        async with asyncio.timeout(30):
            while len(self.begun) < number:  # noqa: ASYNC110 - threads begin it, and know no loop
                await asyncio.sleep(0.001)


def denies(number: int, team: str = "*") -> tuple[Rule, ...]:
    """Rules about other URLs."""
    return tuple(
        Rule(
            "guard",
            f"d{at:05}",
            Effect.DENY,
            {"workflowUrl": UrlCondition(prefix=(f"https://other{at}.example/api",))},
            teams=frozenset((team,)),
        )
        for at in range(number)
    )


def call(policies: Policies, request: ActionRequest, *, principal: Principal = ANN) -> Call:
    """A call of a caller who is still there and whose standing does not change."""

    async def here() -> bool:
        return False

    return Call(policies, principal, request, "d1", None, here, lambda: policies)


async def decided(clock: Watched, asked: Call) -> Decision:
    """The decision that the pipeline comes to."""
    pipeline = Pipeline(upstream=PromptUpstream(), upstream_url=URL, audit=MemoryLog(), clock=clock)
    result = await pipeline.run(asked)
    await pipeline.stop(0)
    assert not isinstance(result, Replay)
    return result if isinstance(result, Denial) else result.plan.permit


@pytest.mark.parametrize(("rules", "request_", "beside"), [(3, WIDE, False), (1000, ONE, True), (1000, WIDE, True)])
async def test_a_long_judgement_is_made_beside_the_loop(rules: int, request_: ActionRequest, beside: bool) -> None:
    """Many rules that were not looked at yet, or many rules times many values; everything else at once."""
    clock = Watched()
    decision = await decided(clock, call(Policies((*DIRECT, *denies(rules)), "d"), request_))
    assert isinstance(decision, Permit)
    assert any(name.startswith("judging") for name in clock.threads) is beside


async def test_a_short_judgement_is_made_at_once_after_the_first() -> None:
    """With 1,000 rules a request of one URL takes no thread, once the rules are sorted."""
    clock = Watched()
    policies = Policies((*DIRECT, *denies(1000)), "d")
    await decided(clock, call(policies, ONE))
    clock.threads.clear()
    await decided(clock, call(policies, ONE))
    assert clock.threads == {threading.current_thread().name}


@pytest.mark.parametrize("about", ["what is asked", "something else"])
@pytest.mark.parametrize("effect", Effect)
async def test_many_rules_are_tried_beside_the_loop_and_passed_over_at_once(effect: Effect, about: str) -> None:
    """What counts is how many rules speak about the request, not how many there are; a `require` speaks about all."""
    prefix = URL if about == "what is asked" else "https://other.example/api"
    said = {"workflowUrl": UrlCondition(prefix=(prefix,), optional=effect is Effect.REQUIRE)}
    label = {"label": ValueCondition("label", frozenset(("other",)), optional=True)}
    many = tuple(
        Rule("z", f"r{at:05}", effect, {**said, **label}, teams=frozenset(("team",)), shadow=effect is Effect.DENY)
        for at in range(4000)
    )
    clock, policies = Watched(), Policies((*DIRECT, *many), "d")
    await Judging(clock).prepared(policies, ANN)
    await decided(clock, call(policies, ONE))
    beside = about == "what is asked" or effect is Effect.REQUIRE
    assert any(name.startswith("judging") for name in clock.threads) is beside


async def test_the_loop_goes_on_while_a_decision_is_made() -> None:
    """10,000 rules of 100 values each against 100 prefixes: others are served meanwhile."""
    shared = frozenset(f"l{number}" for number in range(MANY))
    rules = tuple(
        Rule("p", f"a{at:05}", Effect.ALLOW, {"label": ValueCondition("label", shared)}, teams=frozenset(("team",)))
        for at in range(10_000)
    )
    judging = Judging(StillClock())
    request = ActionRequest(ByFilter(labels=tuple(sorted(shared))), 5)
    task = asyncio.create_task(judging.judged(call(Policies(rules, "d"), request)))
    assert await longest_turn(task) < 1 / 2
    _, decision = task.result()
    assert decision.rule == "p/a00000"


async def test_many_runs_under_many_rules_are_judged_beside_the_loop() -> None:
    """What a look-up found, and a hundred runs of one order."""
    clock = Watched()
    policies = Policies((*POLICIES.rules, *denies(1000)), "d")
    listing = Listing(tuple(Run(f"wfr_{at}", URL, 1_794_000_000_000) for at in range(MANY)))
    judging = Judging(clock)
    called, permit = await judging.judged(call(policies, FEW))
    assert isinstance(permit, Permit)
    clock.threads.clear()
    assert not isinstance(await judging.chosen(called, permit, listing), Denial)
    assert not [name for name in clock.threads if not name.startswith("judging")]


async def test_teams_take_turns() -> None:
    """However much one team asks at once, the next piece of work is another's."""
    desk, gate = Desk("desk", 1), Gate()
    own = [asyncio.create_task(desk.done(ANN, gate.work(f"ann-{number}"))) for number in range(20)]
    own += [asyncio.create_task(desk.done(BOB, gate.work(f"bob-{number}"))) for number in range(20)]
    await gate.until(1)
    other = asyncio.create_task(desk.done(EVE, gate.work("eve")))
    await asyncio.sleep(0.01)
    gate.opened.set()
    await asyncio.gather(*own, other)
    assert gate.begun[0] == "ann-0"
    assert gate.begun.index("eve") == 1


async def test_within_a_team_its_principals_take_turns() -> None:
    """One key's twenty requests are one place in the row of its team."""
    desk, gate = Desk("desk", 2), Gate()
    own = [asyncio.create_task(desk.done(ANN, gate.work(f"ann-{number}"))) for number in range(20)]
    await gate.until(1)
    other = asyncio.create_task(desk.done(BOB, gate.work("bob")))
    await asyncio.sleep(0.01)
    gate.opened.set()
    await asyncio.gather(*own, other)
    assert gate.begun.index("bob") == 1


async def test_who_does_not_wait_any_more_keeps_the_turn_until_the_work_is_done() -> None:
    """A thread cannot be stopped, and going away wins nobody a second one."""
    desk, gate = Desk("desk", 2), Gate()
    first = asyncio.create_task(desk.done(ANN, gate.work("first")))
    await gate.until(1)
    first.cancel()
    second = asyncio.create_task(desk.done(BOB, gate.work("second")))
    await asyncio.sleep(0.05)
    assert gate.begun == ["first"]
    gate.opened.set()
    assert await second == "second"
    assert first.cancelled()


async def test_an_error_gives_the_turn_back() -> None:
    """The next one is served."""
    desk, gate = Desk("desk", 1), Gate()
    gate.opened.set()

    def broken() -> str:
        raise OverflowError

    for _ in range(3):
        with pytest.raises(OverflowError):
            await desk.done(ANN, lambda: broken)
    assert await desk.done(ANN, gate.work("next")) == "next"


async def test_without_a_thread_the_work_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has none to give: the answer is late, and true."""

    def no_thread(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", no_thread)
    policies = Policies((*POLICIES.rules, *denies(1000)), "d")
    _, decision = await Judging(StillClock()).judged(call(policies, WIDE))
    assert isinstance(decision, Permit)


async def test_who_waits_is_judged_by_the_policies_of_then() -> None:
    """A reload while a request waits for its turn holds for it."""
    before, after = Policies((*POLICIES.rules, *denies(1000)), "before"), Policies((), "after")
    asked = replace(call(before, WIDE), standing=lambda: after)
    called, decision = await Judging(StillClock()).judged(asked)
    assert called.policies is after
    assert isinstance(decision, Denial)


@pytest.mark.parametrize("looks", [0, 1])
async def test_a_key_that_is_revoked_while_its_request_waits_is_refused(looks: int) -> None:
    """Before its turn, or while it is judged."""
    policies = Policies((*POLICIES.rules, *denies(1000)), "d")
    standings = [policies] * looks
    asked = replace(call(policies, WIDE), standing=lambda: standings.pop() if standings else None)
    with pytest.raises(Unauthenticated):
        await Judging(StillClock()).judged(asked)


def test_callers_work_shares_no_threads_with_reloads() -> None:
    """The threads that the loop has for everyone serve operators alone: files, the log, the roots of TLS, traces."""
    using = set()
    for path in Path(gateway.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and ast.unparse(node.func)
            unnamed = isinstance(node, ast.Call) and node.args and ast.unparse(node.args[0]) == "None"
            if called and (called.endswith("to_thread") or (called.endswith("run_in_executor") and unnamed)):
                using.add(str(path.relative_to(Path(gateway.__file__).parent)))
    known = {"audit/log.py", "cli/trial/tour.py", "files/watch.py", "serving/outcomes.py", "serving/reload.py"}
    # Shared state is loaded, looked for once a second, and recovered at the start.
    state = {"fleet/joining.py", "fleet/taken.py", "fleet/timed/recovered.py"}
    assert using <= known | state | {"telemetry/traced.py", "upstream/direct.py"}


async def test_ids_of_many_rules_are_judged_beside_the_loop() -> None:
    """A thousand run IDs count like a thousand values."""
    clock = Watched()
    policies = Policies((*DIRECT, *denies(1000)), "d")
    ids = ActionRequest(ByIds(tuple(f"wfr_{number}" for number in range(1000))), 1000)
    decision = await decided(clock, call(policies, ids))
    assert isinstance(decision, Denial)
    assert any(name.startswith("judging") for name in clock.threads)
