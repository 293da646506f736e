"""Of the gateways of one directory one writes the index, and the others answer from it while chains grow."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from gateway.audit.decisions.finding import Decisions, IndexBehind
from gateway.audit.decisions.index import LOCK, Index
from gateway.audit.decisions.keeper import EVERY_S, Keeper
from gateway.audit.decisions.latest import Latest
from gateway.audit.decisions.slices import START, next_slice
from tests.audit.decisions.chains import WAIT_S, Chain, Told, an_id, indexed, intent, outcome, reader
from tests.support.waiting import until

OTHER = "01890000-0000-7000-8000-00000000000b"


def listed(decisions: Decisions) -> list[str]:
    """The IDs on the first page."""
    return [one.decision_id for one in decisions.of_team("billing", most=10).decisions]


def test_a_second_gateway_answers_while_chains_grow(tmp_path: Path) -> None:
    """Its own lines are shown at once, those of others a moment later, and no answer is refused meanwhile."""
    theirs, own, latest = Chain(tmp_path), Chain(tmp_path, OTHER), Latest()
    theirs.write(("start", {}), intent(1))
    latest.add(own.write(("start", {}), intent(2)))
    first, second = reader(tmp_path), reader(tmp_path, latest)
    latest.add(own.write(intent(3)))
    theirs.write(intent(4), outcome(1))
    assert second.keeper.looks(WAIT_S)
    assert listed(second) in ([an_id(3), an_id(2), an_id(1)], [an_id(4), an_id(3), an_id(2), an_id(1)])
    found = second.find(an_id(3), "billing")
    assert found is not None
    until(lambda: listed(second) == [an_id(4), an_id(3), an_id(2), an_id(1)])
    first.keeper.stop()
    second.keeper.stop()


def test_what_was_written_is_indexed_soon_though_nobody_asks(tmp_path: Path) -> None:
    """Another gateway cannot ask the one that writes the index; it looks by itself when a file has grown or come."""
    chain = Chain(tmp_path)
    chain.write(("start", {}), intent(1))
    decisions = reader(tmp_path)
    chain.write(intent(2))
    until(lambda: len(indexed(tmp_path)[1]) == 2, within_s=EVERY_S / 2)
    Chain(tmp_path, OTHER).write(("start", {}), intent(3))
    until(lambda: len(indexed(tmp_path)[1]) == 3, within_s=EVERY_S / 2)
    decisions.keeper.stop()


def test_an_index_that_lacks_a_chain_is_no_answer(tmp_path: Path) -> None:
    """While another process makes the index, what it has so far is not shown as all that there is."""
    chains = [Chain(tmp_path), Chain(tmp_path, OTHER)]
    for number, chain in enumerate(chains):
        chain.write(("start", {}), intent(number))
    Chain(tmp_path, "01890000-0000-7000-8000-00000000000c").path.touch()  # has nothing to be indexed
    with (tmp_path / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keeper = Keeper(tmp_path, Latest(), operators_log=Told())
        decisions = Decisions(tmp_path, Latest(), keeper)
        keeper.start()
        index = Index.open(tmp_path)
        for chain in chains:
            assert keeper.looks(WAIT_S)
            with pytest.raises(IndexBehind):
                listed(decisions)
            piece = next_slice({1: chain.path}, START, cuts={})
            assert piece is not None
            index.add(chain.name, piece.position, piece.rows)
        assert keeper.looks(WAIT_S)
        assert listed(decisions) == [an_id(1), an_id(0)]
        index.close()
        keeper.stop(most_s=WAIT_S)
