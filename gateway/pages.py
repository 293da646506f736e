"""The calls that send nothing: previews and plans, the runs of a team, and questions about policy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway import problems
from gateway.core.errors import Conflict, NotFound, counted
from gateway.core.plan import Denial
from gateway.core.request import CancelRequest
from gateway.execution.pipeline import Pipeline
from gateway.execution.plans import Draft, State, check_ready, no_such_plan
from gateway.explaining import Questions, question_in
from gateway.inbound import Inbound, Intake, caller_of, no_query
from gateway.plans import plan_members
from gateway.problems import Answer
from gateway.upstream.runs.log import UpstreamLog
from gateway.upstream.runs.team_runs import own_runs

_PLAN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHOWS_NONE = (
    "This gateway shows no runs, because it has no read-only token (upstream.read_token): ask its operators for one."
)


@dataclass(frozen=True, slots=True)
class Pages:
    """Every call that takes a key and sends nothing; each raises Refusal."""

    intake: Intake
    pipeline: Pipeline
    questions: Questions
    log: UpstreamLog | None = None

    async def preview(self, inbound: Inbound) -> Answer:
        """What a cancel would do, as a refusal: official clients repeat a 2xx while it says that runs were hit."""
        draft = await self._drafted(inbound, await self.intake.request(inbound))
        if isinstance(draft, Answer):
            return draft
        check_ready(draft)
        sentence = (
            f"This is a preview, nothing was sent: {counted(len(draft.resolved.runs), 'run')} would be cancelled. "
            f"To cancel exactly those: POST /gateway/v1/plans/{draft.plan_id}/apply."
        )
        raise Conflict("preview", sentence, members=self._shown(draft))

    async def plan(self, inbound: Inbound) -> Answer:
        """`POST /gateway/v1/plans`: the request in question in the body; which runs it means."""
        request = self.intake.checked(inbound, question_in(await self.intake.own_body(inbound)))
        draft = await self._drafted(inbound, request)
        if isinstance(draft, Answer):
            return draft
        status = 202 if draft.state is State.LOOKING else 201
        return problems.status_page(status, self._shown(draft), inbound.decision_id)

    async def planned(self, inbound: Inbound) -> Answer:
        """`GET /gateway/v1/plans/{id}`: a plan of the caller's, whatever its state."""
        no_query(inbound)
        draft = self.pipeline.planned(caller_of(inbound), plan_id(inbound))
        return problems.status_page(200, self._shown(draft), inbound.decision_id)

    async def logs(self, inbound: Inbound) -> Answer:
        """`GET /v2/workflows/logs`: the runs that the rules of the caller's team cover."""
        if self.log is None:
            raise NotFound("no_read_token", _SHOWS_NONE)
        caller, query = caller_of(inbound), inbound.scope["query_string"]
        self.intake.refuse_secrets(inbound, [query.decode("latin-1")])
        events = inbound.scope["raw_path"].endswith(b"/events")
        rules = await self.pipeline.prepared(inbound.live.policies, caller)
        page = await own_runs(query, rules, self.log, self.intake.clock.now_ms(), events=events, principal=caller)
        return problems.status_page(200, page, inbound.decision_id)

    async def whoami(self, inbound: Inbound) -> Answer:
        """`GET /gateway/v1/whoami`."""
        members = await self.questions.whoami(inbound.live.policies, caller_of(inbound))
        return problems.status_page(200, members, inbound.decision_id)

    async def explain(self, inbound: Inbound) -> Answer:
        """`POST /gateway/v1/explain`: why a request would be decided as it would be; nothing is sent."""
        request = self.intake.checked(inbound, question_in(await self.intake.own_body(inbound)))
        arrival = inbound.arrival(self.intake.current, self.intake.clock)
        members = await self.questions.explain(inbound.live.policies, caller_of(inbound), request, arrival=arrival)
        return problems.status_page(200, members, inbound.decision_id)

    async def _drafted(self, inbound: Inbound, request: CancelRequest) -> Answer | Draft:
        policies, arrival = inbound.live.policies, inbound.arrival(self.intake.current, self.intake.clock)
        result = await self.pipeline.plan(policies, caller_of(inbound), request, arrival=arrival)
        return problems.denial(result, inbound.decision_id) if isinstance(result, Denial) else result

    def _shown(self, draft: Draft) -> dict[str, object]:
        return plan_members(draft, expires_in_s=self.pipeline.expires_in_s(draft))


def plan_id(inbound: Inbound) -> str:
    """Returns the plan that the path names. Raises: NotFound: it names none."""
    name = inbound.scope["path_params"]["plan"]
    if _PLAN_ID.fullmatch(name) is None:
        raise no_such_plan()
    return str(name)
