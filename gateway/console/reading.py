"""The pages that are read. Each is made of calls of the gateway's own, as the principal of the session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.console.calls import Calls, Reply
from gateway.console.sessions import Session, Sessions
from gateway.console.shown import Templates
from gateway.core.forms.shown import APPROVALS, COUNTS, DECISIONS, FREEZES, PLANS, POLICIES

SINCE = ("1h", "24h", "7d", "30d")
UNDER_WAY = ("looking", "applying")
"""The states of a plan in which its page looks again by itself."""

TO_APPLY = ("ready", "awaiting_approval")
"""The states of a plan in which it may be applied, or will once it is approved."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who is logged in: the session, and the calls that the page may make.

    `of_state` are the paths of calls that the gateway has only with shared state: a page that asked for one that is not
    there would leave a refusal on record.
    """

    request: Request
    session: Session
    sessions: Sessions
    calls: Calls
    templates: Templates
    of_state: frozenset[str]

    def page(self, name: str, status: int = 200, **values: object) -> Response:
        """Return a page of the console."""
        path = self.request.url.path
        return self.templates.page(name, status, session=self.session, csrf=self.session.csrf, path=path, **values)

    def refused(self, reply: Reply) -> Response:
        """Return the page that says why a call was refused; without a credential in force, that of the login."""
        if reply.status == 401:
            return RedirectResponse("/login", 303)
        return self.page("problem.html", reply.status, reply=reply.members, sentence=reply.sentence)

    def named(self, name: str) -> str:
        """Return a name in the path as a segment of another path: it is the caller's, and may be anything."""
        return quote(str(self.request.path_params[name]), safe="")

    async def is_operator(self) -> bool:
        """Return whether the principal is one of the gateway's operators."""
        return (await self.calls.get("/gateway/v1/whoami")).members.get("operator") is True

    async def owns(self, plan: str) -> bool:
        """Return whether a plan is the principal's own."""
        plans = (await self.calls.get(PLANS)).members.get("plans")
        return isinstance(plans, list) and any(one.get("plan") == plan for one in plans)

    async def freezes(self) -> Reply | None:
        """Return the freezes that the principal sees; None if the gateway has no shared state."""
        return await self.calls.get(FREEZES) if FREEZES in self.of_state else None

    async def approvals(self) -> Reply | None:
        """Return the plans that wait for the principal's team; None if the gateway has no approvals."""
        return await self.calls.get(APPROVALS) if APPROVALS in self.of_state else None

    def since(self) -> str:
        """Return how far back the page is to look; an unknown wish is that of a day."""
        asked = self.request.query_params.get("since", "24h")
        return asked if asked in SINCE else "24h"


async def overview(visit: Visit) -> Response:
    """Answer `/`: whether the gateway is ready, what is frozen, what was cancelled and refused, and the newest."""
    since = visit.since()
    counts = await visit.calls.get(COUNTS, [("since", since)])
    if counts.status == 401:
        return visit.refused(counts)
    freezes = await visit.freezes()
    newest = await visit.calls.get(DECISIONS, [("limit", "10")])
    ready = await visit.calls.get("/readyz")
    return visit.page(
        "overview.html",
        since=since,
        choices=SINCE,
        counts=counts,
        freezes=freezes,
        newest=newest,
        ready=ready,
    )


async def decisions(visit: Visit) -> Response:
    """Answer `/decisions`."""
    cursor = visit.request.query_params.get("cursor", "")
    query = [("limit", "50"), *([("cursor", cursor)] if cursor else [])]
    reply = await visit.calls.get(DECISIONS, query)
    if not reply.ok:
        return visit.refused(reply)
    return visit.page("decisions.html", page=reply.members, first=not cursor)


async def decision(visit: Visit) -> Response:
    """Answer `/decisions/{decision}`: what became of it, each rule's part, and its records with their places."""
    path = f"{DECISIONS}/{visit.named('decision')}"
    reply = await visit.calls.get(path)
    if not reply.ok:
        return visit.refused(reply)
    record = await visit.calls.get(f"{path}/record")
    return visit.page("decision.html", one=reply.members, record=record, joined=reply.headers.get("gateway-joined"))


async def plans(visit: Visit) -> Response:
    """Answer `/plans`: one's own; to operators those of all callers."""
    operator = await visit.is_operator()
    reply = await visit.calls.get(PLANS, [("all", "true")] if operator else [])
    if not reply.ok:
        return visit.refused(reply)
    waiting = await visit.approvals()
    return visit.page("plans.html", plans=reply.members.get("plans", []), operator=operator, waiting=waiting)


async def plan(visit: Visit) -> Response:
    """Answer `/plans/{plan}`: its runs and how far it is, with what may be done about it."""
    name = visit.named("plan")
    reply = await visit.calls.get(f"{PLANS}/{name}")
    if not reply.ok:
        return visit.refused(reply)
    return await plan_page(visit, reply.members)


async def plan_page(
    visit: Visit, shown: Mapping[str, object], *, problem: str | None = None, status: int = 200
) -> Response:
    """Return the page of a plan, with the answer to its application if that was asked for in this session.

    A plan that is to be applied may be somebody else's: operators see all, and people those that they are to approve.
    """
    name = str(shown.get("plan"))
    said = visit.session.said.get(name)
    awaited = name in visit.session.said and said is None
    under_way = awaited or shown.get("state") in UNDER_WAY
    to_apply = shown.get("state") in TO_APPLY and not under_way
    mine = to_apply and await visit.owns(name)
    return visit.page(
        "plan.html",
        status,
        plan=shown,
        said=said,
        under_way=under_way,
        problem=problem,
        mine=mine,
        may_stop=under_way or mine or (to_apply and await visit.is_operator()),
        approved=_is_approved(shown),
    )


def _is_approved(shown: Mapping[str, object]) -> bool:
    """Return whether enough people have approved a plan that waits, so that its requester may apply it."""
    match shown.get("approvals"):
        case {"given": list(given), "needed": int(needed), "rejected": None}:
            return len(given) >= needed
    return False


async def policies(visit: Visit) -> Response:
    """Answer `/policies`: the files in force for the principal's team, and what their rules did."""
    since = visit.since()
    reply = await visit.calls.get(POLICIES, [("since", since)])
    if not reply.ok:
        return visit.refused(reply)
    return visit.page("policies.html", policies=reply.members, since=since, choices=SINCE)


async def freezes(visit: Visit) -> Response:
    """Answer `/freezes`: those in force; operators set and end them here."""
    reply = await visit.freezes()
    if reply is not None and not reply.ok:
        return visit.refused(reply)
    return visit.page("freezes.html", freezes=reply, operator=await visit.is_operator(), problem=None)


async def me(visit: Visit) -> Response:
    """Answer `/me`: who one is here, until when, and what one may do."""
    reply = await visit.calls.get("/gateway/v1/whoami")
    if not reply.ok:
        return visit.refused(reply)
    return visit.page("me.html", me=reply.members, ends_s=visit.sessions.ends_s(visit.session))
