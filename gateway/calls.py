"""What each path that takes a key does: one table from path and method to the call, byte for byte."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from gateway import problems
from gateway.cancel import ByRunIds, CancelRequest, Denial, Principal
from gateway.drafts import Draft, State
from gateway.errors import (
    Conflict,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    Refusal,
    TooLarge,
    Unauthenticated,
)
from gateway.explaining import Questions, question_in
from gateway.inbound import Inbound
from gateway.live import Current
from gateway.lookup.log import UpstreamLog
from gateway.lookup.own import own_runs
from gateway.pipeline import Pipeline, Settled
from gateway.planning import check_ready
from gateway.plans import plan_members
from gateway.ports import Clock
from gateway.problems import Answer
from gateway.read import Body, parse_cancel, parse_reason
from gateway.secrecy import holds_text

_PLAN = re.compile(rb"/gateway/v1/plans/(?P<plan>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?P<apply>/apply)?")
_ONLY = "This gateway only passes bulk cancels, DELETE /v2/workflows/runs;"
_SHOWS_NONE = (
    "This gateway shows no runs, because it has no read-only token (upstream.read_token): ask its operators for one."
)

_MAX_GUESSED_BYTES = 200


@dataclass(frozen=True, slots=True)
class Calls:
    """Every call that takes a key."""

    current: Current
    pipeline: Pipeline
    questions: Questions
    clock: Clock
    is_secret: Callable[[str], bool]
    log: UpstreamLog | None = None

    async def answer(self, inbound: Inbound) -> Answer | Settled:
        """Does what the request calls. Raises: Refusal."""
        return await _action(inbound)(self, inbound)

    async def joined(self, inbound: Inbound) -> Answer | Settled | None:
        """Waits for an identical cancel in flight, for a caller above its limits; None where there is none to join.

        Only what has arrived already is read: nobody waits for a body without a place.

        Raises: Refusal: what became of that cancel, or that too many wait for it.
        """
        caller, admission = _caller(inbound), self.current.admission
        if not self.pipeline.any_to_join(caller):
            return None
        request = await self._repeated(inbound)
        if request is None:
            return None
        policies, arrival = inbound.live.policies, inbound.arrival(self.current, self.clock)
        with admission.join(caller, self.clock.monotonic_s()):
            result = await self.pipeline.join(policies, caller, request, arrival=arrival)
        return problems.denial(result, inbound.decision_id) if isinstance(result, Denial) else result

    async def _repeated(self, inbound: Inbound) -> CancelRequest | None:
        """Reads a cancel from what has arrived; None where that is not a whole one."""
        try:
            if _action(inbound) is not Calls.cancel:
                return None
            body = await inbound.arrived()
            return None if body is None else self._requested(inbound, body)
        except Refusal:
            return None
        finally:
            self.current.admission.charge(_caller(inbound), self.clock.monotonic_s(), read_bytes=inbound.read_bytes)

    async def cancel(self, inbound: Inbound) -> Answer | Settled:
        """`DELETE /v2/workflows/runs`."""
        return await self._sent(inbound, await self._request(inbound))

    async def _sent(self, inbound: Inbound, request: CancelRequest) -> Answer | Settled:
        policies, arrival = inbound.live.policies, inbound.arrival(self.current, self.clock)
        result = await self.pipeline.run(policies, _caller(inbound), request, arrival=arrival)
        return problems.denial(result, inbound.decision_id) if isinstance(result, Denial) else result

    async def preview(self, inbound: Inbound) -> Answer:
        """What a cancel would do, as a refusal: official clients repeat a 2xx while it says that runs were hit."""
        draft = await self._drafted(inbound, await self._request(inbound))
        if isinstance(draft, Answer):
            return draft
        check_ready(draft)
        sentence = (
            f"This is a preview, nothing was sent: {len(draft.resolved.runs)} runs would be cancelled. "
            f"To cancel exactly those: POST /gateway/v1/plans/{draft.plan_id}/apply."
        )
        raise Conflict("preview", sentence, members=self._shown(draft))

    async def plan(self, inbound: Inbound) -> Answer:
        """`POST /gateway/v1/plans`: the request in question in the body; which runs it means."""
        request = self._checked(inbound, question_in(await self._own_body(inbound)))
        draft = await self._drafted(inbound, request)
        if isinstance(draft, Answer):
            return draft
        status = 202 if draft.state is State.LOOKING else 201
        return problems.status_page(status, self._shown(draft), inbound.decision_id)

    async def planned(self, inbound: Inbound) -> Answer:
        """`GET /gateway/v1/plans/{id}`: a plan of the caller's, whatever its state."""
        _no_query(inbound)
        draft = self.pipeline.planned(_caller(inbound), _plan_id(inbound))
        return problems.status_page(200, self._shown(draft), inbound.decision_id)

    async def apply(self, inbound: Inbound) -> Answer | Settled:
        """`POST /gateway/v1/plans/{id}/apply`: cancels what still runs of a plan, once."""
        if (await self._own_body(inbound)).content not in (b"", b"{}"):
            raise MalformedRequest("plan_body", "Applying a plan takes no body: the plan says what is cancelled.")
        policies, arrival = inbound.live.policies, inbound.arrival(self.current, self.clock)
        result = await self.pipeline.apply(policies, _caller(inbound), _plan_id(inbound), arrival=arrival)
        return problems.denial(result, inbound.decision_id) if isinstance(result, Denial) else result

    async def logs(self, inbound: Inbound) -> Answer:
        """`GET /v2/workflows/logs`: the runs that the rules of the caller's team cover."""
        if self.log is None:
            raise NotFound("no_read_token", _SHOWS_NONE)
        caller, query = _caller(inbound), inbound.scope["query_string"]
        self._refuse_secrets(inbound, [query.decode("latin-1")])
        events = inbound.scope["raw_path"].endswith(b"/events")
        rules = await self.pipeline.prepared(inbound.live.policies, caller)
        page = await own_runs(query, rules, self.log, self.clock.now_ms(), events=events, principal=caller)
        return problems.status_page(200, page, inbound.decision_id)

    async def whoami(self, inbound: Inbound) -> Answer:
        """`GET /gateway/v1/whoami`."""
        members = await self.questions.whoami(inbound.live.policies, _caller(inbound))
        return problems.status_page(200, members, inbound.decision_id)

    async def explain(self, inbound: Inbound) -> Answer:
        """`POST /gateway/v1/explain`: why a request would be decided as it would be; nothing is sent."""
        request = self._checked(inbound, question_in(await self._own_body(inbound)))
        arrival = inbound.arrival(self.current, self.clock)
        members = await self.questions.explain(inbound.live.policies, _caller(inbound), request, arrival=arrival)
        return problems.status_page(200, members, inbound.decision_id)

    async def _drafted(self, inbound: Inbound, request: CancelRequest) -> Answer | Draft:
        policies, arrival = inbound.live.policies, inbound.arrival(self.current, self.clock)
        result = await self.pipeline.plan(policies, _caller(inbound), request, arrival=arrival)
        return problems.denial(result, inbound.decision_id) if isinstance(result, Denial) else result

    def _shown(self, draft: Draft) -> dict[str, object]:
        return plan_members(draft, expires_in_s=self.pipeline.expires_in_s(draft))

    async def _own_body(self, inbound: Inbound) -> Body:
        """The body of a call of the gateway's own, which takes no query."""
        _no_query(inbound)
        return await self._body(inbound)

    async def _body(self, inbound: Inbound) -> Body:
        """The whole body. Who took long to send it is looked at again, under what holds now.

        Raises: Unauthenticated: the credential is not accepted any more.
        """
        body = await inbound.body()
        if inbound.has_body():
            live = self.current.live
            if live.authenticator.authenticate(inbound.credential(), self.clock.now_ms()) != inbound.principal:
                raise Unauthenticated("other_principal")
            inbound.live = live
        return body

    async def _request(self, inbound: Inbound) -> CancelRequest:
        return self._requested(inbound, await self._body(inbound))

    def _requested(self, inbound: Inbound, body: Body) -> CancelRequest:
        reason = parse_reason(inbound.header(b"gateway-reason"))
        request = parse_cancel(inbound.scope["query_string"], body)
        return self._checked(inbound, request if reason is None else replace(request, reason=reason))

    def _checked(self, inbound: Inbound, request: CancelRequest) -> CancelRequest:
        """The request, if it may be recorded: not too many run IDs, and no secret in it."""
        selection, most = request.selection, inbound.live.limits.max_run_ids
        if isinstance(selection, ByRunIds) and len(selection.run_ids) > most:
            raise TooLarge("run_ids", f"At most {most} run IDs stand in one request: split the list.")
        self._refuse_secrets(inbound, [*(value for _, value in selection.pairs()), request.reason or ""])
        return request

    def _refuse_secrets(self, inbound: Inbound, values: Iterable[str]) -> None:
        """Raises: MalformedRequest: a value holds a token of the account, a gateway's key, or the caller's credential.

        One rule for whatever a caller may write, before any of it is recorded or sent.
        """
        # A secret holds no line end, so one look at all values finds what a look at each would.
        text, credential = "\n".join(values), inbound.bearer()
        # A key is known by its shape; a token of an issuer has none that a value could not have.
        if self.is_secret(text) or (not credential.startswith("qgk_") and holds_text(text, credential)):
            raise MalformedRequest("secret_in_request", "The request holds a secret where a value should be.")


Action = Callable[[Calls, Inbound], Awaitable[Answer | Settled]]

ACTIONS: dict[bytes, tuple[str, Action]] = {
    b"/v2/workflows/runs": ("DELETE", Calls.cancel),
    b"/preview/v2/workflows/runs": ("DELETE", Calls.preview),
    b"/v2/workflows/logs": ("GET", Calls.logs),
    b"/v2/workflows/events": ("GET", Calls.logs),
    b"/gateway/v1/whoami": ("GET", Calls.whoami),
    b"/gateway/v1/explain": ("POST", Calls.explain),
    b"/gateway/v1/plans": ("POST", Calls.plan),
}
"""Every path that takes a key, byte for byte, with its one method; those of plans have a name in them."""


def _action(inbound: Inbound) -> Action:
    """What the request calls. Raises: NotFound, MethodNotAllowed."""
    method, path = inbound.scope["method"], inbound.scope["raw_path"]
    found = _called(path)
    if found is None and (meant := _meant(path)) is not None:
        raise NotFound("path", f"{_ONLY} this path has {_strange_in(path)}: write it as {meant.decode('ascii')}.")
    if found is None and path.startswith((b"/v2/", b"/v1/")):
        raise NotFound("qstash_path", f"{_ONLY} runtimes that host workflows keep their own client and token.")
    if found is None:
        raise NotFound("path", f"{_ONLY} this path is not one of it, byte for byte.")
    allowed, action = found
    if method != allowed:
        more = f" {_ONLY} for other calls, use a client with its own token." if path.startswith(b"/v2/") else ""
        raise MethodNotAllowed(allowed, f"This path takes {allowed} and nothing else.{more}")
    return action


def _called(path: bytes) -> tuple[str, Action] | None:
    return ACTIONS.get(path) or _of_a_plan(path)


def _meant(path: bytes) -> bytes | None:
    """The path of ours that a person or a proxy has probably written so; it is told, never taken for it."""
    if len(path) > _MAX_GUESSED_BYTES:
        return None
    plain = posixpath.normpath(unquote_to_bytes(path)).lower()
    return plain if _called(plain) is not None else None


def _strange_in(path: bytes) -> str:
    signs = {
        "an escape": b"%" in path,
        "a double slash": b"//" in path,
        "a slash at its end": path.endswith(b"/"),
        "upper case": path != path.lower(),
        "a dot segment": b"/./" in path or b"/../" in path,
    }
    return " and ".join(sign for sign, there in signs.items() if there) or "a dot segment"


def _of_a_plan(path: bytes) -> tuple[str, Action] | None:
    plan = _PLAN.fullmatch(path)
    if plan is None:
        return None
    return ("POST", Calls.apply) if plan["apply"] else ("GET", Calls.planned)


def _caller(inbound: Inbound) -> Principal:
    assert inbound.principal is not None
    return inbound.principal


def _plan_id(inbound: Inbound) -> str:
    found = _PLAN.fullmatch(inbound.scope["raw_path"])
    assert found is not None
    return found["plan"].decode("ascii")


def _no_query(inbound: Inbound) -> None:
    if inbound.scope["query_string"]:
        raise MalformedRequest("query", "This call takes no query: leave it out.")
