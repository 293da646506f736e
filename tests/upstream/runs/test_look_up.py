"""Looking runs up by their IDs, and asking how far a bulk action is."""

from __future__ import annotations

import json

import pytest

from gateway.core.errors import LookupFailed, TooLarge
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Call, Fault, Kind, Token
from gateway.simulator.runs import SUCCESS, Run
from gateway.simulator.server import SimulatorServer
from gateway.upstream.runs.listing import AT_ONCE
from gateway.upstream.runs.log import MAX_IDS, ActionReport
from gateway.upstream.token import AccountTokens
from tests.upstream.runs.reading import INVOICE, NOW_MS, READING, WRITING, opened, run, runs, serving, tokens


async def test_each_id_that_exists_is_found_running_or_not_and_an_unknown_one_is_missing() -> None:
    """Who asks can tell finished runs from IDs that nobody ever had."""
    with serving(run(1), run(2).ended(SUCCESS, NOW_MS), run(3)) as server:
        async with opened(server.url) as log:
            listing = await log.look_up(["wfr_00002", "wfr_00001", "wfr_none", "wfr_00001"])
        readings = server.simulator.readings
    assert {found.run_id: found.running for found in listing.runs} == {"wfr_00001": True, "wfr_00002": False}
    assert len(readings) == 3
    assert {reading.call.token for reading in readings} == {Token.READ_ONLY}


async def test_two_hundred_ids_are_looked_up_and_one_more_is_refused() -> None:
    """A few at once, each by itself."""
    account = runs(MAX_IDS + 1)
    with serving(*account) as server:
        async with opened(server.url) as log:
            assert len((await log.look_up([one.run_id for one in account[:MAX_IDS]])).runs) == MAX_IDS
            with pytest.raises(TooLarge) as refused:
                await log.look_up([one.run_id for one in account])
        assert len(server.simulator.readings) == MAX_IDS
    assert refused.value.cause == "run_ids"


@pytest.mark.parametrize("newest_first", [True, False])
async def test_of_an_id_that_was_started_several_times_the_newest_run_counts(newest_first: bool) -> None:
    """Whatever the order in which upstream lists them, over all of its pages."""
    entries = [Run("wfr_again", INVOICE, NOW_MS + number).ended(SUCCESS, NOW_MS).wire() for number in range(14)]
    entries.append(Run("wfr_again", INVOICE, NOW_MS + 14).wire())
    ordered = entries[::-1] if newest_first else entries
    pages = [(ordered[:10], "next"), (ordered[10:], "")]
    with serving() as server:
        for listed, cursor in pages:
            body = json.dumps({"runs": listed, "cursor": cursor})
            server.simulator.script(Fault(on=Kind.LOGS, status=200, body=body))
        async with opened(server.url) as log:
            [found] = (await log.look_up(["wfr_again"])).runs
    assert (found.created_ms, found.running) == (NOW_MS + 14, True)


async def test_an_id_without_end_of_pages_is_refused() -> None:
    """Twenty pages of one ID are too many; the sentence is about that."""
    with serving() as server:
        for number in range(21):
            body = json.dumps({"runs": [run(1).wire()], "cursor": f"c{number}"})
            server.simulator.script(Fault(on=Kind.LOGS, status=200, body=body))
        async with opened(server.url) as log:
            with pytest.raises(TooLarge, match="started too often"):
                await log.look_up(["wfr_00001"])


async def test_an_answer_about_another_run_is_not_believed() -> None:
    """An upstream that does not understand the question would show any run."""
    with serving(run(1)) as server:
        body = json.dumps({"runs": [run(2).wire()], "cursor": ""})
        server.simulator.script(Fault(on=Kind.LOGS, status=200, body=body))
        async with opened(server.url) as log:
            with pytest.raises(LookupFailed) as failed:
                await log.look_up(["wfr_00001"])
    assert failed.value.cause == "other_run"


async def test_one_failure_among_many_ids_fails_the_look_up() -> None:
    """What is known of the others is not enough to judge the request, and nothing goes on in the background."""
    account = runs(3 * AT_ONCE)
    with serving(*account) as server:
        server.simulator.script(Fault(on=Kind.LOGS, status=500, body="{}"))
        async with opened(server.url) as log:
            with pytest.raises(LookupFailed) as failed:
                await log.look_up([one.run_id for one in account])
    assert failed.value.cause == "status"


def with_action() -> tuple[SimulatorServer, str]:
    """An upstream with one bulk action in the background, and its name."""
    simulator = Simulator(runs(5), always_in_background=True, action_ms=3_600_000)
    answer = simulator.answer(Call("DELETE", "/v2/workflows/runs", "label=none&count=1"), NOW_MS)
    server = SimulatorServer(simulator, token=WRITING, read_token=READING, clock=lambda: NOW_MS)
    return server, json.loads(answer.body)["actionId"]


@pytest.mark.parametrize(
    ("account", "token"), [(tokens(), Token.READ_ONLY), (tokens(None), Token.FULL)], ids=["read-only", "writing"]
)
async def test_progress_is_read_with_the_read_only_token_where_there_is_one(
    account: AccountTokens, token: Token
) -> None:
    """Without one the token that began the action asks for it."""
    server, action_id = with_action()
    with server:
        async with opened(server.url, account=account) as log:
            report = await log.action(action_id)
        [reading] = server.simulator.readings
    assert report is not None
    assert (report.total, report.filter) == (0, {"label": ["none"]})
    assert reading.call.token is token


@pytest.mark.parametrize("action_id", ["act_9", "..", "a/b", "", "a" * 129])
async def test_an_action_that_nobody_knows_is_none(action_id: str) -> None:
    """So is a name that no action has; it becomes no path of another call."""
    with serving() as server:
        async with opened(server.url) as log:
            assert await log.action(action_id) is None
        assert len(server.simulator.readings) <= (action_id == "act_9")


REPORT = {"actionId": "act_1", "kind": "x", "state": "FINISHED", "total": 7, "processed": 7, "filter": {"label": ["a"]}}


async def read_report(**members: object) -> ActionReport | None:
    """What becomes of a report with other members."""
    with serving() as server:
        server.simulator.script(Fault(on=Kind.PROGRESS, status=200, body=json.dumps(REPORT | members)))
        async with opened(server.url) as log:
            return await log.action("act_1")


async def test_a_report_is_read() -> None:
    """State, numbers, and the filter as upstream understood it."""
    assert await read_report() == ActionReport("FINISHED", 7, 7, {"label": ["a"]})


@pytest.mark.parametrize(
    "members",
    [
        {"actionId": "act_2"},
        {"state": "DONE"},
        {"state": None},
        {"total": True},
        {"total": -1},
        {"total": "7"},
        {"total": 7.0},
        {"processed": None},
        {"processed": False},
        {"filter": None},
        {"filter": ["label"]},
    ],
)
async def test_a_report_that_is_not_certain_is_none_at_all(members: dict[str, object]) -> None:
    """A true total is not made up from what looks like one."""
    with pytest.raises(LookupFailed) as failed:
        await read_report(**members)
    assert failed.value.cause == "action"
