"""What carrying out a request needs from outside, and what a request brings along: the ports of the pipeline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.outcome import Closing, Outcome
from gateway.core.plan import Order, Permit, Plan, Receipt
from gateway.core.ports import Alarm
from gateway.core.request import ByFilter, CancelRequest, EveryRun, Principal
from gateway.core.run import Listing, Resolved
from gateway.policy.rules import Policies


class CancelPort(Protocol):
    """Where orders are sent."""

    async def cancel(self, order: Order, receipt: Receipt) -> Outcome:
        """Sends the order once; never raises."""


class RunLog(Protocol):
    """Where runs are looked up. Both raise LookupFailed or TooLarge: nothing was sent then."""

    async def running(self, selection: ByFilter | EveryRun) -> Listing:
        """The running runs that a filter, or everything, may mean, and perhaps more."""

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        """The newest run of each ID that exists."""


class AuditPort(Protocol):
    """Where everything is recorded."""

    async def intent(self, plan: Plan) -> Receipt:
        """Makes the intent durable; raises AuditUnavailable, and then nothing may be sent."""

    async def chunk(self, members: Mapping[str, object]) -> bool:
        """Records what came of one order of several, at once or as soon as can be; whether it is durable now."""

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        """Records the outcome; never raises."""

    async def keep(self, event: str, members: Mapping[str, object]) -> None:
        """Records what must be durable before what follows; raises AuditUnavailable."""

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        """Records something that needs no receipt; never raises."""


@dataclass(frozen=True, slots=True)
class LookUps:
    """Where runs are looked up, and where operators read of a look-up that failed when its request had ended."""

    runs: RunLog
    operators_log: Alarm | None = None


class SettlerPort(Protocol):
    """Learns what an outcome could not say yet."""

    def follow(self, plan: Plan, outcome: Outcome) -> None:
        """Begins to find out, where there is something to find; never waits, never raises."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The caller as the gateway sees it now, and the policies of now."""

    principal: Principal
    policies: Policies


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request at the door: its decision id, its peer, and two questions to ask later.

    `gone`: has the caller gone? `standing`: what is the caller now, None where its credential is not accepted any more.
    """

    decision_id: str
    remote: str | None
    gone: Callable[[], Awaitable[bool]]
    standing: Callable[[], Standing | None]


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request: the policies it is judged by, whose it is, what it asks for, and how it came."""

    policies: Policies
    principal: Principal
    request: CancelRequest
    arrival: Arrival

    def planned(
        self,
        permit: Permit,
        orders: tuple[Order, ...],
        *,
        resolved: Resolved | None = None,
        plan_id: str | None = None,
    ) -> Plan:
        """What is to be sent for it."""
        return Plan(
            decision_id=self.arrival.decision_id,
            principal=self.principal,
            asked=self.request,
            permit=permit,
            orders=orders,
            policy_digest=self.policies.digest,
            remote=self.arrival.remote,
            resolved=resolved,
            plan_id=plan_id,
        )
