"""What a process that died left open in the store is given back or closed, by what its chain says alone."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.audit.segment import ChainLock, OsDisk
from gateway.fleet.taken import Account, recover
from gateway.state.admissions import Admission, Reservation
from tests.support.state.admissions import MemoryAdmissions, a_budget

DEAD, ALIVE, OWN = (f"0189{number}000-0000-7000-8000-000000000000" for number in (1, 2, 3))
RULE = "own/ids"


def decision(number: int) -> str:
    """The ID of a decision."""
    return str(UUID(int=number))


def chain(directory: Path, name: str, *records: tuple[str, dict[str, object]]) -> Path:
    """Writes a chain with these records behind its start."""
    lines, _ = Sealer(name, key=None).seal(
        GENESIS, [Record(number, *record) for number, record in enumerate((("start", {}), *records), 1)]
    )
    path = directory / f"{name}.000001.jsonl"
    path.write_bytes(b"".join(lines))
    return path


async def store(*taken: tuple[int, str]) -> MemoryAdmissions:
    """A store in which each of these decisions, of these gateways, holds ten runs."""
    found = MemoryAdmissions()
    for number, instance in taken:
        await found.admit(Admission(decision(number), instance, Reservation(RULE, RULE, 10, a_budget())))
    return found


def intent(number: int) -> tuple[str, dict[str, object]]:
    """The record of an intent."""
    return "intent", {"decision_id": decision(number), "reserved": {"rule": RULE, "scope": RULE, "runs": 10}}


def outcome(number: int, **members: object) -> tuple[str, dict[str, object]]:
    """The record of what came of it."""
    return "outcome", {"decision_id": decision(number), "outcome": "cancelled", "cancelled": None, **members}


async def test_what_has_no_intent_is_given_back(tmp_path: Path) -> None:
    """The process died between the store and its record: nothing was sent, and nothing will be."""
    found = await store((1, DEAD))
    chain(tmp_path, DEAD)
    assert await recover(found, tmp_path, OWN) == 1
    assert found.kept(RULE) == []


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ([outcome(1, cancelled=4)], [4]),
        ([outcome(1, outcome="unknown", cause="recovered")], [10]),
        ([outcome(1, outcome="not_sent", cause="dns")], []),
        ([], [10]),
    ],
    ids=["cancelled", "unknown", "not sent", "no outcome yet"],
)
async def test_what_has_an_intent_is_closed_by_what_the_record_says(
    tmp_path: Path, after: list[tuple[str, dict[str, object]]], kept: list[int]
) -> None:
    """Only what is certainly not cancelled is there again."""
    found = await store((1, DEAD))
    chain(tmp_path, DEAD, intent(1), *after)
    await recover(found, tmp_path, OWN)
    assert found.kept(RULE) == kept


@pytest.mark.parametrize(("action", "answered"), [(None, True), ("cancel_runs", True), ("restart_dlq", False)])
def test_only_the_answer_to_a_cancel_of_runs_is_made_again(action: str | None, *, answered: bool) -> None:
    """The record does not say in which of two forms another action was answered, so its repeat is told the decision."""
    account = Account()
    for event, members in (intent(1), outcome(1, cancelled=2)):
        account.take({"event": event, **members, **({} if action is None else {"action": action})})
    closed = account.closed()
    assert closed is not None
    assert (closed.runs, closed.answer is not None) == (2, answered)


async def test_what_belongs_to_a_process_that_lives_is_left_alone(tmp_path: Path) -> None:
    """Its chain is locked: its intent may be on its way. So is what is of this process, or elsewhere."""
    found = await store((1, ALIVE), (2, OWN), (3, "elsewhere"))
    lock = ChainLock.take(OsDisk(), tmp_path, ALIVE, first=chain(tmp_path, ALIVE))
    chain(tmp_path, OWN)
    assert lock is not None
    try:
        assert await recover(found, tmp_path, OWN) == 0
    finally:
        lock.release()
    assert found.kept(RULE) == [10, 10, 10]
