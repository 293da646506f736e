"""The events of freezes: switches that stop cancels, set and released by people or by the gateway itself."""

from __future__ import annotations

from typing import Annotated

from gateway.audit.events.declare import Event, Keywords, Members
from gateway.core.forms.times import run_time
from gateway.state.freezes import Freeze

_UUID = Keywords(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_RULE = Keywords(pattern="^[^/]+/[^/]+$")

FreezeId = Annotated[str, "The freeze.", _UUID]
FrozenTeam = Annotated[str | None, "The team whose calls it stops; null stands for all teams."]
FrozenRule = Annotated[str | None, "The rule under which it stops calls; null stands for all rules.", _RULE]


class Frozen(Event, name="freeze"):
    """Cancels were frozen. `denied` records with the cause `frozen` are what it stopped."""

    freeze_id: FreezeId
    team: FrozenTeam
    rule: FrozenRule
    reason: Annotated[str, "Why, in the words of whoever did it.", Keywords(maxLength=200)]
    by: Annotated[str, "Who did it: a caller, `cli:<uid>` for the command line, or `gateway` itself."]
    at: Annotated[str, "When, by the clock that the gateways share."]
    until: Annotated[str | None, "When it ends by itself; null if somebody has to end it."]


class Thawed(Event, name="thaw"):
    """A freeze was ended before its time."""

    freeze_id: FreezeId
    team: FrozenTeam
    rule: FrozenRule
    by: Annotated[str, "Who did it: a caller, or `cli:<uid>` for the command line."]
    at: Annotated[str, "When, by the clock that the gateways share."]


def freeze_members(freeze: Freeze) -> Members:
    """Return the members of `freeze`."""
    return Frozen(
        freeze_id=freeze.freeze_id,
        team=freeze.scope.team,
        rule=freeze.scope.rule,
        reason=freeze.reason,
        by=freeze.by,
        at=run_time(freeze.at_ms),
        until=None if freeze.until_ms is None else run_time(freeze.until_ms),
    ).members()


def thaw_members(freeze: Freeze) -> Members:
    """Return the members of `thaw`. The freeze was thawed: it says when, and by whom."""
    assert freeze.thawed_ms is not None
    assert freeze.thawed_by is not None
    return Thawed(
        freeze_id=freeze.freeze_id,
        team=freeze.scope.team,
        rule=freeze.scope.rule,
        by=freeze.thawed_by,
        at=run_time(freeze.thawed_ms),
    ).members()
