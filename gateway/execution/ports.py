"""The ports of the pipeline, and the value that a request brings to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.audit.events.declare import Members
from gateway.audit.record import denied_members
from gateway.core.forms.correlation import NOT_GIVEN, Correlation
from gateway.core.outcome import Closing, Outcome
from gateway.core.plan import Denial, Order, Permit, Plan, Receipt
from gateway.core.ports import Alarm, KeepPort, NotePort
from gateway.core.request import CANCEL_RUNS, Action, ActionRequest, Everything, Filter, Principal
from gateway.core.run import Listing, LookUp, LookUpBounds, Resolved, Run
from gateway.execution.gates.left import Under
from gateway.policy.rules import Policies
from gateway.state.admissions import Binding


class OrderPort(Protocol):
    """The port that orders are sent through."""

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        """Send the order once. Never raises."""


class RunLog(Protocol):
    """The port that runs are looked up through. Every method raises LookupFailed or TooLarge; nothing was sent then."""

    async def running(self, selection: Filter | Everything, look: LookUp) -> Listing:
        """Return at least the running runs that a filter, or everything, may select; of them enough for the `look`."""

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        """Return the newest run of each ID that exists."""

    async def look_again(self, runs: Sequence[Run], selection: Filter | Everything, since_ms: int) -> Listing:
        """Return the newest run under the ID of each of these runs.

        A listing of the selection had shown them, and no running run was hidden from it; it began at upstream's time
        `since_ms`, in Unix milliseconds.
        """


class AuditPort(NotePort, KeepPort, Protocol):
    """The port to the audit log."""

    async def intent(self, plan: Plan) -> Receipt:
        """Make the intent durable. Raises: AuditUnavailable: it is not durable, and nothing may be sent."""

    async def chunk(self, members: Mapping[str, object]) -> bool:
        """Record the outcome of one order of several, now or as soon as possible; return whether it is durable now."""

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        """Record the outcome. Never raises."""


async def at_once() -> None:
    """Wait for nothing."""


@dataclass(frozen=True, slots=True)
class LookUps:
    """The port for look-ups, the log for those that fail after their request has ended, and their bounds as of now.

    `known` waits until it is known which runs earlier processes have ordered. `others` is where the things are looked
    up that other actions are about.
    """

    runs: RunLog
    operators_log: Alarm | None = None
    bounds: Callable[[], LookUpBounds] = LookUpBounds
    known: Callable[[], Awaitable[object]] = at_once
    others: Mapping[Action, RunLog] = field(default_factory=dict)

    def of(self, action: Action) -> RunLog | None:
        """Return where the things are looked up that an action is about; None if they cannot be."""
        return self.runs if action is CANCEL_RUNS else self.others.get(action)


class SettlerPort(Protocol):
    """The port that learns later what an outcome could not yet say."""

    def follow(self, plan: Plan, outcome: Outcome) -> None:
        """Start a follow-up if the outcome left something open. Returns at once, never raises."""


@dataclass(slots=True)
class Call:
    """One authenticated request as the pipeline knows it, and the policies that it is judged by.

    Apart from these values it holds two questions to ask later, because a request may wait to be judged or sent. `gone`
    says whether the caller has disconnected. `standing` authenticates the caller again: it returns the policies now in
    force, or None if the credential is no longer accepted. The bytes of the request, its body and its place among the
    limits stay in the edge (`edge/inbound`). `once` is what is kept of its Idempotency-Key, if it has one. `under` is
    told the budget of the rule that permits it, if any rule has one. `ends` is the decision of the pause that is over,
    where the gateway itself resumes.
    """

    policies: Policies
    principal: Principal
    request: ActionRequest
    decision_id: str
    remote: str | None
    gone: Callable[[], Awaitable[bool]]
    standing: Callable[[], Policies | None]
    correlation: Correlation = NOT_GIVEN
    once: Binding | None = None
    under: Under | None = None
    ends: str | None = None

    @property
    def key(self) -> tuple[Hashable, Hashable]:
        """Return the key under which an identical call finds this one in flight."""
        return self.principal, self.request if self.once is None else (self.request, self.once)

    def planned(
        self,
        permit: Permit,
        orders: tuple[Order, ...],
        *,
        resolved: Resolved | None = None,
        plan_id: str | None = None,
    ) -> Plan:
        """Return the plan that carries out this call by the given orders."""
        return Plan(
            decision_id=self.decision_id,
            principal=self.principal,
            asked=self.request,
            permit=permit,
            orders=orders,
            policy_digest=self.policies.digest,
            remote=self.remote,
            resolved=resolved,
            plan_id=plan_id,
            correlation=self.correlation,
            ends=self.ends,
        )

    def denied_members(self, denial: Denial, upstream: str) -> Members:
        """Return the members of the record that says that this call was denied; `upstream` is QStash's URL."""
        return denied_members(
            self.decision_id,
            principal=self.principal,
            asked=self.request,
            denial=denial,
            policy_digest=self.policies.digest,
            upstream=upstream,
            remote=self.remote,
            correlation=self.correlation,
            ends=self.ends,
        )
