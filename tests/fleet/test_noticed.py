"""What happens in a gateway becomes a notice: once, behind what it is about, and nothing waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gateway.audit.log import AuditState
from gateway.core.outcome import Cancelled
from gateway.execution.gates.state_gate import StateGate
from gateway.fleet.noticed import LOOKS, Noticed
from gateway.state.freezes import Freeze, Scope
from gateway.state.notices import ApprovalStep
from tests.execution.fakes import MemoryLog, PromptUpstream
from tests.execution.test_frozen import by_ids, freezes, gated
from tests.execution.test_pipeline import call, settled
from tests.fleet.fleets import BILLING, EVERYTHING, Member, shared
from tests.notices.house import receiver
from tests.support.stand_ins import Lines
from tests.support.state.notices import MemoryNotices
from tests.support.state.plans import Faults

READY = AuditState(ready=True, reason=None, seq=1, head="h", open_intents=0, left_out=0)


@dataclass
class Audit:
    """An audit log that is looked at."""

    state: AuditState = READY


@dataclass
class House:
    """A gateway of a fleet, with one receiver that is told everything."""

    directory: Path
    member: Member = field(default_factory=lambda: Member(shared()))
    store: MemoryNotices = field(default_factory=MemoryNotices)
    audit: Audit = field(default_factory=Audit)

    def __post_init__(self) -> None:
        self.receiver = receiver(self.directory)
        self.noticed = Noticed(
            self.store, [self.receiver], gateway=self.member.instance, audit=self.audit,
            now_ms=self.member.clock.now_ms, log=Lines(), is_secret=lambda text: "SECRET" in text,
        )  # fmt: skip
        self.member.recorder.noticed = self.noticed.changed

    def told(self) -> list[tuple[str, Mapping[str, object]]]:
        """The kind and the data of each notice in the store, in order."""
        documents = [json.loads(row.notice.document) for row in self.store.waiting(self.receiver.name)]
        return [(one["kind"], one["data"]) for one in documents]

    @property
    def kinds(self) -> list[str]:
        """What happened, in order."""
        return [kind for kind, _ in self.told()]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def frozen(house: House, scope: Scope = BILLING, *, reason: str = "QStash is ill") -> Freeze:
    """Freezes through the gateway."""
    kept, _ = await house.member.switch.freeze(scope, reason=reason, until_ms=None, by="ops/ana")
    await house.member.recorder.wait()
    return kept


async def test_a_freeze_and_its_end_are_told_in_order(house: House) -> None:
    """Each once, with who and why; it counts as recorded only then."""
    await house.member.beat()
    kept = await frozen(house)
    house.member.clock.wall_ms += 1000
    await house.member.switch.thaw(kept.freeze_id, "ops/bob")
    await house.member.recorder.wait()
    for _ in range(3):
        await house.member.beat()
    assert house.kinds == ["freeze", "thaw"]
    (_, begun), (_, ended) = house.told()
    assert (begun["by"], begun["reason"], begun["team"], begun["rule"]) == ("ops/ana", "QStash is ill", "billing", None)
    assert (ended["thawed_by"], ended["freeze_id"]) == ("ops/bob", begun["freeze_id"])
    assert house.member.store.unrecorded == set()


async def test_a_freeze_whose_notice_could_not_be_kept_is_told_later(house: House) -> None:
    """It stays unrecorded in the store until it is: whoever goes on with it tells it, under the same ID."""
    await house.member.beat()
    house.store.faults.before = "*"
    kept = await frozen(house)
    assert len(house.member.recorded("freeze")) == 1
    assert house.member.store.unrecorded == {(kept.freeze_id, "freeze")}
    house.store.faults.before = ()
    await house.member.beat()
    assert (house.kinds, house.member.store.unrecorded) == (["freeze"], set())
    assert len(house.member.recorded("freeze")) == 1


async def test_a_freeze_is_told_whether_or_not_the_record_can_be_written(house: House) -> None:
    """Once, however often the record is tried."""
    await house.member.beat()
    house.member.log.refuses = "full"
    await frozen(house)
    for _ in range(5):
        await house.member.beat()
    assert house.kinds == ["freeze"]
    assert house.store.faults.asked == ["keep_notices"]
    house.member.log.refuses = None
    await house.member.beat()
    assert (house.kinds, len(house.member.recorded("freeze"))) == (["freeze"], 1)


async def test_a_freeze_of_a_gateway_that_died_is_told_by_another(tmp_path: Path) -> None:
    """Before or after it told it: the store knows it by its ID."""
    store = shared()
    notices = MemoryNotices()
    house = House(tmp_path, Member(store, "b"), notices)
    dead = Member(store, "a")
    await dead.beat()
    dead.log.refuses = "full"  # it cannot record it before it dies, so that another one does
    kept, _ = await dead.switch.freeze(EVERYTHING, reason="x", until_ms=None, by="ops/ana")
    dead.clock.wall_ms += 6_000
    store.now_ms = dead.clock.now_ms
    await house.member.beat()
    assert (house.kinds, house.member.recorded("freeze")) == (["freeze"], [kept.freeze_id])


async def test_what_an_operator_wrote_is_not_told_if_it_may_hold_a_secret(house: House) -> None:
    """Nor is the secret of a receiver, whatever wrote it there."""
    await house.member.beat()
    await frozen(house, reason="SECRET")
    key = house.receiver.keys()[0]
    path = house.receiver.settings.secret
    assert path is not None
    await frozen(house, EVERYTHING, reason=f"it is {path.read_text().strip()}")
    assert [data["reason"] for _, data in house.told()] == ["(not shown: it may hold a secret)"] * 2
    assert key


async def test_more_than_was_sent_is_told_and_the_answer_waits_for_nothing(house: House) -> None:
    """A store that never answers is not asked on the way of a cancel, with or without a trip."""
    house.store.faults = Faults(held="*")
    for asked, cancelled, more in ((by_ids("d1"), 3, 1), (call("d2"), 99, 49)):
        line = gated(freezes(), PromptUpstream([Cancelled(200, cancelled)]), MemoryLog())
        gate = line.gate
        assert isinstance(gate, StateGate)
        gate.exceeded = house.noticed.exceeded
        done = await settled(await line.run(asked))
        assert done.result.over_cancelled == more
    assert house.store.faults.asked == []
    house.store.faults.held = ()
    await house.noticed.outbox.write()
    assert [(kind, data["decision_id"], data["over_cancelled"]) for kind, data in house.told()] == [
        ("over_cancelled", "d1", 1),
        ("over_cancelled", "d2", 49),
    ]
    assert [data["rule"] for _, data in house.told()] == ["ids/any", "team/own"]


async def test_a_record_that_cannot_be_written_is_told_and_that_it_can_again(house: House) -> None:
    """Once each, after several looks that agree; opening and ending are no fault."""
    opening = replace(READY, ready=False, reason="recovering", progress="1 of 9 files")
    stopped, slow = replace(READY, ready=False, reason="stopped"), replace(READY, ready=False, reason="slow")
    full = replace(READY, ready=False, reason="full")
    for state in (opening, opening, opening, READY, slow, READY, slow, READY, READY):
        house.audit.state = state
        house.noticed.look()
    await house.noticed.outbox.write()
    assert house.kinds == []
    for state in (*[full] * (LOOKS + 3), *[READY] * (LOOKS + 3), stopped, stopped, stopped):
        house.audit.state = state
        house.noticed.look()
    await house.noticed.outbox.write()
    assert house.kinds == ["audit_unavailable", "audit_available"]
    assert house.told()[0][1] == {"gateway": "a", "cause": "full"}


async def test_a_refused_reload_and_the_steps_of_an_approval_are_told(house: House) -> None:
    """Each step of a plan in its turn."""
    house.noticed.reload_refused("a reload was refused for the policies (p.yaml:3:1), the last good one stays")
    step = ApprovalStep("pln", "awaiting_approval", 5, "billing", "billing/ci", "billing/big", 9, 99, ("platform",))
    house.noticed.approval(step)
    house.noticed.approval(replace(step, state="approved", given=("platform/a",), decided_by="platform/a"))
    await house.noticed.outbox.write()
    assert sorted(house.kinds) == ["approval", "approval", "reload_refused"]
    assert [data["state"] for kind, data in house.told() if kind == "approval"] == ["awaiting_approval", "approved"]


async def test_what_is_held_is_written_at_the_end(house: House) -> None:
    """Unless the store is away: then it is lost, within the time of one call."""
    house.noticed.begin()
    house.store.faults.before = "*"
    house.noticed.reload_refused("x")
    await asyncio.sleep(0)
    house.store.faults.before = ()
    await house.noticed.stop()
    assert house.kinds == ["reload_refused"]
