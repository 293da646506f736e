"""The freezes in force in this process: those of the store when it was last read, and those made here since.

A freeze made here is in force from that line on, whether or not it can be written. It gives way to what is read only
once that is at least as new. What was read stays in force while the store is away.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.errors import StateUnavailable
from gateway.core.forms.times import run_time
from gateway.core.plan import Barrier, Denial, Permit
from gateway.core.ports import Clock
from gateway.core.request import Principal
from gateway.operations.words import WORDS
from gateway.state.freezes import Freeze, Snapshot, scope_in_words

FROZEN = "frozen"
"""The code of the answer, and the cause on record."""

NOT_READ_YET = "not_read_yet"
"""The cause of a refusal before the freezes were read for the first time."""

Trip = Callable[[str, str | None, str], None]
"""A switch that the gateway throws itself: it is given the team, the rule, and the reason in a sentence."""


class FreezesInForce:
    """The freezes that stop requests in this process, by the store's clock as far as it is known."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shared: tuple[Freeze, ...] = ()
        self._here: dict[str, Freeze] = {}
        self._ended: dict[str, Freeze] = {}
        self._ahead_ms: float | None = None
        self.number = 0

    @property
    def read(self) -> bool:
        """Whether the freezes of the store were read since the start."""
        return self._ahead_ms is not None

    def take(self, snapshot: Snapshot) -> None:
        """Take over what was read. What was made or ended here since then stays as it was made here."""
        self._shared, self.number = snapshot.freezes, snapshot.number
        self._ahead_ms = snapshot.now_ms - self._clock.monotonic_s() * 1000
        shown = {one.freeze_id for one in snapshot.freezes}
        self._here = {name: one for name, one in self._here.items() if name not in shown and _newer(one, snapshot)}
        self._ended = {name: one for name, one in self._ended.items() if one.number > snapshot.number}

    def hold(self, freeze: Freeze) -> None:
        """Put a freeze in force at once; its number is 0 until the store has it."""
        self._here[freeze.freeze_id] = freeze

    def let_go(self, freeze: Freeze) -> None:
        """End a freeze that the store has ended."""
        self._here.pop(freeze.freeze_id, None)
        self._ended[freeze.freeze_id] = freeze

    def unwritten(self) -> list[Freeze]:
        """Return the freezes made here that the store is not known to have."""
        return [one for one in self._here.values() if not one.number]

    def in_force(self) -> list[Freeze]:
        """Return the freezes that stop requests now, the oldest first."""
        now_ms, known = self.now_ms(), {one.freeze_id: one for one in (*self._shared, *self._here.values())}
        found = [one for name, one in known.items() if name not in self._ended and one.in_force(now_ms)]
        return sorted(found, key=lambda one: (one.at_ms, one.freeze_id))

    def about(self, team: str, rule: str | None) -> Freeze | None:
        """Return the oldest freeze that stops requests of this team under this rule; None if none does."""
        if not self._shared and not self._here:
            return None  # as it nearly always is, and it is asked three times for each cancel
        return next((one for one in self.in_force() if one.scope.covers(team, rule)), None)

    def denial(self, principal: Principal, permit: Permit) -> Denial | None:
        """Return the refusal of a permitted request that is frozen; None if it is not.

        Raises: StateUnavailable: no freeze was read yet, so nobody knows.
        """
        freeze = self.about(principal.team, permit.rule)
        if freeze is not None:
            return _denial(freeze, permit)
        if not self.read:
            raise StateUnavailable(NOT_READ_YET)
        return None

    def now_ms(self) -> int:
        """Return the store's time in Unix milliseconds; before it was read, that of this machine."""
        if self._ahead_ms is None:
            return self._clock.now_ms()
        return round(self._ahead_ms + self._clock.monotonic_s() * 1000)


def _newer(freeze: Freeze, snapshot: Snapshot) -> bool:
    """Return whether a snapshot may have been read before this freeze was in the store."""
    return not freeze.number or freeze.number > snapshot.number


def _denial(freeze: Freeze, permit: Permit) -> Denial:
    until = None if freeze.until_ms is None else run_time(freeze.until_ms)
    ends = "until somebody thaws them" if until is None else f"until {until}"
    words = WORDS[permit.effective.action]
    acts = words.acts.capitalize()
    sentence = (
        f"{acts} {scope_in_words(freeze.scope)} are frozen {ends}, by {freeze.by}: {freeze.reason}. "
        f"Nothing was sent and nothing was {words.done}."
    )
    members = {"freeze": freeze.freeze_id, "by": freeze.by, "why": freeze.reason, "until": until}
    barrier = Barrier(FROZEN, f"{acts} are frozen", members)
    return Denial(permit.rule, "deny", None, sentence, None, permit.exceptions, barrier=barrier)
