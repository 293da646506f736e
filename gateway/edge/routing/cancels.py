"""The calls that send something upstream: a cancel in either spelling, and the application of a plan."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.types import Send

from gateway.core.errors import Conflict, Refusal
from gateway.core.parse import Body, parse_reason
from gateway.core.request import Action, ActionRequest
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.head import PREVIEW
from gateway.edge.inbound import Inbound, Intake, caller_of
from gateway.edge.pages.calls import plan_id
from gateway.edge.reply import Teller, write
from gateway.execution.in_flight import Done, WaitEnded
from gateway.execution.pipeline import Pipeline
from gateway.operations.operation import Asked
from gateway.operations.overrides import no_overrides
from gateway.operations.switches import refuse_until
from gateway.operations.table import asked_by
from gateway.operations.words import WORDS
from gateway.process import fault_of

_KEEPS_NO_TIMERS = (
    "This gateway keeps no state, so it cannot end a pause later, whatever happens meanwhile: pause without "
    "Gateway-Until and resume it yourself, or ask the gateway's operators for 'state'. Nothing was sent."
)


class Cancels:
    """The calls that send something upstream: a cancel of many runs or of one, and the application of a plan."""

    def __init__(self, intake: Intake, pipeline: Pipeline, teller: Teller) -> None:
        self._intake = intake
        self._pipeline = pipeline
        self._teller = teller

    @property
    def keeps_state(self) -> bool:
        """Whether the gateway has a store, and so may have budgets."""
        return self._intake.state is not None

    async def cancel(self, inbound: Inbound) -> Answer | Done:
        """Handle `DELETE /v2/workflows/runs[/{run}]`: read the request, have it judged and sent. Raises: Refusal."""
        request = await self.request(inbound)
        if request.overrides and request.lasts_ms is not None and self._intake.state is None:
            raise Conflict("needs_state", _KEEPS_NO_TIMERS)
        call = self._intake.once(inbound, self._intake.call(inbound, request))
        return answers.told(await self._pipeline.run(call), inbound.decision_id)

    async def request(self, inbound: Inbound) -> ActionRequest:
        """Read the body, under limits, and return the cancel request. Raises: Refusal."""
        if not inbound.has_body():
            return self._parsed(inbound, inbound.no_body())
        body = await inbound.body()
        # Keys may have changed while the body arrived.
        self._intake.authenticate_again(inbound)
        return self._parsed(inbound, body)

    def _parsed(self, inbound: Inbound, body: Body) -> ActionRequest:
        """Return the cancel in query and body; from here on nobody looks at the caller's bytes.

        Raises: MalformedRequest, TooLarge: it is unreadable, names too many runs, or holds a secret.
        """
        reason = parse_reason(inbound.header(b"gateway-reason")) if inbound.has_words else None
        request = _read(inbound, body)
        # The request is refused for a secret in it before any of it is recorded.
        return self._intake.checked(inbound, request if reason is None else replace(request, reason=reason))

    async def apply(self, inbound: Inbound) -> Answer | Done:
        """Handle `POST /gateway/v1/plans/{plan}/apply`: cancel the runs of a plan, once. Raises: Refusal."""
        name = plan_id(inbound)
        refuse_until(inbound.header)
        no_overrides(inbound.scope["headers"])
        await self._intake.no_content(inbound)
        draft = await self._pipeline.plans.find(caller_of(inbound), name)
        call = self._intake.once(inbound, self._intake.call(inbound, draft.call.request), applies=name)
        return answers.told(await self._pipeline.apply(call, draft), inbound.decision_id)

    async def joined(self, inbound: Inbound) -> Answer | Done | None:
        """Wait for an identical cancel in flight, for a caller above its limits; return None if there is none to join.

        Reads only what has already arrived: a request without a place does not wait for its body.

        Raises: Refusal: that cancel was refused, or too many requests wait for it.
        """
        caller, current, clock = caller_of(inbound), self._intake.current, self._intake.clock
        if not self._pipeline.any_to_join(caller):
            return None
        request = await self._repeated(inbound)
        if request is None:
            return None
        with current.admission.join(caller, clock.monotonic_s()):
            result = await self._pipeline.join(self._intake.once(inbound, self._intake.call(inbound, request)))
        return None if result is None else answers.told(result, inbound.decision_id)

    async def _repeated(self, inbound: Inbound) -> ActionRequest | None:
        """Return the cancel that has arrived; None if it is another call, incomplete or refused."""
        if asked_by(inbound.scope["method"], inbound.scope["path"]) is None:
            return None
        try:
            body = await inbound.arrived()
            return None if body is None else self._parsed(inbound, body)
        except Refusal:
            return None
        finally:
            admission, now_s = self._intake.current.admission, self._intake.clock.monotonic_s()
            admission.charge(caller_of(inbound), now_s, read_bytes=inbound.read_bytes + inbound.framing_bytes)

    async def deliver(self, inbound: Inbound, done: Done, reply: Send) -> None:
        """Write the outcome of a cancel, say that it was answered, and tell operators.

        An answer that stays in our own memory, because the caller does not read, counts as answered to nobody.

        Raises: WaitEnded: it could not be written before the task was cancelled. Nothing else.
        """
        inbound.cancel_begun, written, ended = True, False, False
        faults: list[BaseException] = []
        try:
            gone = await inbound.gone()
            await write(inbound, self._shown(done, inbound.decision_id), reply)
            written = inbound.was_taken() and not gone
        except asyncio.CancelledError:
            ended = True
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            faults.append(fault_of(exc))
        try:
            self._pipeline.answered(done, caller_gone=not written)
            self._teller.outcome(done)
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            faults.append(fault_of(exc))
        for fault in faults:
            self._teller.fault(fault, inbound.decision_id)
        if ended:
            raise WaitEnded from None

    def _shown(self, done: Done, decision_id: str) -> Answer:
        try:
            return answers.outcome(done.result, decision_id)
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            self._teller.fault(fault_of(exc), decision_id)
            return answers.not_shown(decision_id, WORDS[done.plan.asked.action])


def _read(inbound: Inbound, body: Body) -> ActionRequest:
    """Return the request that method, path, query, body and headers make. Raises: MalformedRequest, NotFound."""
    scope = inbound.scope
    path = scope["path"].removeprefix(PREVIEW)
    found = asked_by(scope["method"], path)
    assert found is not None  # the route is made of the same table
    operation, form = found
    if inbound.has_words and operation.action is not Action.PAUSE:
        refuse_until(inbound.header)
    named = None if form.field is None else form.named(path)
    return operation.read(form, Asked(named, scope["query_string"], body, inbound.header, scope["headers"]))
