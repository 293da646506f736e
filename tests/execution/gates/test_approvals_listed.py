"""The list of plans that wait: each is there, and its runs are read once, however many ask however often."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.core.plan import Approval
from gateway.edge.pages import approvals
from gateway.edge.pages.approvals import ApprovalPages
from tests.execution.bench import REQUEST
from tests.execution.gates.waiting import ROB, Fleet, asking, plan_of

TWO = Approval(by=("platform",), over=2, count=2)


async def listing(number: int) -> tuple[Fleet, ApprovalPages, list[str]]:
    """The page of a gateway for which so many plans wait, the newest first."""
    fleet = Fleet(policies=asking(TWO))
    names = [plan_of(await fleet.a.refused(replace(REQUEST, count=400 + n))) for n in range(number)]
    page = ApprovalPages(None, fleet.b.approving, fleet.b.shown)  # type: ignore[arg-type]
    fleet.plans.faults.asked.clear()
    return fleet, page, names


async def test_each_plan_is_read_once_by_however_many_at_once() -> None:
    """Each of them is answered every plan, with the number of its runs and a sample."""
    fleet, page, names = await listing(4)
    lists = await asyncio.gather(*(page.waiting_for("platform") for _ in range(8)))
    assert fleet.plans.faults.asked.count("plan") == len(names)
    for found in lists:
        assert {one["plan"] for one in found} == set(names)
        assert {(one["runs"], one["principal"], one["state"]) for one in found} == {
            (5, "team/ann", "awaiting_approval")
        }


async def test_what_people_have_said_and_the_time_left_are_those_of_now() -> None:
    """Only what does not change is kept of a plan."""
    fleet, page, [plan] = await listing(1)
    [before] = await page.waiting_for("platform")
    await fleet.a.says(plan, ROB)
    fleet.pass_time(60_000)
    [after] = await page.waiting_for("platform")
    given = after["approvals"]
    assert isinstance(given, dict)
    assert [one["principal"] for one in given["given"]] == [ROB.name]
    assert int(str(after["expires_in_s"])) == int(str(before["expires_in_s"])) - 60
    await fleet.a.says(plan, ROB, "reject")
    assert await page.waiting_for("platform") == []


async def test_above_its_bytes_a_plan_is_read_again_and_none_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on what is kept, never on what is listed."""
    monkeypatch.setattr(approvals, "MOST_KEPT_BYTES", 1)
    fleet, page, names = await listing(3)
    for _ in range(2):
        assert {one["plan"] for one in await page.waiting_for("platform")} == set(names)
    assert fleet.plans.faults.asked.count("plan") > len(names)
