"""What the store is still to be told is bounded, whatever is asked while it is away."""

from __future__ import annotations

from gateway.execution.gates.settling import Settling
from gateway.state.admissions import Closed
from tests.support.state.admissions import MemoryAdmissions


async def test_requests_that_met_no_store_leave_a_bounded_number_behind() -> None:
    """Each leaves a wish to be withdrawn; above the bound none is kept. What was sent is told all the same."""
    owing = Settling(MemoryAdmissions(fails="unreachable"), most_withdrawn=3)
    for number in range(9):
        owing.withdraw(f"d{number}")
    owing.close("sent", Closed(1))
    assert [number for number in range(9) if owing.owed(f"d{number}") is not None] == [0, 1, 2]
    assert owing.owed("sent") == Closed(1)
    await owing.stop(0)
