"""However often upstream shows one ID, each entry costs as much: the event loop reads them."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.run import STARTED, Run
from gateway.upstream.runs.entries import Collected, Seen
from tests.upstream.runs.account import NOW_MS, URL

ENTRIES = 2_000
STATES = (STARTED, "RUN_SUCCESS")


class Watched(Run):
    """A run that counts how often any of them is looked at."""

    looked_at = 0

    def __getattribute__(self, name: str) -> object:
        Watched.looked_at += 1
        return super().__getattribute__(name)


def looks(entries: list[Run]) -> int:
    """How often runs are looked at while these entries come in and are listed."""
    collected, before = Collected(), Watched.looked_at
    for run in entries:
        collected.add(Seen("wfr_one", run))
    collected.listing(pages=1)
    return Watched.looked_at - before


@pytest.mark.parametrize("step_ms", [-1, 0, 1])
@pytest.mark.parametrize("states", [STATES[:1], STATES[1:], STATES], ids=["running", "ended", "both"])
def test_each_entry_of_an_id_costs_as_much_as_the_one_before(states: tuple[str, ...], step_ms: int) -> None:
    """An upstream that ignores `state` shows every start of an ID, and thousands of them pass for one run."""
    entries: list[Run] = [
        Watched("wfr_one", URL, NOW_MS + step_ms * number, states[number % len(states)]) for number in range(ENTRIES)
    ]
    assert looks(entries) <= 2 * looks(entries[: ENTRIES // 2]) + ENTRIES // 10


@given(
    st.lists(
        st.builds(
            Run,
            st.just("wfr_one"),
            st.just(URL),
            st.integers(NOW_MS, NOW_MS + 3),
            st.sampled_from(STATES),
            labels=st.sampled_from([(), (), (), ("a",)]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_an_id_is_read_as_if_each_entry_were_compared_with_each(entries: list[Run]) -> None:
    """The newest run counts, unless two entries of one run differ or two runs of the ID run at the same time."""
    collected, known = Collected(), dict[int, Run]()
    contradict = any(one.created_ms == other.created_ms and one != other for one, other in combinations(entries, 2))
    for run in entries:
        collected.add(Seen("wfr_one", run))
        beside = (other for other in known.values() if other.created_ms != run.created_ms)
        contradict |= run.running and any(other.running for other in beside)
        if run.created_ms not in known or not run.running:
            known[run.created_ms] = run
    newest = known[max(known)]
    listing = collected.listing(pages=1)
    found = [(run, run.running) for run in listing.runs]
    assert (found, listing.unreadable) == (([], ("wfr_one",)) if contradict else ([(newest, newest.running)], ()))
