"""The closed decisions of a gateway reach the store behind the record, and never stand in its way."""

from __future__ import annotations

from pathlib import Path

import orjson

from gateway.audit.decisions.finding import Decisions
from gateway.audit.decisions.keeper import Keeper
from gateway.audit.decisions.latest import Latest
from gateway.audit.decisions.lines import at_ms_of
from gateway.fleet.told import DecisionsTold
from tests.execution.fakes import Lines
from tests.support.state.plans import MemoryDecisions

FIRST, SECOND = "019a0000-0000-7000-8000-000000000001", "019a0000-0001-7000-8000-000000000002"


class Log:
    """The newest lines of one gateway's log."""

    def __init__(self, directory: Path) -> None:
        self.latest = Latest()
        self.seq = 0
        keeper = Keeper(directory, self.latest, operators_log=Lines())
        self.decisions = Decisions(directory, self.latest, keeper)

    def write(self, event: str, decision_id: str, **members: object) -> None:
        """One more record."""
        self.seq += 1
        begun = {"v": 1, "seq": self.seq, "ts": "2026-11-30T07:00:00.000000Z", "event": event, "instance": "a"}
        sealed = {"prev": None, "mac": None}
        self.latest.add([orjson.dumps({**begun, "decision_id": decision_id, **members, **sealed}) + b"\n"])

    def intent(self, decision_id: str, team: str = "billing") -> None:
        """A cancel that is about to be sent."""
        self.write("intent", decision_id, team=team, principal=f"{team}/ci", enforced="permit", orders=[{}])


def shown(store: MemoryDecisions) -> list[tuple[str, str, object, object]]:
    """What the store knows: whose, and what came of it."""
    found = [(row, orjson.loads(row.document)) for row in store.rows.values()]
    return [(row.decision_id, row.team, what["state"], what["cancelled"]) for row, what in found]


async def test_a_decision_is_told_once_it_is_closed_and_again_when_more_is_known(tmp_path: Path) -> None:
    """One under way is not; a denial is closed at once; what was settled later replaces what was not known."""
    store, log = MemoryDecisions(), Log(tmp_path)
    told = DecisionsTold(store, log.decisions)
    log.intent(FIRST)
    log.write("denied", SECOND, team="search", principal="search/ci", enforced="deny")
    await told.tell()
    assert shown(store) == [(SECOND, "search", "denied", 0)]
    log.write("outcome", FIRST, outcome="unknown", cause="timeout")
    await told.tell()
    assert shown(store)[1:] == [(FIRST, "billing", "unknown", None)]
    log.write("settled", FIRST, source="read_back", cancelled=4)
    await told.tell()
    assert shown(store)[1:] == [(FIRST, "billing", "unknown", 4)]
    assert store.rows[FIRST].at_ms == at_ms_of(FIRST) < store.rows[SECOND].at_ms


async def test_nothing_new_asks_the_store_nothing(tmp_path: Path) -> None:
    """Also a line that closes no decision."""
    store, log = MemoryDecisions(), Log(tmp_path)
    told = DecisionsTold(store, log.decisions)
    log.intent(FIRST)
    for _ in range(3):
        await told.tell()
    assert store.faults.asked == []


async def test_what_the_store_did_not_take_is_told_again(tmp_path: Path) -> None:
    """Without it nothing fails, and nothing is lost in between."""
    store, log = MemoryDecisions(), Log(tmp_path)
    told = DecisionsTold(store, log.decisions)
    store.faults.before = ("keep_decisions",)
    log.write("denied", FIRST, team="billing", principal="billing/ci", enforced="deny")
    await told.tell()
    log.write("denied", SECOND, team="billing", principal="billing/ci", enforced="deny")
    await told.tell()
    assert store.rows == {}
    store.faults.before = ()
    await told.tell()
    assert sorted(store.rows) == [FIRST, SECOND]


async def test_of_decisions_that_wait_too_long_the_newest_are_told(tmp_path: Path) -> None:
    """What waits is bounded; the chain has the others."""
    store, log = MemoryDecisions(), Log(tmp_path)
    told = DecisionsTold(store, log.decisions)
    names = [f"019a0000-0000-7000-8000-{number:012x}" for number in range(5000)]
    for name in names:
        log.write("denied", name, team="billing", principal="billing/ci", enforced="deny")
    await told.tell()
    assert sorted(store.rows) == names[-4096:]
