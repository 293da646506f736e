"""The parts of the gateway with their steps traced: each does what the part does that it takes the place of.

Attributes are numbers, fixed words, ids that the gateway made, and names from its own configuration and policies;
nothing of a caller's bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.callers.authenticate import Authenticator
from gateway.callers.in_force import InForce, LiveSettings
from gateway.core.outcome import Cancelled, Closing, NotSent, Outcome, Unknown
from gateway.core.plan import Decision, Denial, Order, Plan, Receipt
from gateway.core.request import Everything, Filter, Principal
from gateway.core.run import Listing, LookUp, Run
from gateway.execution.judging import Judging
from gateway.execution.ports import AuditPort, Call, OrderPort, RunLog
from gateway.telemetry.steps import CURRENT, Attributes, Step

_OURS = ("action", "rule", "decision", "outcome", "runs", "pages")
ACTION, RULE, DECISION, OUTCOME, RUNS, PAGES = (f"gateway.{name}" for name in _OURS)


class TracedAuthenticator(Authenticator):
    """The authentication of callers, as the step `authenticate`."""

    def __init__(self, inner: Authenticator) -> None:
        self.inner = inner

    def follow(self, before: Authenticator) -> None:
        """Take the place of another."""
        self.inner.follow(before.inner if isinstance(before, TracedAuthenticator) else before)

    def authenticate(self, credential: bytes | None, now_ms: int) -> Principal:
        """Return the principal. Raises: Unauthenticated."""
        with Step("authenticate"):
            return self.inner.authenticate(credential, now_ms)


class TracedSettings(LiveSettings):
    """The settings in force, whose authentication is traced, also after a reload."""

    def __init__(self, live: InForce, *, most_in_flight: int | None = None) -> None:
        super().__init__(_traced(live), most_in_flight=most_in_flight)

    def swap(self, live: InForce) -> None:
        """Put other settings in force."""
        super().swap(_traced(live))


def _traced(live: InForce) -> InForce:
    return replace(live, authenticator=TracedAuthenticator(live.authenticator))


class TracedJudging(Judging):
    """The judgement, as the step `decide`. On a thread it is one step with its wait for the thread."""

    def decide(self, call: Call) -> Decision:
        """Decide a call."""
        with Step("decide") as step:
            decision = super().decide(call)
            step.attributes = _decided(decision)
            return decision

    async def judged(self, call: Call) -> tuple[Call, Decision]:
        """Decide a call on a thread. Raises: Unauthenticated."""
        with Step("decide") as step:
            found = await super().judged(call)
            step.attributes = _decided(found[1])
            return found


def _decided(decision: Decision) -> Attributes:
    return _named(decision.rule, "deny" if isinstance(decision, Denial) else "permit")


def _named(rule: object, decision: str) -> Attributes:
    attributes: Attributes = {DECISION: decision}
    return attributes if rule is None else attributes | {RULE: str(rule)}


class TracedRuns:
    """The log of runs, each reading of which is a step `lookup`."""

    def __init__(self, log: RunLog) -> None:
        self._log = log

    async def running(self, selection: Filter | Everything, look: LookUp) -> Listing:
        """Return the running runs. Raises: LookupFailed, TooLarge."""
        with Step("lookup") as step:
            return _found(step, await self._log.running(selection, look))

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        """Return the newest run of each ID. Raises: LookupFailed, TooLarge."""
        with Step("lookup") as step:
            return _found(step, await self._log.look_up(run_ids))

    async def look_again(self, runs: Sequence[Run], selection: Filter | Everything, since_ms: int) -> Listing:
        """Return the newest run under the ID of each run. Raises: LookupFailed, TooLarge."""
        with Step("lookup") as step:
            return _found(step, await self._log.look_again(runs, selection, since_ms))


def _found(step: Step, listing: Listing) -> Listing:
    step.attributes = {RUNS: len(listing.runs), PAGES: listing.pages}
    return listing


class TracedAudit:
    """The audit log: `audit.intent` is a step, and the other records say what became of the cancel."""

    def __init__(self, audit: AuditPort) -> None:
        self._audit = audit

    async def intent(self, plan: Plan) -> Receipt:
        """Make the intent durable. Raises: AuditUnavailable."""
        _tell({ACTION: plan.asked.action.value, **_named(plan.permit.rule, "permit")})
        with Step("audit.intent"):
            return await self._audit.intent(plan)

    async def chunk(self, members: Mapping[str, object]) -> bool:
        """Record the outcome of one order of several."""
        return await self._audit.chunk(members)

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        """Record the outcome."""
        _tell(*_came_of_it(closing.outcome))
        await self._audit.close(receipt, closing)

    async def keep(self, event: str, members: Mapping[str, object]) -> None:
        """Record what must be durable. Raises: AuditUnavailable."""
        await self._audit.keep(event, members)

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        """Record an event."""
        if event == "denied":
            _tell({ACTION: str(members["action"]), **_named(members.get("rule"), "deny"), OUTCOME: event})
        elif event == "refused":
            _tell({OUTCOME: str(members.get("code"))})
        elif event in ("throttled", "joined"):
            _tell({OUTCOME: event})
        await self._audit.note(event, members)

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        """Record an event without waiting."""
        self._audit.note_soon(event, members)


def _tell(attributes: Attributes, failed: bool = False) -> None:  # noqa: FBT001, FBT002 - as `_came_of_it` returns it
    trace = CURRENT.get()
    if trace is not None:
        trace.attributes.update(attributes)
        trace.failed = trace.failed or failed


def _came_of_it(outcome: Outcome) -> tuple[Attributes, bool]:
    attributes: Attributes = {OUTCOME: outcome.name}
    if isinstance(outcome, Cancelled):
        attributes[RUNS] = outcome.cancelled
    return attributes, isinstance(outcome, (NotSent, Unknown))


class TracedUpstream:
    """The upstream, to which each order is a step `upstream`."""

    def __init__(self, upstream: OrderPort) -> None:
        self._upstream = upstream

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        """Send the order once. Never raises."""
        with Step("upstream") as step:
            outcome = await self._upstream.send(order, receipt)
            step.attributes, step.failed = _came_of_it(outcome)
            return outcome
