"""The record of refusals is bounded, and no flood of one kind hides another: least of all uses of the real token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from gateway.audit.refusals import ALARM_BURST, BURST, RefusalLog
from gateway.core.errors import ExpiredKey, MalformedRequest, RealTokenUsed, Refusal, Throttled, Unauthenticated
from gateway.core.forms.correlation import NOT_GIVEN
from gateway.core.request import Principal

STRANGER = Unauthenticated("unknown_key")
FLOOD = 50 * BURST


@dataclass
class Heard:
    """A record, an operators' log and a clock, in memory."""

    records: list[Mapping[str, object]] = field(default_factory=list)
    lines: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    at_s: float = 100.0

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        self.records.append({"event": event, **members})

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        self.records.append({"event": event, **members})

    def error(self, event: str, **members: object) -> None:
        self.lines.append((event, members))

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.at_s


async def refuse(log: RefusalLog, refusal: Refusal, times: int = 1, *, principal: Principal | None = None) -> None:
    """Refuses some requests in the same way."""
    for number in range(times):
        await log.record(refusal, decision_id=f"d{number}", remote="10.0.0.1", principal=principal)


@pytest.mark.parametrize(
    "seen", [RealTokenUsed(), ExpiredKey(Principal("billing", "old"))], ids=lambda refusal: refusal.cause
)
async def test_a_flood_of_strangers_hides_no_use_of_a_credential_that_was_good(seen: Refusal) -> None:
    """It is on record in the middle of the flood, and the flood stays bounded."""
    heard = Heard()
    log = RefusalLog(heard, heard, log=heard)
    await refuse(log, STRANGER, FLOOD)
    log.record_soon(MalformedRequest("http", "no"), decision_id="x", remote=None, correlation=NOT_GIVEN)
    await refuse(log, seen)
    await refuse(log, STRANGER, FLOOD)
    assert Counter(record["cause"] for record in heard.records) == {"unknown_key": BURST, seen.cause: 1}


async def test_operators_hear_of_uses_of_the_real_token() -> None:
    """At once, with the decision and the address; a flood of them is a line a minute that says how many there were."""
    heard = Heard()
    log = RefusalLog(heard, heard, log=heard)
    await refuse(log, STRANGER, FLOOD)
    assert heard.lines == []
    await refuse(log, RealTokenUsed())
    assert heard.lines == [("upstream_token_used", {"decision_id": "d0", "remote": "10.0.0.1", "left_out": 0})]
    await refuse(log, RealTokenUsed(), FLOOD)
    assert len(heard.lines) == ALARM_BURST
    heard.at_s += 60
    await refuse(log, RealTokenUsed())
    assert heard.lines[ALARM_BURST][1]["left_out"] == FLOOD + 1 - ALARM_BURST


async def test_what_one_team_is_throttled_for_hides_nothing_of_another() -> None:
    """Each team has its own budget of `throttled` records."""
    heard = Heard()
    log = RefusalLog(heard, heard, log=heard)
    throttled = Throttled("in_flight", "Wait.", limit=16, retry_after_s=1)
    await refuse(log, throttled, FLOOD, principal=Principal("billing", "ci"))
    await refuse(log, throttled, principal=Principal("search", "ci"))
    assert Counter(record["team"] for record in heard.records) == {"billing": BURST, "search": 1}
    assert log.left_out == FLOOD - BURST
