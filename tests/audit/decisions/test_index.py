"""The index of decisions says what the chains say, whatever happened to either, and claims nothing that they do not."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.decisions.finding import Decisions, IndexBehind
from gateway.audit.decisions.index import LOCK, NAME, discard
from gateway.audit.decisions.keeper import Keeper
from gateway.audit.decisions.latest import MOST_BYTES, Latest
from gateway.audit.decisions.slices import START, Changed, next_slice
from gateway.core.errors import DecisionsUnavailable
from tests.audit.decisions.chains import (
    WAIT_S,
    Chain,
    Told,
    an_id,
    denied,
    indexed,
    intent,
    outcome,
    reader,
    settled,
    states,
)
from tests.support.waiting import until


def busy(directory: Path, seed: int) -> None:
    """Two chains with decisions of several teams, of which some go on in the other chain."""
    chosen = random.Random(seed)  # noqa: S311 - the same ones each time
    chains = [Chain(directory, "01890000-0000-7000-8000-00000000000a"), Chain(directory)]
    chains[1].name = "01890000-0000-7000-8000-00000000000b"
    for chain in chains:
        chain.write(("start", {}))
    for number in range(60):
        first, later = chosen.choice(chains), chosen.choice(chains)
        team = chosen.choice(["billing", "search", 'a "quoted" team'])
        first.write(*([denied(number, team)] if number % 5 == 0 else [intent(number, team)]))
        if number % 5:
            later.write(outcome(number, chosen.choice(["cancelled", "unknown", "refused"])))
        if number % 7 == 0:
            first.write(("refused", {"decision_id": an_id(1000 + number), "status": 400}))


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 30_000), max_size=4))
def test_an_index_made_anew_equals_the_one_that_was_kept_up(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: list[int]
) -> None:
    """The chains grow by any number of bytes between two looks, in the middle of a line too."""
    source, directory = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("audit")
    busy(source, seed)
    decisions = reader(directory)
    for size in [*sorted(cuts), 10**6]:
        for path in source.iterdir():
            (directory / path.name).write_bytes(path.read_bytes()[:size])
        assert decisions.keeper.looks(WAIT_S)
    kept_up = indexed(directory)
    decisions.keeper.stop()
    for path in source.iterdir():
        (source / "whole").mkdir(exist_ok=True)
        if path.is_file():
            shutil.copy(path, source / "whole" / path.name)
    anew = reader(source / "whole")
    assert indexed(source / "whole") == kept_up
    assert len(kept_up[1]) == 60
    anew.keeper.stop()


def removed(directory: Path) -> None:
    """Somebody deletes it."""
    discard(directory)


def garbled(directory: Path) -> None:
    """The middle of the file is overwritten."""
    path = directory / NAME
    with closing(sqlite3.connect(path)) as link:
        link.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(b"\0" * path.stat().st_size)


def of_another_form(directory: Path) -> None:
    """A later version made it."""
    with closing(sqlite3.connect(directory / NAME)) as link:
        link.execute("PRAGMA user_version = 99")
        link.execute("DROP TABLE lines")


def no_file(directory: Path) -> None:
    """A link to nowhere is in its place."""
    discard(directory)
    (directory / NAME).symlink_to("/nowhere")


def changed(statement: str) -> Callable[[Path], None]:
    """Somebody's tool writes into its tables."""

    def harm(directory: Path) -> None:
        with closing(sqlite3.connect(directory / NAME)) as link, link:
            link.execute(statement)

    return harm


ROWS_OF_ANOTHER_KIND = [
    "UPDATE lines SET places = x'00'",
    "UPDATE lines SET places = 'a text'",
    "UPDATE lines SET places = 7",
    "UPDATE lines SET places = x'ffffffffffffffff00000001'",
    "UPDATE lines SET places = x'0000000000000000ffffffff'",
    "UPDATE lines SET file = 'one'",
    "UPDATE lines SET decision = 'a text'",
    "UPDATE lines SET decision = x'ff'",
    "UPDATE chains SET seq = 'many'",
    "UPDATE chains SET seq = x'00'",
    "UPDATE chains SET name = x'00'",
    "UPDATE chains SET offset = 'far', digest = 1",
]


@pytest.mark.parametrize("statement", ROWS_OF_ANOTHER_KIND)
@pytest.mark.parametrize("running", [True, False])
def test_rows_of_another_kind_are_damage(tmp_path: Path, statement: str, running: bool) -> None:
    """They are never a fault of ours: the caller has to wait, and the index is made anew and right."""
    chain, latest = Chain(tmp_path), Latest()
    chain.write(("start", {}), *(intent(number) for number in range(30)))
    latest.add(chain.write(outcome(7)))
    decisions = reader(tmp_path, latest)
    before = indexed(tmp_path)
    if not running:
        decisions.keeper.stop(most_s=WAIT_S)
    changed(statement)(tmp_path)
    if not running:
        decisions = reader(tmp_path, latest)

    def shown() -> list[str | None]:
        """What a caller sees of it; nothing while it is made."""
        try:
            page = decisions.of_team("billing", most=30).decisions
            return [*(one.state for one in page), *states(decisions, [7, 8])]
        except IndexBehind:
            return []

    until(lambda: len(shown()) == 32)
    assert shown()[-2:] == ["cancelled", "in_flight"]
    assert len(shown()) == 32
    assert indexed(tmp_path) == before or "chains" in statement
    decisions.keeper.stop()


@pytest.mark.parametrize("harm", [removed, garbled, of_another_form, no_file])
@pytest.mark.parametrize("running", [True, False])
def test_a_harmed_index_is_made_anew(tmp_path: Path, harm: Callable[[Path], None], running: bool) -> None:
    """While a gateway runs and before it starts; meanwhile nothing wrong is shown."""
    chain = Chain(tmp_path)
    chain.write(("start", {}), *(intent(number) for number in range(300)), outcome(7))
    decisions = reader(tmp_path)
    before = indexed(tmp_path)
    if not running:
        decisions.keeper.stop(most_s=WAIT_S)
    harm(tmp_path)
    if not running:
        decisions = reader(tmp_path)

    def whole() -> bool:
        """Whether the decisions are shown again, with one that is new."""
        try:
            return states(decisions, [7, 8, 999]) == ["cancelled", "in_flight", None]
        except IndexBehind:
            decisions.keeper.looks(WAIT_S)
            return False

    if running and harm is not removed:
        with pytest.raises(IndexBehind):
            decisions.of_team("billing", most=1)
    chain.write(intent(500))
    for _ in range(100):
        if whole():
            break
    assert whole()
    places, teams = indexed(tmp_path)
    assert places > before[0]
    assert len(teams) == 301
    decisions.keeper.stop()


def test_a_chain_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """The same name, even the same size, but other decisions: what was there before is not claimed."""
    old, new = Chain(tmp_path), Chain(tmp_path / "new")
    (tmp_path / "new").mkdir()
    old.write(("start", {}), intent(1), outcome(1), intent(2))
    new.write(("start", {}), intent(3), outcome(3), intent(4))
    decisions = reader(tmp_path)
    assert states(decisions, [1, 2, 3, 4]) == ["cancelled", "in_flight", None, None]
    decisions.keeper.stop(most_s=WAIT_S)
    assert old.path.stat().st_size == new.path.stat().st_size
    new.path.replace(old.path)
    again = reader(tmp_path)
    assert states(again, [1, 2, 3, 4]) == [None, None, "cancelled", "in_flight"]
    again.keeper.stop()


def test_a_tail_that_was_cut_and_written_otherwise_is_read_anew(tmp_path: Path) -> None:
    """A failed batch is cut off after somebody may have read it."""
    chain = Chain(tmp_path)
    chain.write(("start", {}), intent(1))
    size, head = chain.path.stat().st_size, chain.head
    chain.write(intent(2), intent(3))
    decisions = reader(tmp_path)
    assert states(decisions, [1, 2, 3]) == ["in_flight"] * 3
    with chain.path.open("r+b") as file:
        file.truncate(size)
    chain.head = head
    chain.write(outcome(1), intent(4), intent(5), outcome(5))
    assert states(decisions, [1, 2, 3, 4, 5]) == ["cancelled", None, None, "in_flight", "cancelled"]
    decisions.keeper.stop()


def test_a_reading_goes_on_only_where_the_chain_does(tmp_path: Path) -> None:
    """The next line has to name the last one that was read, even if nothing else shows that the file was cut."""
    chain = Chain(tmp_path)
    chain.write(("start", {}))
    head, files = chain.head, {1: chain.path}
    chain.write(intent(1))
    read = next_slice(files, START, cuts={})
    assert read is not None
    chain.head = head
    chain.lines(intent(2))
    chain.write(outcome(2))
    with pytest.raises(Changed):
        next_slice(files, read.position, cuts=None)


def test_a_retired_chain_takes_its_decisions_along(tmp_path: Path) -> None:
    """The index does not remember what the chains do not hold any more."""
    old, new = Chain(tmp_path), Chain(tmp_path, "01890000-0000-7000-8000-00000000000b")
    old.write(("start", {}), intent(1), outcome(1))
    new.write(("start", {}), intent(2), settled(1, 4))
    decisions = reader(tmp_path)
    assert states(decisions, [1, 2]) == ["cancelled", "in_flight"]
    old.path.unlink()
    assert decisions.find(an_id(1), "billing") is None
    assert states(decisions, [1, 2]) == [None, "in_flight"]
    assert [one.decision_id for one in decisions.of_team("billing", most=5).decisions] == [an_id(2)]
    assert {chain for _, chain, *_ in indexed(tmp_path)[0]} == {new.name}
    decisions.keeper.stop()


def test_what_a_file_holds_after_it_was_set_aside_is_disregarded(tmp_path: Path) -> None:
    """As by `audit verify`: whether the lines were there when the index was made, or were read before."""
    chain = Chain(tmp_path)
    chain.write(("start", {}), intent(1))
    good = chain.head
    chain.write(denied(2))
    decisions = reader(tmp_path)
    assert states(decisions, [1, 2]) == ["in_flight", "denied"]
    suspect, chain.file, chain.head = chain.path.name, 2, good
    notice = {"suspect": [suspect], "last_good": {"seq": good.seq, "head": good.digest}}
    chain.write(("recovery", {"reason": "segment_suspect", "open": 1, "left_out": 0, **notice}), outcome(1))
    assert states(decisions, [1, 2]) == ["cancelled", None]
    kept_up = indexed(tmp_path)
    decisions.keeper.stop(most_s=WAIT_S)
    discard(tmp_path)
    anew = reader(tmp_path)
    assert indexed(tmp_path) == kept_up
    anew.keeper.stop()


def test_damaged_lines_hide_only_themselves(tmp_path: Path) -> None:
    """The other records of a damaged chain are shown, as `audit show` shows them."""
    chain = Chain(tmp_path)
    lines = chain.lines(("start", {}), intent(1), intent(2), outcome(1))
    chain.append([*lines[:2], b"\xff not a record\n", b"\n", lines[2], lines[3]])
    decisions = reader(tmp_path)
    assert states(decisions, [1, 2]) == ["cancelled", "in_flight"]
    chain.write(outcome(2))
    assert states(decisions, [2]) == ["cancelled"]
    decisions.keeper.stop()


def test_only_the_record_says_whose_a_decision_is(tmp_path: Path) -> None:
    """An index that names the wrong team shows the decision to nobody."""
    Chain(tmp_path).write(("start", {}), intent(1))
    decisions = reader(tmp_path)
    with closing(sqlite3.connect(tmp_path / NAME)) as link, link:
        link.execute("UPDATE lines SET team = 'search'")
    assert decisions.find(an_id(1), "search") is None
    assert decisions.of_team("search", most=5).decisions == []
    decisions.keeper.stop()


def test_two_processes_share_one_index(tmp_path: Path) -> None:
    """One writes it, both read it, and the other takes over when the first has ended."""
    chain = Chain(tmp_path)
    chain.write(("start", {}), intent(1))
    first, second = reader(tmp_path), reader(tmp_path)
    chain.write(outcome(1))
    assert states(first, [1]) == states(second, [1]) == ["cancelled"]
    first.keeper.stop(most_s=WAIT_S)
    chain.write(intent(2))
    assert states(second, [1, 2]) == ["cancelled", "in_flight"]
    second.keeper.stop()


def test_an_index_that_cannot_be_kept_is_a_notice_and_no_answer(tmp_path: Path) -> None:
    """Operators are told once, older decisions have to wait, and what is in memory is shown all the same."""
    (tmp_path / LOCK).mkdir()
    latest, told = Latest(), Told()
    latest.add(Chain(tmp_path).write(("start", {}), intent(1)))
    keeper = Keeper(tmp_path, latest, operators_log=told)
    decisions = Decisions(tmp_path, latest, keeper)
    keeper.start()
    assert not keeper.looks(1)
    assert [event for event, _ in told.lines] == ["decisions_index_failed"]
    assert told.lines[0][1]["file"] == str(tmp_path / LOCK)
    assert len(keeper.notices()) == 1
    with pytest.raises(IndexBehind):
        decisions.of_team("billing", most=1)
    found = decisions.in_memory(an_id(1), "billing")
    assert found is not None
    assert found.state == "in_flight"
    assert decisions.in_memory(an_id(1), "search") is None
    keeper.stop()


def test_operators_are_told_which_file_and_callers_are_told_no_path(tmp_path: Path) -> None:
    """The line names what may be deleted; what goes to callers and to `/readyz` names only what to do."""
    (tmp_path / NAME / "in-its-place").mkdir(parents=True)
    Chain(tmp_path).write(("start", {}), intent(1))
    told = Told()
    keeper = Keeper(tmp_path, Latest(), operators_log=told)
    keeper.start()
    assert not keeper.looks(1)
    keeper.stop(most_s=WAIT_S)
    assert told.lines[0][1]["file"] == str(tmp_path / NAME)
    said = [*keeper.notices(), DecisionsUnavailable("index_behind").sentence]
    assert all("decisions_index_failed" in text and str(tmp_path) not in text for text in said)


def test_an_index_that_has_not_caught_up_is_not_asked(tmp_path: Path) -> None:
    """What an earlier process indexed says nothing of what was written since."""
    chain = Chain(tmp_path)
    chain.write(("start", {}), intent(1))
    reader(tmp_path).keeper.stop(most_s=WAIT_S)
    chain.write(outcome(1), intent(2))
    keeper = Keeper(tmp_path, Latest(), operators_log=Told())
    decisions = Decisions(tmp_path, Latest(), keeper)
    for number in (1, 2):
        with pytest.raises(IndexBehind):
            decisions.find(an_id(number), "billing")
    keeper.start()
    assert states(decisions, [1, 2]) == ["cancelled", "in_flight"]
    keeper.stop()


def test_memory_holds_the_newest_lines_by_their_weight(tmp_path: Path) -> None:
    """What has given way is told from what is indexed, so that no gap between the two is taken for nothing."""
    latest, chain = Latest(), Chain(tmp_path)
    size = len(chain.lines(intent(0))[0])
    for first in range(0, 2 * MOST_BYTES // size, 1000):
        latest.add(chain.lines(*(intent(number) for number in range(first, first + 1000))))
    last = chain.head.seq
    assert latest.of(an_id(1)) == []
    assert len(latest.of(an_id(last - 2))) == 1
    assert latest.beyond(lambda _: 0) is None
    assert len(latest.beyond(lambda _: last - 10) or ()) == 10
