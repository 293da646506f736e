"""The handlers of the calls that send nothing upstream, one for each path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.core.errors import Conflict, NotAnOperator, NotFound
from gateway.core.forms.shown import APPROVALS, FREEZES, PLAN_ID, PLANS
from gateway.core.plan import Denial
from gateway.core.request import ActionRequest, Principal
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound, Intake, caller_of, no_query
from gateway.edge.pages.budgets import as_member, budgets_of
from gateway.edge.pages.decisions import DecisionPages
from gateway.edge.pages.overview.counts import CountPages
from gateway.edge.pages.overview.events import EventPages
from gateway.edge.pages.overview.policies import PolicyPages
from gateway.edge.pages.plans import budgeted_rule, plan_members
from gateway.edge.pages.questions import Questions, question_in
from gateway.execution.pipeline import Pipeline
from gateway.execution.plans.draft import Draft, State, Withdrawal, check_ready, no_such_plan
from gateway.operations.words import WORDS
from gateway.upstream.dlq.log import DlqLog
from gateway.upstream.dlq.team_entries import own_entries
from gateway.upstream.runs.log import UpstreamLog
from gateway.upstream.runs.team_runs import own_runs

if TYPE_CHECKING:
    from gateway.edge.pages.approvals import ApprovalPages
    from gateway.edge.pages.freezes import FreezePages

_SHOWS_NONE = (
    "This gateway shows no runs, because it has no read-only token (upstream.read_token): ask its operators for one."
)


EVERYBODYS = b"all=true"
"""The query with which operators ask for the plans of all callers."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The calls that need a credential and cancel nothing. Each raises Refusal.

    `freezes` and `approvals` need shared state.
    """

    intake: Intake
    pipeline: Pipeline
    questions: Questions
    decisions: DecisionPages
    log: UpstreamLog | None = None
    freezes: FreezePages | None = None
    approvals: ApprovalPages | None = None
    counts: CountPages = field(init=False)
    policies: PolicyPages = field(init=False)
    events: EventPages = field(init=False)

    def __post_init__(self) -> None:
        counts = CountPages(self.decisions, self.intake)
        events = EventPages(self.intake, self.decisions, lambda: self.pipeline.stopping)
        for name, page in (("counts", counts), ("policies", PolicyPages(counts, self.intake)), ("events", events)):
            object.__setattr__(self, name, page)

    async def preview(self, inbound: Inbound, request: ActionRequest) -> Answer:
        """Raise Conflict with what a cancel would do.

        The answer is no 2xx, because official clients repeat a cancel as long as a 2xx reports cancelled runs.
        """
        draft = await self._drafted(inbound, request)
        if isinstance(draft, Answer):
            return draft
        check_ready(draft)
        words = WORDS[request.action]
        sentence = (
            f"This is a preview, nothing was sent: {words.number(len(draft.resolved.runs))} would be {words.done}. "
            f"To {words.verb} exactly those: POST {PLANS}/{draft.plan_id}/apply."
        )
        raise Conflict("preview", sentence, members=await self._shown(inbound, draft))

    async def plan(self, inbound: Inbound) -> Answer:
        """Handle `POST /gateway/v1/plans`: return which runs the request in the body selects."""
        request = self.intake.checked(inbound, question_in(await self.intake.own_body(inbound)))
        draft = await self._drafted(inbound, request)
        if isinstance(draft, Answer):
            return draft
        status = 202 if draft.state is State.LOOKING else 201
        return answers.status_page(status, await self._shown(inbound, draft), inbound.decision_id)

    async def planned(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/plans/{plan}`: return a plan of the caller, in any state; any plan to operators.

        Who is to approve a plan is shown that one as well, while it waits.
        """
        no_query(inbound)
        name = plan_id(inbound)
        try:
            draft = await self.pipeline.plans.find(_whose(inbound), name)
        except NotFound:
            if self.approvals is None:
                raise
            members = await self.approvals.seen(inbound, name)
        else:
            approved = None if self.approvals is None else await self.approvals.with_approvals(inbound, draft)
            members = {**await self._shown(inbound, draft), **(approved or {})}
        return answers.status_page(200, members, inbound.decision_id)

    def with_state(self) -> Iterator[tuple[str, str, Callable[[Inbound], Awaitable[Answer]]]]:
        """Yield the calls that only a gateway with shared state has: method, path and handler."""
        if (approvals := self.approvals) is not None:
            yield "GET", APPROVALS, approvals.listed
            yield "POST", PLANS + "/{plan}/approvals", lambda inbound: approvals.say(inbound, plan_id(inbound))
        if (freezes := self.freezes) is not None:
            yield "GET", FREEZES, freezes.listed
            yield "POST", FREEZES, freezes.freeze
            yield "DELETE", FREEZES + "/{freeze}", freezes.thaw

    async def plans(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/plans`: return the plans of the caller, the newest first.

        With `?all=true` operators get those of all callers, each with its principal. It is asked for, because clients
        take the plans that are listed without it for their own.
        """
        caller, query = caller_of(inbound), inbound.scope["query_string"]
        if query == EVERYBODYS:
            if not inbound.live.is_operator(caller):
                raise NotAnOperator("not_an_operator", "Only operators see the plans of all callers.")
            waiting = [] if self.approvals is None else await self.approvals.everybodys()
            drafts = [*waiting, *await self.pipeline.plans.listed(None)]
            shown = await self._all_shown(inbound, drafts)
            pairs = zip(shown, drafts, strict=True)
            shown = [{**members, "principal": draft.call.principal.name} for members, draft in pairs]
        else:
            no_query(inbound)
            shown = await self._all_shown(inbound, await self.pipeline.plans.listed(caller))
        return answers.status_page(200, {"plans": shown}, inbound.decision_id)

    async def stop(self, inbound: Inbound) -> Answer:
        """Handle `DELETE /gateway/v1/plans/{plan}`: stop a plan before its next order, the caller's; operators any.

        While the plan is at work the answer is 202. A plan that has ended is shown as it is: there is nothing to stop.
        """
        name = plan_id(inbound)
        await self.intake.no_content(inbound)
        by = Withdrawal(caller_of(inbound), inbound.decision_id, inbound.remote)
        draft = await self.pipeline.plans.halted(_whose(inbound), name, by)
        status = 202 if draft.at_work else 200
        return answers.status_page(status, await self._shown(inbound, draft), inbound.decision_id)

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

    async def failed_runs(self, inbound: Inbound) -> Answer:
        """Handle `GET /v2/dlq`: return the failed runs that the rules of the caller's team cover."""
        if self.log is None:
            raise NotFound("no_read_token", _SHOWS_NONE)
        caller, query = caller_of(inbound), inbound.scope["query_string"]
        self.intake.refuse_secrets(inbound, [query.decode("latin-1")])
        policies, now_ms = inbound.live.policies, self.intake.clock.now_ms()
        page = await own_entries(query, policies, DlqLog(self.log), now_ms, principal=caller)
        return answers.status_page(200, page, inbound.decision_id)

    async def whoami(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/whoami`."""
        caller, live = caller_of(inbound), inbound.live
        members = {**await self.questions.whoami(live.policies, caller), "operator": live.is_operator(caller)}
        rules = [*members["rules"], *(rule for one in members["actions"] for rule in one["rules"])]
        budgets = await budgets_of(self.intake, inbound, [(rule["rule"], caller) for rule in rules])
        for rule, budget in zip(rules, budgets, strict=True):
            rule.update(as_member(budget))
        return answers.status_page(200, members, inbound.decision_id)

    async def explain(self, inbound: Inbound) -> Answer:
        """Handle `POST /gateway/v1/explain`: return how a request would be decided, and why. Nothing is sent."""
        request = self.intake.checked(inbound, question_in(await self.intake.own_body(inbound)))
        members = await self.questions.explain(self.intake.call(inbound, request))
        permitted = members["rule"] if members["enforced"] == "permit" else None
        [budget] = await budgets_of(self.intake, inbound, [(permitted, caller_of(inbound))])
        return answers.status_page(200, members | as_member(budget), inbound.decision_id)

    async def openapi(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/openapi.json`: return the description of the gateway's own calls."""
        no_query(inbound)
        members = await self.questions.description(caller_of(inbound))
        return answers.status_page(200, members, inbound.decision_id)

    def close(self) -> None:
        """Start no more work on threads."""
        self.questions.close()
        self.decisions.close()
        self.events.close()

    async def _drafted(self, inbound: Inbound, request: ActionRequest) -> Answer | Draft:
        result = await self.pipeline.plan(self.intake.call(inbound, request))
        return answers.denial(result, inbound.decision_id) if isinstance(result, Denial) else result

    async def _shown(self, inbound: Inbound, draft: Draft) -> dict[str, object]:
        [members] = await self._all_shown(inbound, [draft], about=True)
        return members

    async def _all_shown(
        self, inbound: Inbound, drafts: Sequence[Draft], *, about: bool = False
    ) -> list[dict[str, object]]:
        """Return plans as they are shown; the store is asked once what is left of the budgets that they would take."""
        asked = [(budgeted_rule(draft), draft.call.principal) for draft in drafts]
        budgets = await budgets_of(self.intake, inbound, asked, about=about)
        expires_in_s = self.pipeline.plans.expires_in_s
        pairs = zip(drafts, budgets, strict=True)
        return [plan_members(draft, expires_in_s=expires_in_s(draft), budget=budget) for draft, budget in pairs]


def _whose(inbound: Inbound) -> Principal | None:
    """Return the principal whose plans the caller may see and stop; None stands for anybody's."""
    caller = caller_of(inbound)
    return None if inbound.live.is_operator(caller) else caller


def plan_id(inbound: Inbound) -> str:
    """Return the plan ID in the path. Raises: NotFound: it is not in the form of one."""
    name = inbound.scope["path_params"]["plan"]
    if PLAN_ID.fullmatch(name) is None:
        raise no_such_plan()
    return str(name)
