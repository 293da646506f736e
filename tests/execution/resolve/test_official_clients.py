"""Official clients through rules that look runs up: their calls keep working, and a preview reads as a refusal."""

from __future__ import annotations

import time

import pytest

from gateway.simulator.account import LogManner
from gateway.simulator.runs import Run
from tests.clients.official import OfficialClient, require_clients
from tests.execution.resolve.account import API, INVOICE, REMINDER, SEARCH, ids, now_ms, runs_of
from tests.execution.resolve.conftest import Build
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


BY_URL, BY_PREFIX = {"filter": {"workflowUrl": INVOICE}}, {"filter": {"workflowUrlStartingWith": INVOICE}}


@pytest.mark.parametrize(
    ("version", "call", "number"),
    [
        pytest.param("latest", BY_URL, 2_128, id="latest-exact-url"),
        pytest.param("latest", BY_PREFIX, 250, id="latest-prefix"),
        pytest.param("latest", {**BY_URL, "count": 1000}, 250, id="latest-more-than-the-cap"),
        pytest.param("1.1", {"urlStartingWith": INVOICE}, 250, id="1.1-prefix"),
    ],
)
def test_the_documented_loop_cancels_a_runaway_to_the_last_run(
    house: House, version: str, call: object, number: int
) -> None:
    """A hundred at a time, as the rule says; then none, and the loop ends. Others' runs are left."""
    ours = runs_of(INVOICE, number, name="ours")
    house.begin([*ours, *runs_of(REMINDER, 150, name="other"), *runs_of(SEARCH, 50, name="search")])
    numbers, seen = _client(house, version, "oncall").loop(call, loopCap=number // 100 + 3)
    assert numbers == [100] * (number // 100) + [number % 100, 0]
    assert (seen.error, seen.ended, seen.attempts) == (None, True, len(numbers))
    assert sorted(house.cancelled) == sorted(ids(ours))


def test_the_documented_loop_goes_on_while_the_index_lags(build: Build) -> None:
    """QStash lists runs that are cancelled for a while: none is counted twice, and none is left."""
    house, ours = build(latency_ms=5), runs_of(INVOICE, 250)
    house.begin(ours, log=LogManner(lag_ms=3_000))
    time.sleep(3.1)  # until the index shows them
    numbers, seen = _client(house, "latest", "oncall").loop(BY_URL)
    assert (numbers, seen.error) == ([100, 100, 50, 0], None)
    assert sorted(house.cancelled) == sorted(ids(ours))
    house.check_record()


@pytest.mark.parametrize("call", [BY_URL, {**BY_URL, "count": 2}])
def test_a_loop_over_runs_that_are_too_young_ends_with_a_sentence(house: House, call: object) -> None:
    """Not with 0, which would say that none is left: the error has how many there are, and why."""
    house.begin(runs_of(INVOICE, 3, age_ms=60_000))
    numbers, seen = _client(house, "latest", "capped").loop(call)
    assert (numbers, seen.attempts, house.sent) == ([], 1, [])
    assert seen.error is not None
    assert (seen.error["status"], seen.problem["code"]) == (409, "nothing_cancelled")
    assert seen.sentence == (
        "Nothing was cancelled, and runs that match are left: 3 runs younger than the rule allows."
    )


HOSTS = """\
version: 1
name: hosts
teams: [oncall]
allow:
  - {id: own, host: {any_of: [billing.example.com]}, path: {prefix: [/api]}, resolve: true, runs: {cap: 100}}
"""
PLACE = {"host": "billing.example.com", "path": "/api/invoice"}


def test_the_newest_clients_host_and_path_cancel_exactly_the_runs_there(build: Build) -> None:
    """In its loop, to the last run; both are compared with the runs that were looked up, and never sent."""
    house = build(latency_ms=2, policies={"hosts.yaml": HOSTS})
    ours = runs_of(INVOICE, 120, name="ours")
    others = [*runs_of(f"{INVOICE}-v2", 5, name="v2"), *runs_of(f"{INVOICE}/eu", 5, name="eu")]
    house.begin([*ours, *others, *runs_of(SEARCH, 20, name="search")])
    numbers, seen = _client(house, "latest", "oncall").loop({"filter": PLACE})
    assert (numbers, seen.error) == ([100, 20, 0], None)
    assert sorted(house.cancelled) == sorted(ids(ours))
    asked = [*house.sent, *(reading.call.query for reading in house.account.readings)]
    assert [query for query in asked if "host=" in query or "path=" in query] == []
    house.check_record()


@pytest.mark.parametrize(
    ("filters", "hit"),
    [
        ({"workflowUrlStartingWith": API, **PLACE}, ["run"]),
        ({"workflowUrlStartingWith": API, **PLACE, "path": ["/api/invoice", "/api/reminder"]}, ["reminder", "run"]),
        ({"workflowUrl": [INVOICE, REMINDER], "path": "/api/reminder"}, ["reminder"]),
        ({"workflowUrlStartingWith": API, "host": "search.example.com"}, []),
    ],
)
def test_host_and_path_only_narrow_what_a_rule_allows_by_url(
    house: House, filters: dict[str, object], hit: list[str]
) -> None:
    """Beside a URL that the rule admits, whether or not it speaks of them."""
    house.begin([*runs_of(INVOICE, 2), *runs_of(REMINDER, 2, name="reminder"), *runs_of(SEARCH, 2, name="search")])
    seen = _client(house, "latest", "oncall").cancel({"filter": filters})
    assert seen.cancelled == 2 * len(hit)
    assert sorted({run_id.split("_")[1] for run_id in house.cancelled}) == hit


@pytest.mark.parametrize("version", ["latest", "1.1"])
def test_the_log_is_turned_to_its_last_page(house: House, version: str) -> None:
    """Every run of the team once, a page at a time as the client asks for them, and nobody else's."""
    ours = runs_of(INVOICE, 25, name="ours")
    house.begin([*ours, *runs_of(SEARCH, 60, name="search")])
    pages, seen = _client(house, version, "oncall").logs({"count": 10})
    assert (seen.error, seen.ended, seen.attempts) == (None, True, len(pages))
    assert max(map(len, pages)) <= 10
    assert sorted(run_id for page in pages for run_id in page) == sorted(ids(ours))
    one, _ = _client(house, version, "oncall").logs({"workflowRunId": ours[7].run_id})
    assert one == [[ours[7].run_id]]


def _client(house: House, version: str, team: str, *, base_url: str | None = None) -> OfficialClient:
    require_clients()
    return OfficialClient(version, base_url or house.gateway.url, house.gateway.key(team))
