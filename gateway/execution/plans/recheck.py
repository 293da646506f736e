"""The second look, just before an order of runs is sent: at the caller's credential, the policies, and the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from gateway.core.errors import Refusal
from gateway.core.plan import Denial, Order, Permit, Plan
from gateway.core.ports import Clock
from gateway.core.request import ActionRequest, ByIds
from gateway.core.run import HANDLED, ORDERED, Listing, Resolved, Run, Skip, Skipped
from gateway.execution.judging import Judging
from gateway.execution.plans.handled import Handled
from gateway.execution.ports import Call, RunLog
from gateway.operations.table import OPERATIONS
from gateway.policy.choose import choose
from gateway.policy.decide import decide
from gateway.policy.rules import Policies

FRESH_S = 2.0
"""The greatest age, in seconds, of a plan's look-up that its first order may rely on."""


@dataclass(frozen=True, slots=True)
class Look:
    """The result of a second look: the part of an order that may still be sent, if any, and the runs left out.

    `stopped` is a fixed word for why the plan ends here, if it does.
    """

    order: Order | None
    stopped: str | None = None
    skipped: Skipped = field(default_factory=dict)


@dataclass(frozen=True)
class SecondLook:
    """The check of one plan's orders; its runs were looked up at `looked_at_s` (monotonic).

    Only the first order may rely on that look-up: before each later one the runs are looked up again. A look-up that
    was `narrowed`, or ended early, is not enough even for the first order: it may have missed another run under the
    same ID, perhaps another team's, and nobody could say which of the two a cancel would hit. Then each run is looked
    up by its ID, and so it is where nobody knows `as_of_ms`, upstream's time when the look-up began. A run that an
    order of ours has cancelled meanwhile (`handled`) is left out.
    """

    plan: Plan
    call: Call
    log: RunLog
    clock: Clock
    looked_at_s: float
    judging: Judging
    handled: Handled
    narrowed: bool = False
    as_of_ms: int | None = None

    @cached_property
    def _by_id(self) -> Mapping[str, Run]:
        """The runs of the plan by ID, so that each order takes only its own."""
        return {run.run_id: run for run in self.plan.runs}

    async def __call__(self, order: Order, number: int, *, by_id: bool = False) -> Look:
        """Check the planned order with that number (from 1) again. Refusals on the way are returned as `stopped`.

        With `by_id` every run is asked for by its ID, however fresh the look-up is: the order was refused before.
        """
        planned = [self._by_id[value] for _, value in order.selection.pairs()]
        if number == 1 and not by_id and not self.narrowed and self.clock.monotonic_s() - self.looked_at_s <= FRESH_S:
            listing = Listing(tuple(planned))
        else:
            try:
                listing = await self._shown_again(planned, by_id=by_id)
            except Refusal as refusal:
                return Look(None, stopped=refusal.code)
        return await self._judged(*_still_running(planned, self.handled.corrected(listing, self.plan.asked.action)))

    def runs_of(self, order: Order) -> list[Run]:
        """Return the runs that an order of this plan names."""
        return [self._by_id[value] for _, value in order.selection.pairs()]

    async def _shown_again(self, planned: Sequence[Run], *, by_id: bool) -> Listing:
        """Look for every run under the IDs of these runs, whoever owns it now. Raises: Refusal."""
        selection = self.plan.asked.selection
        if by_id or self.narrowed or self.as_of_ms is None or isinstance(selection, ByIds):
            return await self.log.look_up([run.run_id for run in planned])
        return await self.log.look_again(planned, selection, self.as_of_ms)

    async def _judged(self, runs: Sequence[Run], skipped: Skipped) -> Look:
        standing = self.call.standing()
        if standing is None:
            return Look(None, stopped="revoked")
        if not runs:
            return Look(None, skipped=skipped)
        judge = partial(self._chosen, standing, runs)
        chosen = await self.judging.done(standing, self.plan.principal, judge, runs=len(runs))
        # The judgement may have waited for a thread, and the credential may have been revoked meanwhile.
        if self.call.standing() is None:
            return Look(None, stopped="revoked")
        if chosen is None:
            return Look(None, stopped="denied")
        left = OPERATIONS[self.plan.asked.action].orders(chosen.runs, self.plan.asked)
        return Look(left[0] if left else None, skipped={**skipped, **chosen.skipped})

    def _chosen(self, policies: Policies, runs: Sequence[Run], now_ms: int) -> Resolved | None:
        """Return which of the runs may be cancelled now; None if policy refuses the request."""
        principal, asked = self.plan.principal, self.plan.asked
        permit = decide(policies, principal, asked, now_ms)
        if isinstance(permit, Denial) or self._too_many(permit):
            return None
        request, listing = about(asked, runs), Listing(tuple(runs))
        chosen = choose(policies, principal, request, permit, listing, now_ms)
        return None if isinstance(chosen, Denial) else chosen

    def _too_many(self, permit: Permit) -> bool:
        """Return whether the plan has more runs than are allowed now: orders are judged singly, but count together."""
        bounds = [permit.effective.count]
        if permit.resolution is not None and permit.resolution.max_runs is not None:
            bounds.append(permit.resolution.max_runs)
        return len(self.plan.runs) > min(bounds)


def about(asked: ActionRequest, runs: Sequence[Run]) -> ActionRequest:
    """Return the request limited to these runs (at least one): if it names run IDs, only theirs."""
    if not isinstance(asked.selection, ByIds):
        return asked
    return replace(asked, selection=ByIds(tuple(run.run_id for run in runs), asked.selection.name), count=len(runs))


def _still_running(planned: Sequence[Run], listing: Listing) -> tuple[list[Run], Skipped]:
    """Return the planned runs that are unchanged and still running, and the others by the reason for skipping them."""
    seen, unreadable = {run.run_id: run for run in listing.runs}, frozenset(listing.unreadable)
    left: list[Run] = []
    skipped: dict[Skip, list[str]] = {}
    for run in planned:
        now = seen.get(run.run_id)
        if now is not None and now.running and now.created_ms == run.created_ms:
            left.append(now)
            continue
        # A custom ID can be started again; the run under it now is not the one that was judged.
        why = Skip.RESTARTED if now is not None and now.created_ms != run.created_ms else Skip.FINISHED
        # Unreadable: the entry cannot be read, or two entries with this ID contradict each other.
        why = Skip.UNREADABLE if run.run_id in unreadable else why
        why = Skip.DONE if now is not None and now.state in (HANDLED, ORDERED) else why
        skipped.setdefault(why, []).append(run.run_id)
    return left, {why: tuple(run_ids) for why, run_ids in skipped.items()}
