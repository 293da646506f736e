"""The pages that do something: each answers a form of a page of ours, and makes one call of the gateway's own."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from gateway.console.calls import Members, Reply
from gateway.console.guard import Refused, Served, check_token, form
from gateway.console.reading import Visit, plan_page
from gateway.core.forms.shown import FREEZES, PLANS
from gateway.operations.words import words_of

WAIT_S = 1.0
"""How long the answer to an application is waited for, before the page shows how far it is, in seconds."""

MOST_APPLIED = 64
"""The most applications that are awaited at once."""

HOURS = ("", "1", "3", "12", "24", "72")
"""How far back a new cancel may look, in hours; the empty one stands for no bound."""

Fields = dict[str, str]


@dataclass(frozen=True, slots=True)
class Acting:
    """The pages that do something. Each raises Refused for what no page of ours sent."""

    served: Served
    applied: set[asyncio.Task[None]] = field(default_factory=set)

    async def _fields(self, visit: Visit) -> Fields:
        fields = dict(await form(visit.request, self.served, within_s=visit.sessions.receive_timeout_s))
        # It may have ended while the body arrived.
        if not visit.sessions.goes_on(visit.session):
            raise Refused(403, "The session ended before the form had arrived, so nothing was done. Log in again.")
        check_token(fields, visit.session.csrf)
        return fields

    async def stop(self, visit: Visit) -> Response:
        """Answer `POST /plans/{plan}/stop`."""
        await self._fields(visit)
        name = visit.named("plan")
        reply = await visit.calls.ask("DELETE", f"{PLANS}/{name}")
        return RedirectResponse(f"/plans/{name}", 303) if reply.ok else visit.refused(reply)

    async def say(self, visit: Visit) -> Response:
        """Answer `POST /plans/{plan}/approvals`: approve or reject exactly the runs that the page has shown."""
        fields = await self._fields(visit)
        body: Members = {name: fields[name] for name in ("digest", "decision", "reason") if name in fields}
        reply = await visit.calls.ask("POST", f"{PLANS}/{visit.named('plan')}/approvals", body=body)
        return await plan_page(visit, reply.members) if reply.ok else visit.refused(reply)

    async def freeze(self, visit: Visit) -> Response:
        """Answer `POST /freezes`: freeze what the form says; without team and rule, everything."""
        fields = await self._fields(visit)
        body: Members = {name: fields[name] for name in ("team", "rule", "reason", "until") if name in fields}
        reply = await visit.calls.ask("POST", FREEZES, body=body)
        if reply.ok:
            return RedirectResponse("/freezes", 303)
        if reply.status not in (400, 422):
            return visit.refused(reply)
        shown = await visit.freezes()
        operator = await visit.is_operator()
        return visit.page("freezes.html", reply.status, freezes=shown, operator=operator, problem=reply.sentence)

    async def thaw(self, visit: Visit) -> Response:
        """Answer `POST /freezes/{freeze}/thaw`."""
        await self._fields(visit)
        reply = await visit.calls.ask("DELETE", f"{FREEZES}/{visit.named('freeze')}")
        return RedirectResponse("/freezes", 303) if reply.ok else visit.refused(reply)

    async def explain(self, visit: Visit) -> Response:
        """Answer `POST /policies/explain`: how a request would be decided now."""
        fields = await self._fields(visit)
        reply = await visit.calls.ask("POST", "/gateway/v1/explain", body={"request": fields.get("request", "")})
        if reply.status == 401:
            return visit.refused(reply)
        return visit.page("explained.html", reply.status, reply=reply, asked=fields.get("request", ""))

    async def new(self, visit: Visit) -> Response:
        """Answer `GET /new`."""
        return visit.page("new.html", asked={}, hours=HOURS, problem=None)

    async def preview(self, visit: Visit) -> Response:
        """Answer `POST /new`: have the runs looked up, and show them as a plan. Nothing is cancelled."""
        fields = await self._fields(visit)
        body = {"request": f"DELETE /v2/workflows/runs?{_query(fields)}"}
        if "reason" in fields:
            body["reason"] = fields["reason"]
        reply = await visit.calls.ask("POST", PLANS, body=body)
        if reply.ok:
            return RedirectResponse(f"/plans/{reply.members.get('plan')}", 303)
        if reply.status == 401:
            return visit.refused(reply)
        return visit.page("new.html", reply.status, asked=fields, hours=HOURS, problem=reply.sentence)

    async def apply(self, visit: Visit) -> Response:
        """Answer `POST /plans/{plan}/apply`, if the form repeats the number of runs; the answer is shown on its page.

        It goes on when the browser goes away, and can be stopped on that page.
        """
        fields = await self._fields(visit)
        name = visit.named("plan")
        reply = await visit.calls.get(f"{PLANS}/{name}")
        if not reply.ok:
            return visit.refused(reply)
        shown = reply.members
        if fields.get("digest") != shown.get("digest") or fields.get("runs", "").strip() != str(shown.get("runs")):
            words = words_of(shown.get("action"))
            number = f"{shown.get('runs')}, the number of {words.things}"
            problem = f"Nothing was sent: type {number}, to {words.verb} exactly these."
            return await plan_page(visit, shown, problem=problem, status=400)
        if len(self.applied) >= MOST_APPLIED:
            problem = f"Nothing was sent: {len(self.applied)} plans are being applied. Try again in a moment."
            return await plan_page(visit, shown, problem=problem, status=503)
        task = asyncio.create_task(_applied(visit, name))
        self.applied.add(task)
        task.add_done_callback(self.applied.discard)
        await asyncio.wait({task}, timeout=WAIT_S)
        return RedirectResponse(f"/plans/{name}", 303)


async def _applied(visit: Visit, name: str) -> None:
    visit.session.note(name, None)
    reply: Reply | None = None
    try:
        reply = await visit.calls.ask("POST", f"{PLANS}/{name}/apply")
    finally:
        if reply is None:
            visit.session.said.pop(name, None)
        else:
            visit.session.note(name, reply)


def _query(fields: Fields) -> str:
    """Return the query of a cancel as the form asks for it."""
    pairs: list[tuple[str, str]] = []
    if "url" in fields:
        pairs += [("workflowUrl", fields["url"].strip())]
        pairs += [("workflowUrlExactMatch", "true")] if fields.get("below") is None else []
    if "label" in fields:
        pairs.append(("label", fields["label"].strip()))
    if fields.get("hours", "") in HOURS[1:]:
        pairs.append(("fromDate", str(int((time.time() - int(fields["hours"]) * 3600) * 1000))))
    if "count" in fields:
        pairs.append(("count", fields["count"].strip()))
    return urlencode(pairs)
