"""What happens while the store is away is held, in order and bounded; nobody waits for it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.core.errors import StateUnavailable
from gateway.notices.events import NOT_SHOWN, Notice
from tests.notices.house import AT_MS, notice, outbox, receiver
from tests.support.stand_ins import Lines
from tests.support.state.notices import MemoryNotices
from tests.support.state.plans import Faults
from tests.support.waiting import soon


def rows(store: MemoryNotices, name: str) -> list[str]:
    """The IDs of what waits for a receiver."""
    return [row.notice.notice_id for row in store.waiting(name)]


async def test_to_note_asks_the_store_nothing(tmp_path: Path) -> None:
    """A store that never answers holds nobody up."""
    store, one = MemoryNotices(faults=Faults(held="*")), receiver(tmp_path)
    box = outbox(store, [one], Lines())
    writing = asyncio.create_task(box.run())
    box.note(notice())
    assert store.faults.asked == []
    await soon(lambda: store.faults.asked)
    box.note(notice("n2"))
    store.faults.hangs.set()
    await soon(lambda: rows(store, one.name) == ["n1", "n2"])
    writing.cancel()


async def test_each_receiver_gets_what_it_asks_for(tmp_path: Path) -> None:
    """And what nobody asks for is not even held."""
    store = MemoryNotices()
    all_of_it, some = receiver(tmp_path), receiver(tmp_path, "https://b.example/", events=("freeze",))
    box = outbox(store, [all_of_it, some], Lines())
    box.note(notice())
    await box.write()
    assert (rows(store, all_of_it.name), rows(store, some.name)) == (["n1"], [])
    box = outbox(store, [some], Lines())
    box.note(notice("n2"))
    await box.write()
    assert store.faults.asked == ["keep_notices"]


async def test_what_happened_while_the_store_was_away_is_written_when_it_is_back(tmp_path: Path) -> None:
    """In its order, also of two in one millisecond, whose IDs stand the other way round."""
    store, one = MemoryNotices(faults=Faults(before="*")), receiver(tmp_path)
    box = outbox(store, [one], Lines())
    box.note(notice("z"))
    box.note(notice("a"))
    with pytest.raises(StateUnavailable):
        await box.write()
    store.faults.before = ()
    await box.write()
    assert rows(store, one.name) == ["z", "a"]


async def test_a_write_whose_answer_was_lost_is_written_once(tmp_path: Path) -> None:
    """It happened all the same, and is repeated."""
    store, one = MemoryNotices(faults=Faults(after="*")), receiver(tmp_path)
    box = outbox(store, [one], Lines())
    box.note(notice())
    with pytest.raises(StateUnavailable):
        await box.write()
    store.faults.after = ()
    await box.write()
    assert rows(store, one.name) == ["n1"]


async def test_what_is_held_is_bounded_and_what_was_dropped_is_said(tmp_path: Path) -> None:
    """The oldest go; the operators' log says how many, once."""
    store, one, lines = MemoryNotices(), receiver(tmp_path), Lines()
    box = outbox(store, [one], lines, held=3)
    for number in range(10):
        box.note(notice(f"n{number}", subject=str(number)))
    await box.write()
    assert rows(store, one.name) == ["n7", "n8", "n9"]
    assert lines.said == [("notices_dropped", {"receiver": None, "number": 7})]


async def test_what_the_store_drops_is_said(tmp_path: Path) -> None:
    """By the origin of the receiver, not by its whole URL."""
    store, one, lines = MemoryNotices(), receiver(tmp_path, "https://b.example/services/x"), Lines()
    box = outbox(store, [one], lines)
    box._most_kept = 2
    await box.put([notice(f"n{number}", at_ms=AT_MS + number) for number in range(5)])
    assert lines.said == [("notices_dropped", {"receiver": "https://b.example", "number": 3})]
    assert rows(store, one.name) == ["n3", "n4"]


async def test_the_store_never_holds_what_may_be_a_secret(tmp_path: Path) -> None:
    """It is taken out before it is written."""
    store, one = MemoryNotices(), receiver(tmp_path)
    box = outbox(store, [one], Lines())
    await box.put([Notice("f", "freeze", "freeze", "s", 1, {"reason": "SECRET", "by": "ops/ana"})])
    [row] = store.waiting(one.name)
    assert json.loads(row.notice.document)["data"] == {"reason": NOT_SHOWN, "by": "ops/ana"}
