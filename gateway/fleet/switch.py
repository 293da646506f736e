"""The switch: freezes are set, released and shown here, by operators or by the gateway itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import uuid_utils

from gateway.core.errors import FreezeUnsure, StateUnavailable
from gateway.core.ports import OperatorsLog
from gateway.execution.gates.freezes import FreezesInForce
from gateway.fleet.following import Following, Reached
from gateway.fleet.recorded import Recorder
from gateway.state.freezes import Freeze, Scope, scope_in_words
from gateway.state.port import Freezes

BY_ITSELF = "gateway"
"""The name on a freeze that the gateway set itself."""

MOST_NOTICES = 10
"""The most notices of what would have been frozen, had anybody the right to thaw it."""


@dataclass(slots=True)
class Switch:
    """The freezes of the fleet, as one gateway sets and releases them.

    `may_trip` says whether there are operators: only then the gateway freezes by itself, because somebody can thaw it.
    """

    store: Freezes
    freezes: FreezesInForce
    following: Following
    recorder: Recorder
    log: OperatorsLog
    may_trip: Callable[[], bool]
    untripped: dict[Scope, str] = field(default_factory=dict)

    def in_force(self) -> list[Freeze]:
        """Return the freezes in force in this gateway, the oldest first."""
        return self.freezes.in_force()

    def now_ms(self) -> int:
        """Return the time by which freezes end, in Unix milliseconds."""
        return self.freezes.now_ms()

    async def freeze(self, scope: Scope, *, reason: str, until_ms: int | None, by: str) -> tuple[Freeze, Reached]:
        """Freeze: in this gateway at once, and in every other as soon as it reads the store.

        Raises: FreezeUnsure: the store may not have it. It is in force in this gateway, and written again and again.
        """
        freeze = self._held(scope, reason=reason, until_ms=until_ms, by=by)
        try:
            kept = await self.store.freeze(freeze)
        except StateUnavailable as away:
            self.recorder.begin(freeze, "freeze")
            await self.recorder.wait()
            sentence = (
                f"Calls {scope_in_words(scope)} are frozen in this gateway by {freeze.freeze_id}, which could not be "
                "written to the state that gateways share. It goes on trying; until then other gateways are not frozen."
            )
            raise FreezeUnsure(away.cause, freeze.freeze_id, sentence) from away
        self.freezes.hold(kept)
        self.recorder.begin(kept, "freeze")
        await self.recorder.wait()
        return kept, await self.following.reached(kept.number)

    async def thaw(self, freeze_id: str, by: str) -> Freeze | None:
        """End a freeze; return it, or None if there is none in force with that ID.

        Raises: FreezeUnsure: the store may not know; the freeze stays in force here until it does.
        """
        try:
            for freeze in self.freezes.unwritten():
                if freeze.freeze_id == freeze_id:
                    # Its write may have happened, or be on its way: only what is in the store can be ended for good.
                    self.freezes.hold(await self.store.freeze(freeze))
            ended = await self.store.thaw(freeze_id, by)
        except StateUnavailable as away:
            sentence = (
                f"Freeze {freeze_id} cannot be ended now, because the state that gateways share cannot be reached. "
                "It stays in force. Try again later."
            )
            raise FreezeUnsure(away.cause, freeze_id, sentence) from away
        if ended is not None:
            self.freezes.let_go(ended)
            self.log.info("thawed", freeze_id=freeze_id, by=by)
            self.recorder.begin(ended, "thaw")
            await self.recorder.wait()
        return ended

    def trip(self, team: str, rule: str | None, why: str) -> None:
        """Freeze a rule for a team because upstream did more than was sent; at once, and written with the next beat."""
        scope = Scope(team, rule)
        if not self.may_trip():
            if len(self.untripped) < MOST_NOTICES:
                self.untripped[scope] = why
            return
        if all(one.by != BY_ITSELF or one.scope != scope for one in self.freezes.in_force()):
            self.recorder.begin(self._held(scope, reason=why, until_ms=None, by=BY_ITSELF), "freeze")

    def notices(self) -> list[str]:
        """Return the notices for operators: what is frozen, and what would be if there were operators to thaw it."""
        found = [
            f"calls {scope_in_words(one.scope)} are frozen by {one.by} ({one.freeze_id})" for one in self.in_force()
        ]
        found += [
            f"look at rule {scope.rule} of team {scope.team}: {why}; with 'operators' in the configuration it would "
            "have been frozen"
            for scope, why in self.untripped.items()
        ]
        return found

    def _held(self, scope: Scope, *, reason: str, until_ms: int | None, by: str) -> Freeze:
        name = str(uuid_utils.uuid7())
        freeze = Freeze(name, scope, reason, by, self.freezes.now_ms(), until_ms)
        self.freezes.hold(freeze)
        self.log.error("frozen", freeze_id=name, team=scope.team, rule=scope.rule, by=by)
        return freeze
