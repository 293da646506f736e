"""The place where shared state is joined to a gateway. This module loads nothing of the others before there is any.

With `state` in the configuration it is opened at the start. Without, only a file counts that somebody has put beside
the record (`freeze --state`): it is looked for at the start and once a second, and opened when it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, Self

from gateway.audit.events.declare import Members
from gateway.audit.log import AuditLog
from gateway.callers.in_force import LiveSettings
from gateway.core.errors import StateAway, StateFailure
from gateway.core.ports import Clock, OperatorsLog
from gateway.edge.inbound import Intake
from gateway.edge.pages.decisions import DecisionPages
from gateway.execution.follow_up import Settler
from gateway.execution.gates.gate import Gate
from gateway.execution.pipeline import Pipeline
from gateway.files.nodes import Place
from gateway.notices.settings import ReceiverSettings
from gateway.process import Net, report
from gateway.state.admissions import Left, Reservation
from gateway.state.settings import StateSettings
from gateway.upstream.runs.cursors import Askers

if TYPE_CHECKING:
    from gateway.edge.pages.approvals import ApprovalPages
    from gateway.edge.pages.freezes import FreezePages
    from gateway.fleet.made import Fleet
    from gateway.notices.receivers import Receiver
    from gateway.state.freezes import Freeze
    from gateway.state.port import Store

STATE_FILE = "state.db"
"""The name, in the audit directory, of the file that is joined without `state` in the configuration."""

EVERY_S = 1.0


class Around(NamedTuple):
    """What the shared state is joined to: the parts that ask it, the record, the gateway's name, its time and its log.

    `current` says whether there are operators, who could thaw what the gateway freezes by itself.
    """

    pipeline: Pipeline
    settler: Settler
    audit: AuditLog
    instance: str
    clock: Clock
    log: OperatorsLog
    current: LiveSettings
    askers: Askers
    decisions: DecisionPages


class Joining:
    """The shared state of a gateway, once there is any. `directory` is that of the record.

    `receivers` are told what happens, if state is configured.
    """

    def __init__(self, settings: StateSettings | None, directory: Path, receivers: Sequence[Receiver]) -> None:
        self._directory, file = directory, directory / STATE_FILE
        self._receivers = receivers
        self._configured = settings is not None
        self._settings = settings or StateSettings(file=file, url=None, at=Place(str(file), 1, 1))
        self._store: Store | None = None
        self._fleet: Fleet | None = None
        self._refused: str | None = None

    @classmethod
    async def begun(
        cls, settings: StateSettings | None, directory: Path, notify: Sequence[ReceiverSettings] = ()
    ) -> Self:
        """Return the shared state of a gateway that starts, with its store open if it has one.

        A store that does not answer is waited for while the gateway serves: until then nothing is sent.

        Raises:
            StateFailure: the store answers, and cannot be used.
            InvalidConfiguration: the URL or the secret of a receiver of notices cannot be read.
        """
        joining = cls(settings, directory, await asyncio.to_thread(read_receivers, notify) if notify else ())
        try:
            await joining.open()
        except StateAway:
            from gateway.store.opened import store_to_come

            joining._store = store_to_come(joining._settings)
        return joining

    async def open(self) -> None:
        """Open the store if there is one. Raises: StateFailure: it cannot be used."""
        if self._configured or await asyncio.to_thread(self._is_there):
            opened = await asyncio.to_thread(_load, notices=bool(self._receivers))
            self._store = await opened.open_store(self._settings, create=self._configured)

    async def join(self, around: Around, is_secret: Callable[[str], bool] = lambda _: True) -> None:
        """Put the gate into the pipeline, with freezes that were read if the store answers.

        `is_secret` says of a text whether it may hold a secret: no receiver is told such a text.
        """
        if self._store is None:
            return
        from gateway.fleet.made import Fleet

        fleet = Fleet(self._store, around)
        if self._receivers:
            fleet.notify(self._receivers, is_secret)
        await fleet.begin()
        if self._configured:
            fleet.share(self._store, around)
        self._fleet, around.pipeline.gate, around.settler.wider = fleet, fleet.gate, fleet.switch.trip
        shown = around.settler.learnt

        def learnt(members: Members) -> None:
            """Tell the plans that are shown, and settle what was taken."""
            shown(members)
            fleet.learnt(members)

        around.settler.learnt = learnt

    def then(self, begin: Callable[[], Coroutine[None, None, None]]) -> Callable[[], Coroutine[None, None, None]]:
        """Return what begins once the record is open: the recovery of what was left open in the store, then `begin`.

        In this order, because `begin` locks the chains whose outcomes it follows, and the recovery asks of each chain
        whether anybody holds it.
        """

        async def begun() -> None:
            """Begin both."""
            if self._fleet is not None:
                await self._fleet.recover(self._directory)
            await begin()

        return begun

    async def run(self, around: Around) -> None:
        """Look for the file once a second until it is joined. A file that cannot be used lets nothing be sent."""
        while self._fleet is None:
            await asyncio.sleep(EVERY_S)
            with Net() as net:
                await self._look(around)
            if net.fault is not None:
                report(net.fault, "the shared state was not looked for")

    async def _look(self, around: Around) -> None:
        refused = None
        try:
            await self.open()
            await self.join(around)
        except StateFailure as failure:
            refused = f"{failure}; nothing is sent to QStash until it can be used, or is moved away"
        if self._fleet is None and refused != self._refused:
            around.pipeline.gate = None if refused is None else _closed(around)
            if refused is not None:
                around.log.error("state_refused", problem=refused)
        self._refused = refused

    def more(self, intake: Intake) -> tuple[FreezePages | None, ApprovalPages | None]:
        """Return the further calls, about freezes and approvals, if state is configured.

        Without, nobody is an operator, and no rule asks for an approval.
        """
        if self._fleet is None or not self._configured:
            return None, None
        return self._fleet.pages(intake), self._fleet.approvals(intake)

    def in_force(self) -> Sequence[Freeze] | None:
        """Return the freezes in force; None if there is no shared state."""
        return None if self._fleet is None else self._fleet.freezes.in_force()

    def budgets(self) -> Mapping[str, int]:
        """Return how many runs are left of the budget of each rule, as far as requests have shown it."""
        return {} if self._fleet is None else self._fleet.takes.left_runs()

    async def left(self, drawn: Sequence[Reservation]) -> Sequence[Left] | None:
        """Return what is left of each of these budgets, in turn; None if the store does not say it in time."""
        return None if self._fleet is None else await self._fleet.takes.left(drawn)

    def reload_refused(self, why: str) -> None:
        """Tell receivers that changed files were refused, if there are any. Returns at once, never raises."""
        if self._fleet is not None and self._fleet.noticed is not None:
            self._fleet.noticed.reload_refused(why)

    def notices(self) -> Sequence[str]:
        """Return the notices for operators."""
        if self._refused is not None:
            return [self._refused]
        return [] if self._fleet is None else self._fleet.notices()

    async def stop(self) -> None:
        """Leave the fleet and close the store."""
        if self._fleet is not None:
            await self._fleet.stop()
        if self._store is not None:
            await self._store.aclose()

    def _is_there(self) -> bool:
        return self._settings.file is not None and self._settings.file.exists()


def read_receivers(settings: Sequence[ReceiverSettings]) -> Sequence[Receiver]:
    """Read the receivers of notices; without any nothing is loaded. Raises: InvalidConfiguration."""
    if not settings:
        return ()
    from gateway.notices.receivers import receivers

    return receivers(settings)


def _load(*, notices: bool) -> ModuleType:
    """Load what the shared state needs, on a thread: it takes a while, and requests go on."""
    import gateway.fleet.made
    from gateway.store import opened

    if notices:
        import gateway.fleet.noticed  # noqa: F401 - it is used when the state is joined

    return opened


def _closed(around: Around) -> Gate:
    """Return a gate that lets nothing pass, because nobody knows what is frozen."""
    from gateway.execution.gates.freezes import FreezesInForce
    from gateway.execution.gates.state_gate import StateGate

    return StateGate(FreezesInForce(around.clock), lambda *_: None)
