"""A long answer of upstream's is read beside the loop, whatever it holds; others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from gateway.core.request import Principal
from gateway.policy.rules import TeamRules
from gateway.simulator.exchange import Fault, Kind
from gateway.simulator.server import SimulatorServer
from gateway.upstream.runs.log import UpstreamLog
from gateway.upstream.runs.pages import AT_ONCE_BYTES
from gateway.upstream.runs.team_runs import own_runs
from gateway.upstream.token import AccountTokens, TokenHolder, UpstreamToken
from tests.support.steps import steps
from tests.support.turns import longest_turn
from tests.upstream.runs.reading import NOW_MS, OURS, READING, WRITING, opened, run, serving
from tests.upstream.runs.test_own import FULL, POLICY, rules

CI = Principal("billing", "ci")
MANY = 20_000
"""Objects of one page: half a second of Python's time, on a fast machine."""


class Watched(AccountTokens):
    """Tokens that remember which threads looked for them."""

    def __init__(self) -> None:
        super().__init__(TokenHolder(UpstreamToken(WRITING), 0), TokenHolder(UpstreamToken(READING), 0))
        self.threads: set[str] = set()

    def is_in(self, text: str | bytes) -> bool:
        self.threads.add(threading.current_thread().name)
        return super().is_in(text)


def page(objects: int) -> str:
    """A legal page with one run, in whose payload there are so many objects."""
    entry = run(1).wire() | {"steps": [{"n": number} for number in range(objects)]}
    return json.dumps({"cursor": "", "runs": [entry]})


Reads = Callable[[UpstreamLog, TeamRules], Awaitable[object]]


async def own(log: UpstreamLog, speaking: TeamRules) -> object:
    """One page of a team's own runs."""
    return await own_runs(b"", speaking, log, NOW_MS, events=False, principal=CI)


READS: dict[str, tuple[str, Reads]] = {
    "by a filter": (POLICY, lambda log, _: log.running(OURS)),
    "by ID": (POLICY, lambda log, _: log.look_up(["wfr_00001"])),
    "a team's own": (POLICY, own),
    "a team's own, with payloads": (FULL, own),
}


def answered(server: SimulatorServer, body: str) -> None:
    """The next reading is answered with these bytes."""
    server.simulator.script(Fault(on=Kind.LOGS, status=200, body=body))


@pytest.mark.parametrize("objects", [1, MANY])
@pytest.mark.parametrize("reads", READS)
async def test_a_long_page_is_read_on_a_thread_and_a_short_one_at_once(
    tmp_path: Path, reads: str, objects: int
) -> None:
    """With everything that is made of it: its runs, what the rules say of them, and the look for secrets."""
    policy, read = READS[reads]
    account, body = Watched(), page(objects)
    with serving() as server:
        answered(server, body)
        async with opened(server.url, account=account) as log:
            await read(log, rules(tmp_path, policy))
    here = threading.current_thread().name
    assert account.threads == ({here} if len(body) <= AT_ONCE_BYTES else {"reading_0"})


async def test_the_rules_of_a_team_with_many_are_held_against_a_page_beside_the_loop(tmp_path: Path) -> None:
    """However short it is."""
    account, many = (
        Watched(),
        [f"  - {{id: r{n}, workflowUrl: {{any: true}}, label: {{any_of: [l{n}]}}}}" for n in range(300)],
    )
    with serving() as server:
        answered(server, page(1))
        async with opened(server.url, account=account) as log:
            await own(log, rules(tmp_path, POLICY + "\n".join(many) + "\n"))
    assert account.threads == {"reading_0"}


@pytest.mark.parametrize("reads", READS)
def test_the_loop_does_no_more_for_a_page_that_holds_ten_times_as_much(tmp_path: Path, reads: str) -> None:
    """Its instructions are those of the exchange; it never looks into what came."""
    policy, read = READS[reads]
    speaking = rules(tmp_path, policy)

    async def once(url: str) -> None:
        async with opened(url) as log:
            await read(log, speaking)

    counted = []
    with serving() as server:
        for objects in (1, MANY // 10, MANY):
            answered(server, page(objects))
            counted.append(steps(partial(asyncio.run, once(server.url))))
    _, some, many = counted
    assert many <= 1.5 * some


async def test_the_loop_goes_on_while_a_page_is_read(tmp_path: Path) -> None:
    """Health checks and others' cancels are served, though the page is eight megabytes of the dearest kind."""
    speaking = rules(tmp_path, FULL)
    with serving() as server:
        answered(server, page(10 * MANY))
        async with opened(server.url) as log:
            task = asyncio.create_task(own_runs(b"", speaking, log, NOW_MS, events=False, principal=CI))
            # Read on the loop, nearly all of the time would be one turn.
            assert await longest_turn(task) < 1 / 2
            assert len((await task)["runs"]) == 1  # type: ignore[arg-type]


async def test_a_long_report_on_a_bulk_action_is_read_beside_the_loop() -> None:
    """It is upstream's as well."""
    report = {"actionId": "act_1", "state": "FINISHED", "total": 1, "processed": 1, "filter": {"label": ["a"] * MANY}}
    with serving() as server:
        server.simulator.script(Fault(on="any", status=200, body=json.dumps(report)))
        async with opened(server.url) as log:
            found = await log.action("act_1")
            assert found is not None
            assert (found.total, len(log._desk._threads._threads)) == (1, 1)
