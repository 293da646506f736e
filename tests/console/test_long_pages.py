"""Pages with much on them: the gateway goes on with everything else while one is made."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from starlette.types import Message

from gateway.console.shown import Templates
from gateway.core.run import LookUpBounds
from tests.console.people import INVOICE

TURNS = 5
"""Rendering takes many times as long as it may at once, on any machine."""


async def test_other_work_has_its_turn_while_a_page_of_ten_thousand_runs_is_made() -> None:
    """As those see it who are to approve every one; all of it is sent at once, with its length."""
    created = "2026-11-30T10:00:00.000Z"
    runs = [
        {"workflowRunId": f"wfr_{number}", "created": created, "workflowUrl": INVOICE, "labels": ["nightly"]}
        for number in range(LookUpBounds().runs)
    ]
    plan = {"plan": "x", "state": "ready", "runs": len(runs), "rule": "billing/own", "listed": runs}
    session = SimpleNamespace(principal=SimpleNamespace(name="platform/somebody"))
    turns, sent = 0, list[Message]()

    async def other() -> None:
        """Counts its turns."""
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def receive() -> Message:
        """Says nothing."""
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        """Keeps a message."""
        sent.append(message)

    working = asyncio.create_task(other())
    await asyncio.sleep(0)
    page = Templates().page(
        "plan.html", session=session, csrf="x", path="/plans", plan=plan, said=None, under_way=False, problem=None,
        mine=False, may_stop=False, approved=False,
    )  # fmt: skip
    await page({"type": "http"}, receive, send)
    working.cancel()
    assert turns > TURNS
    head, body = sent
    assert dict(head["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert body["body"].count(b"wfr_") == len(runs)
