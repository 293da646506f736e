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
from gateway.callers.in_force import LiveSettings
from gateway.core.errors import StateFailure
from gateway.core.ports import Clock, KeepPort, OperatorsLog
from gateway.edge.inbound import Intake
from gateway.edge.pages.decisions import DecisionPages
from gateway.execution.follow_up import Settler
from gateway.execution.gates.gate import Gate
from gateway.execution.pipeline import Pipeline
from gateway.files.nodes import Place
from gateway.process import Net, report
from gateway.state.settings import StateSettings
from gateway.upstream.runs.cursors import Askers

if TYPE_CHECKING:
    from gateway.edge.pages.approvals import ApprovalPages
    from gateway.edge.pages.freezes import FreezePages
    from gateway.fleet.made import Fleet
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
    audit: KeepPort
    instance: str
    clock: Clock
    log: OperatorsLog
    current: LiveSettings
    askers: Askers
    decisions: DecisionPages


class Joining:
    """The shared state of a gateway, once there is any. `directory` is that of the record."""

    def __init__(self, settings: StateSettings | None, directory: Path) -> None:
        self._directory, file = directory, directory / STATE_FILE
        self._configured = settings is not None
        self._settings = settings or StateSettings(file=file, url=None, at=Place(str(file), 1, 1))
        self._store: Store | None = None
        self._fleet: Fleet | None = None
        self._refused: str | None = None

    @classmethod
    async def begun(cls, settings: StateSettings | None, directory: Path) -> Self:
        """Return the shared state of a gateway that starts, with its store open if it has one. Raises: StateFailure."""
        joining = cls(settings, directory)
        await joining.open()
        return joining

    async def open(self) -> None:
        """Open the store if there is one. Raises: StateFailure: it cannot be used."""
        if self._configured or await asyncio.to_thread(self._is_there):
            opened = await asyncio.to_thread(_load)
            self._store = await opened.open_store(self._settings, create=self._configured)

    async def join(self, around: Around) -> None:
        """Put the gate into the pipeline, with freezes that were read if the store answers."""
        if self._store is None:
            return
        from gateway.fleet.made import Fleet

        fleet = Fleet(self._store, around)
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
        """Return what begins once the record is open: `begin`, then the recovery of what was left open in the store."""

        async def begun() -> None:
            """Begin both."""
            await begin()
            if self._fleet is not None:
                await self._fleet.recover(self._directory)

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


def _load() -> ModuleType:
    """Load what the shared state needs, on a thread: it takes a while, and requests go on."""
    import gateway.fleet.made  # noqa: F401 - it is used when the state is joined
    from gateway.store import opened

    return opened


def _closed(around: Around) -> Gate:
    """Return a gate that lets nothing pass, because nobody knows what is frozen."""
    from gateway.execution.gates.freezes import FreezesInForce
    from gateway.execution.gates.state_gate import StateGate

    return StateGate(FreezesInForce(around.clock), lambda *_: None)
