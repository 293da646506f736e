"""Official clients through rules that look runs up: their calls keep working, and a preview reads as a refusal."""

from __future__ import annotations

import pytest

from gateway.simulator.runs import Run
from tests.clients.official import OfficialClient, require_clients
from tests.execution.resolve.account import INVOICE, ids, now_ms, runs_of
from tests.execution.resolve.house import House

pytestmark = pytest.mark.node

RUNS = ["wfr_run_0000", "wfr_run_0001", "wfr_run_0002"]


@pytest.mark.parametrize(
    ("version", "team", "call", "hit"),
    [
        pytest.param("latest", "by-id", "wfr_run_0000", RUNS[:1], id="latest-id"),
        pytest.param("latest", "by-id", RUNS[:2], RUNS[:2], id="latest-ids"),
        pytest.param("latest", "by-id", {"ids": RUNS}, RUNS, id="latest-legacy-ids"),
        pytest.param("latest", "below", {"filter": {"workflowUrl": INVOICE}}, RUNS, id="latest-exact-url"),
        pytest.param("latest", "below", {"filter": {"workflowUrlStartingWith": INVOICE}}, RUNS, id="latest-prefix"),
        pytest.param(
            "latest", "below", {"filter": {"workflowUrl": INVOICE}, "count": 2}, RUNS[:2], id="latest-exact-and-count"
        ),
        pytest.param("latest", "all", {"all": True}, [*RUNS, "wfr_neighbour"], id="latest-all"),
        pytest.param("1.1", "by-id", {"ids": "wfr_run_0000"}, RUNS[:1], id="1.1-id"),
        pytest.param("1.1", "by-id", {"ids": RUNS}, RUNS, id="1.1-ids"),
        pytest.param("1.1", "below", {"urlStartingWith": INVOICE}, RUNS, id="1.1-prefix"),
    ],
)
def test_a_clients_call_cancels_exactly_the_runs_it_means(
    house: House, version: str, team: str, call: object, hit: list[str]
) -> None:
    """The body is the one that it knows, with the sum; the neighbour that upstream's prefix would hit still runs."""
    house.begin([*runs_of(INVOICE, 3), Run("wfr_neighbour", f"{INVOICE}-v2", now_ms() - 60_000)])
    seen = _client(house, version, team).cancel(call)
    assert (seen.cancelled, seen.attempts) == (len(hit), 1)
    assert sorted(house.cancelled) == sorted(hit)
    assert all(entry.call.query.startswith("workflowRunIds=") for entry in house.account.ledger)


@pytest.mark.parametrize("version", ["latest", "1.1"])
def test_a_preview_stops_the_documented_loop_and_cancels_nothing(house: House, version: str) -> None:
    """`do … while (cancelled > 0)` against the preview's address ends at once with our sentence."""
    house.begin(runs_of(INVOICE, 3))
    client = _client(house, version, "by-id", base_url=f"{house.gateway.url}/preview")
    numbers, seen = client.loop({"ids": RUNS})
    assert (numbers, seen.attempts, house.sent) == ([], 1, [])
    assert seen.error is not None
    assert seen.error["status"] == 409
    assert "3 runs would be cancelled" in seen.sentence
    assert str(seen.problem["plan"]) in seen.sentence


def test_the_documented_loop_ends_when_nothing_is_left(house: House) -> None:
    """Two runs at a time, then none: upstream is never asked to cancel an empty list."""
    runs = runs_of(INVOICE, 3)
    house.begin(runs)
    numbers, seen = _client(house, "latest", "below").loop({"filter": {"workflowUrl": INVOICE}, "count": 2})
    assert (numbers, seen.error) == ([2, 1, 0], None)
    assert house.orders == [ids(runs[:2]), ids(runs[2:])]


def _client(house: House, version: str, team: str, *, base_url: str | None = None) -> OfficialClient:
    require_clients()
    return OfficialClient(version, base_url or house.gateway.url, house.gateway.key(team))
