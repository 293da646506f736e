"""The calls that send nothing upstream: previews and plans, the runs of a team, and questions about policy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

from gateway.audit.record import explained_members
from gateway.authoring.explain import explain
from gateway.authoring.offers import offered, offers
from gateway.authoring.question import Question, from_line
from gateway.core.errors import Conflict, MalformedRequest, NotFound, Throttled, counted
from gateway.core.forms.shown import PLAN_ID, PLANS, SAMPLE, Listed, Narrowed, ShownPlan, left_out
from gateway.core.forms.times import credential_time, run_time
from gateway.core.parse import Body, json_members
from gateway.core.plan import Denial, Owner
from gateway.core.ports import Clock
from gateway.core.request import CancelRequest, Principal
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound, Intake, caller_of, no_query
from gateway.execution.judging import RULES_AT_ONCE
from gateway.execution.pipeline import Pipeline
from gateway.execution.plans import Draft, State, check_ready, no_such_plan
from gateway.execution.ports import AuditPort, Call
from gateway.policy.rules import Policies
from gateway.upstream.runs.log import UpstreamLog
from gateway.upstream.runs.team_runs import own_runs
from gateway.upstream.shares import Desk

_SHOWS_NONE = (
    "This gateway shows no runs, because it has no read-only token (upstream.read_token): ask its operators for one."
)


@dataclass(frozen=True, slots=True)
class Pages:
    """The calls that need a credential and cancel nothing. Each raises Refusal."""

    intake: Intake
    pipeline: Pipeline
    questions: Questions
    log: UpstreamLog | None = None

    async def preview(self, inbound: Inbound, request: CancelRequest) -> Answer:
        """Raise Conflict with what a cancel would do.

        The answer is no 2xx, because official clients repeat a cancel as long as a 2xx reports cancelled runs.
        """
        draft = await self._drafted(inbound, request)
        if isinstance(draft, Answer):
            return draft
        check_ready(draft)
        sentence = (
            f"This is a preview, nothing was sent: {counted(len(draft.resolved.runs), 'run')} would be cancelled. "
            f"To cancel exactly those: POST {PLANS}/{draft.plan_id}/apply."
        )
        raise Conflict("preview", sentence, members=self._shown(draft))

    async def plan(self, inbound: Inbound) -> Answer:
        """Handle `POST /gateway/v1/plans`: return which runs the request in the body selects."""
        request = self.intake.checked(inbound, question_in(await self.intake.own_body(inbound)))
        draft = await self._drafted(inbound, request)
        if isinstance(draft, Answer):
            return draft
        status = 202 if draft.state is State.LOOKING else 201
        return answers.status_page(status, self._shown(draft), inbound.decision_id)

    async def planned(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/plans/{plan}`: return a plan of the caller, in any state."""
        no_query(inbound)
        draft = self.pipeline.planned(caller_of(inbound), plan_id(inbound))
        return answers.status_page(200, self._shown(draft), inbound.decision_id)

    async def logs(self, inbound: Inbound) -> Answer:
        """Handle `GET /v2/workflows/logs` and `/events`: return the runs that the rules of the caller's team cover."""
        if self.log is None:
            raise NotFound("no_read_token", _SHOWS_NONE)
        caller, query = caller_of(inbound), inbound.scope["query_string"]
        self.intake.refuse_secrets(inbound, [query.decode("latin-1")])
        events = inbound.scope["raw_path"].endswith(b"/events")
        rules = await self.pipeline.prepared(inbound.live.policies, caller)
        page = await own_runs(query, rules, self.log, self.intake.clock.now_ms(), events=events, principal=caller)
        return answers.status_page(200, page, inbound.decision_id)

    async def whoami(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/whoami`."""
        members = await self.questions.whoami(inbound.live.policies, caller_of(inbound))
        return answers.status_page(200, members, inbound.decision_id)

    async def explain(self, inbound: Inbound) -> Answer:
        """Handle `POST /gateway/v1/explain`: return how a request would be decided, and why. Nothing is sent."""
        request = self.intake.checked(inbound, question_in(await self.intake.own_body(inbound)))
        members = await self.questions.explain(self.intake.call(inbound, request))
        return answers.status_page(200, members, inbound.decision_id)

    async def _drafted(self, inbound: Inbound, request: CancelRequest) -> Answer | Draft:
        result = await self.pipeline.plan(self.intake.call(inbound, request))
        return answers.denial(result, inbound.decision_id) if isinstance(result, Denial) else result

    def _shown(self, draft: Draft) -> dict[str, object]:
        return plan_members(draft, expires_in_s=self.pipeline.expires_in_s(draft))


def plan_id(inbound: Inbound) -> str:
    """Return the plan ID in the path. Raises: NotFound: it is not in the form of one."""
    name = inbound.scope["path_params"]["plan"]
    if PLAN_ID.fullmatch(name) is None:
        raise no_such_plan()
    return str(name)


MOST_PARTS = 200
"""The most rules that an explanation shows; further ones are counted in `left_out`."""

_SHAPE = 'Send a body: {"request": "DELETE /v2/workflows/runs?…"}, and "body" or "reason" where the request has one.'


class Questions:
    """The answers to callers' questions about policy, made on a thread if they take long."""

    def __init__(self, audit: AuditPort, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._desk = Desk("explaining", 1)
        self._asking: set[Principal] = set()

    async def whoami(self, policies: Policies, principal: Principal) -> dict[str, object]:
        """Return who the caller is and what it may do now."""
        page = partial(whoami, principal, policies, self._clock.now_ms())
        if policies.number(principal.team) <= RULES_AT_ONCE:
            return page()
        return await self._desk.done(principal, lambda: page)

    async def explain(self, call: Call) -> dict[str, object]:
        """Return how the request would be decided now, and why; record that this was asked.

        The caller sees the decision, and the names and words of the rules about its own team.

        Raises: Throttled: another explanation for the principal is being made.
        """
        principal = call.principal
        if principal in self._asking:
            sentence = "Another explanation of yours is being made, and one at a time is the most. Wait for it to end."
            raise Throttled("explanations", sentence, limit=1, retry_after_s=1)
        self._asking.add(principal)
        try:
            question = Question(principal, call.request, self._clock.now_ms())
            explanation = await self._desk.done(principal, lambda: partial(explain, call.policies, question))
        finally:
            self._asking.discard(principal)
        members = explained_members(
            call.decision_id,
            principal=principal,
            asked=call.request,
            decision=explanation.decision,
            remote=call.remote,
            policy_digest=explanation.policy_digest,
        )
        await self._audit.note("explained", members)
        return explanation.members(most=MOST_PARTS)

    def close(self) -> None:
        """Start no more work on the thread."""
        self._desk.close()


def question_in(body: Body) -> CancelRequest:
    """Return the request that a caller asks about.

    The body is JSON: `request` is a request line or query, `body` the request's own body, `reason` its reason.

    Raises: MalformedRequest: the body has another shape, or the request itself would be answered with 400.
    """
    if body.content_encodings:
        raise MalformedRequest("content_encoding", "The body must not be compressed: leave Content-Encoding out.")
    if not body.content:
        raise MalformedRequest("explain_shape", _SHAPE)
    match json_members(body):
        case {"request": str(line), **others} if others.keys() <= {"body", "reason"}:
            reason = others.get("reason")
        case _:
            raise MalformedRequest("explain_shape", _SHAPE)
    if not (reason is None or isinstance(reason, str)):
        raise MalformedRequest("explain_shape", _SHAPE)
    try:
        return from_line(line, body=_content(others.get("body")), reason=reason)
    except UnicodeEncodeError:
        sentence = "The request in question has half of a surrogate pair in it, which no request can carry."
        raise MalformedRequest("explain_request", sentence) from None
    except ValueError as exc:
        raise MalformedRequest("explain_request", f"The request in question cannot be read: {exc}.") from None


def _content(body: object) -> bytes:
    match body:
        case None:
            return b""
        case str():
            return body.encode()
        case Mapping():
            with contextlib.suppress(RecursionError):
                return json.dumps(body).encode()
    raise MalformedRequest("explain_shape", _SHAPE)


def plan_members(draft: Draft, *, expires_in_s: int) -> dict[str, object]:
    """Return all of a plan that its caller may see; while its runs are being looked up, that is only its state."""
    return _shown(draft, expires_in_s).to_json()


def _shown(draft: Draft, expires_in_s: int) -> ShownPlan:
    begun = partial(ShownPlan, draft.plan_id, draft.state.value, expires_in_s)
    if draft.failure is not None:
        return begun(failure=draft.failure.sentence)
    if (denial := draft.denial) is not None:
        return begun(failure=denial.reason, refused={"rule": denial.rule, **denial.particulars()})
    if draft.state is State.LOOKING:
        return begun()
    resolved, permit, unchecked = draft.resolved, draft.permit, draft.permit.owner_unchecked
    return begun(
        digest=resolved.digest,
        runs=len(resolved.runs),
        sample=tuple(Listed.of(run, unchecked=unchecked) for run in resolved.runs[:SAMPLE]),
        oldest=run_time(resolved.runs[0].created_ms) if resolved.runs else None,
        newest=run_time(resolved.runs[-1].created_ms) if resolved.runs else None,
        by_workflow={} if unchecked else resolved.by_workflow,
        by_label={} if unchecked else resolved.by_label,
        skipped=left_out(resolved.skipped),
        rule=permit.rule,
        count=permit.effective.count,
        narrowed=_narrowed(draft),
        orders_sent=draft.orders_sent,
        cancelled=draft.cancelled,
    )


def _narrowed(draft: Draft) -> Narrowed | None:
    asked, permit = draft.call.request.count, draft.permit
    return None if permit.narrowed_by is None else Narrowed(asked, permit.effective.count, permit.narrowed_by)


MOST_OFFERS = 50
"""The most rules that the page shows; further ones are counted in `left_out`."""


def whoami(principal: Principal, policies: Policies, now_ms: int) -> dict[str, object]:
    """Return team, principal, the credential's end, and each rule's words with a request that it would allow now."""
    shown = list(islice(offers(policies, principal.team, now_ms), MOST_OFFERS))
    return {
        "team": principal.team,
        "principal": principal.name,
        "expires": None if principal.expires_ms is None else credential_time(principal.expires_ms),
        "claims": dict(principal.claims),
        "rules": [
            {"rule": offer.rule, "words": offer.words, "example": offer.example, "owner": _owner(offer.owner)}
            for offer in shown
        ],
        "left_out": len(offered(policies, principal.team, now_ms)) - len(shown),
    }


def _owner(owner: Owner | None) -> dict[str, object] | None:
    return None if owner is None else owner.members()
