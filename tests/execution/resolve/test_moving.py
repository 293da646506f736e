"""An account that moves between looking and cancelling, and a log that shifts or lies: never another run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from gateway.simulator.account import LogManner
from gateway.simulator.exchange import Answer, Call, Fault, Kind
from gateway.simulator.runs import SUCCESS, Run
from gateway.upstream.runs.listing import AT_ONCE
from tests.execution.resolve.account import INVOICE, SEARCH, MovingAccount, ids, now_ms, runs_of
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import House, by_ids, exactly, skipped, tree

Entries = list[dict[str, object]]
Falsify = Callable[[Call, Entries, MovingAccount], Entries]


def test_runs_that_end_or_restart_before_their_order_are_left_out_and_named(house: House) -> None:
    """While the first order is carried out, two runs of the second end and one starts again under its ID."""
    runs = runs_of(INVOICE, 120)
    house.begin(runs)
    over, again = ids(runs[105:107]), runs[110].run_id
    house.account.when(Kind.CANCEL, 1, lambda: house.account.end(*over))
    house.account.when(Kind.CANCEL, 1, lambda: house.account.restart(again))
    answer = house.cancel(tree(count=200))
    assert answer.json() == {"cancelled": 117}
    assert house.account[again].running
    assert not {*over, again} & set(house.cancelled)
    assert "finished=(" in skipped(answer)
    assert f'restarted=("{again}");n=1' in skipped(answer)
    left_out = {"finished": over, "restarted": [again]}
    assert house.records("outcome")[0]["skipped"] == left_out
    assert house.records("chunk")[1]["skipped"] == left_out
    assert not {*over, again} & set(house.orders[1])


def test_a_run_that_appears_after_the_listing_is_not_cancelled(house: House) -> None:
    """It matches, and nobody has judged it."""
    runs, late = runs_of(INVOICE, 110), runs_of(INVOICE, 3, name="late")
    house.begin(runs)
    house.account.when(Kind.CANCEL, 1, lambda: house.account.add_runs(late))
    assert house.cancel(tree(count=500)).json() == {"cancelled": 110}
    assert set(house.cancelled) == set(ids(runs))


def test_an_order_of_which_nothing_is_left_is_not_sent(house: House) -> None:
    """All twenty runs of the second order have ended: one call, and the sum of it."""
    runs = runs_of(INVOICE, 120)
    house.begin(runs)
    house.account.when(Kind.CANCEL, 1, lambda: house.account.end(*ids(runs[100:])))
    assert house.cancel(tree(count=200)).json() == {"cancelled": 100}
    assert house.orders == [ids(runs[:100])]


def test_a_run_that_moved_to_a_locked_label_stops_the_next_order(build: Build) -> None:
    """The second look judges what the runs are then, and what a deny is about is never sent."""
    house = build()
    runs = runs_of(INVOICE, 120)
    house.begin(runs)
    relabelled = Run(runs[110].run_id, INVOICE, runs[110].created_ms, labels=("locked",))
    house.account.when(Kind.CANCEL, 1, lambda: house.account.add_runs([relabelled]))
    answer = house.cancel(tree(count=200))
    assert (answer.status, answer.json()["cause"]) == (504, "partial_denied")
    assert house.orders == [ids(runs[:100])]
    house.check_record()


@pytest.mark.parametrize("page", [2, 3, 5])
@pytest.mark.parametrize("change", ["a run begins", "a run ends", "a run restarts"])
def test_pages_that_shift_while_they_are_read_bring_nothing_foreign_and_nothing_twice(
    house: House, page: int, change: str
) -> None:
    """The cursor counts runs: one that begins repeats a run on the next page, one that ends hides one."""
    runs, foreign = runs_of(INVOICE, 45), runs_of(SEARCH, 12, name="foreign", age_ms=60_000)
    house.begin([*runs, *foreign], log=LogManner(shifting=True))
    changes = {
        "a run begins": lambda: house.account.add_runs(runs_of(SEARCH, 1, name="new", age_ms=0)),
        "a run ends": lambda: house.account.end(runs[40].run_id, foreign[11].run_id),
        "a run restarts": lambda: house.account.restart(runs[30].run_id),
    }
    house.account.when(Kind.LOGS, page, changes[change])
    answer = house.cancel(tree(count=500))
    assert answer.status == 200
    assert set(house.cancelled) <= set(ids(runs))
    assert len(house.cancelled) == len(set(house.cancelled))


def _everything(call: Call, entries: Entries, account: MovingAccount) -> Entries:
    return [run.wire() for run in account.runs]


def _finished(call: Call, entries: Entries, account: MovingAccount) -> Entries:
    return [{**entry, "workflowState": SUCCESS} for entry in entries]


def _each(**members: object) -> Falsify:
    return lambda call, entries, account: [{**entry, **members} for entry in entries]


def _without(name: str) -> Falsify:
    return lambda call, entries, account: [
        {key: value for key, value in entry.items() if key != name} for entry in entries
    ]


def _twice(call: Call, entries: Entries, account: MovingAccount) -> Entries:
    return [*entries, *reversed(entries)]


LIES: Mapping[str, Falsify] = {
    "ignores every filter": _everything,
    "lists finished runs": _finished,
    "lists all twice": _twice,
    "of another workflow": _each(workflowUrl=SEARCH),
    "of a neighbour": _each(workflowUrl=f"{INVOICE}/../../x"),
    "without a URL": _without("workflowUrl"),
    "without a state": _without("workflowState"),
    "without a creation time": _without("workflowRunCreatedAt"),
    "created as text": _each(workflowRunCreatedAt="1795000000000"),
    "created in seconds": _each(workflowRunCreatedAt=1_795_000_000),
    "created as true": _each(workflowRunCreatedAt=True),
    "labels as text": _each(labels="locked"),
    "labels as numbers": _each(labels=[1]),
    "an ID with a comma": _each(workflowRunId="wfr_run_0000,wfr_foreign_0000"),
    "an empty ID": _each(workflowRunId=""),
    "an ID that is a list": _each(workflowRunId=["wfr_foreign_0000"]),
}


def lying(falsify: Falsify, account: MovingAccount) -> Callable[[Call, Answer], Answer]:
    """A lie about the entries of each page."""

    def lie(call: Call, answer: Answer) -> Answer:
        page = json.loads(answer.body)
        return Answer(answer.status, json.dumps({**page, "runs": falsify(call, page["runs"], account)}), answer.headers)

    return lie


@pytest.mark.parametrize("way", ["filter", "run IDs"])
@pytest.mark.parametrize("lie", LIES)
def test_a_log_that_lies_never_leads_to_another_run(house: House, lie: str, way: str) -> None:
    """What is sent are matching runs of the scope, each once; or it is refused."""
    runs, foreign = runs_of(INVOICE, 8), runs_of(SEARCH, 5, name="foreign")
    house.begin([*runs, *foreign])
    house.account.lie = lying(LIES[lie], house.account)
    query, team = (tree(url=INVOICE), "below") if way == "filter" else (by_ids(ids(runs)), "by-id")
    answer = house.cancel(query, team=team)
    assert answer.status in (200, 403, 409, 502)
    assert set(house.cancelled) <= set(ids(runs))
    assert all(set(order) <= set(ids(runs)) for order in house.orders)
    assert len(house.orders) <= 1


@pytest.mark.parametrize("query", [exactly(INVOICE), exactly(INVOICE, label="nightly"), tree(url=INVOICE)])
def test_another_teams_run_under_the_same_id_is_seen_although_the_filter_hides_it(house: House, query: str) -> None:
    """Nobody could say which of the two a cancel by ID would hit: it is left out, and the others are sent."""
    runs = runs_of(INVOICE, 4, labels=["nightly"])
    twin = Run(runs[1].run_id, SEARCH, runs[1].created_ms + 5000)
    house.begin(runs)

    def with_twin(call: Call, entries: Entries, account: MovingAccount) -> Entries:
        hidden = any(name in call.query for name in ("workflowUrl=", "label=", "cursor="))
        asked = "workflowRunId=" not in call.query or f"workflowRunId={twin.run_id}" in call.query
        return [*entries, twin.wire()] if asked and not hidden else entries

    house.account.lie = lying(with_twin, house.account)
    answer = house.cancel(query)
    assert (answer.status, answer.json()) == (200, {"cancelled": 3})
    assert house.orders == [[run.run_id for run in runs if run.run_id != twin.run_id]]
    # Named where the caller's plan had it; a listing alone does not say whose it is, only that there is one.
    assert skipped(answer) == f'unreadable=("{twin.run_id if "ExactMatch" in query else "?"}");n=1'


def test_where_nothing_is_hidden_nothing_is_looked_up_again(house: House) -> None:
    """A listing of every running run shows both runs of an ID; only what a filter narrowed is looked at by ID."""
    runs = runs_of(INVOICE, 4)
    house.begin(runs)
    assert house.cancel(tree(url=INVOICE)).json() == {"cancelled": 4}
    assert house.account.arrived(Kind.LOGS) == 1
    others = runs_of(INVOICE, 4, name="other")
    house.begin(others)
    assert house.cancel(exactly(INVOICE)).json() == {"cancelled": 4}
    assert house.account.arrived(Kind.LOGS) == 1 + len(others)


def _page(**members: object) -> str:
    return json.dumps({"cursor": "", "runs": [], **members})


@pytest.mark.parametrize(
    "body",
    [
        _page(cursor="again"),
        _page(cursor=7),
        _page(cursor="a b"),
        _page(runs={"wfr_1": {}}),
        _page(runs="none"),
        _page(runs=[{}] * 101),
        '{"cursor": ""}',
        "[]",
        "not JSON",
        '{"cursor": "", "runs": [], "runs": []}',
    ],
    ids=["repeats its cursor", "number", "spaces", "object", "text", "too long", "no runs", "list", "bytes", "twice"],
)
def test_a_page_that_cannot_be_trusted_refuses_the_request(house: House, body: str) -> None:
    """502, and nothing was sent; a list of runs that ends early would be taken for all of them."""
    house.begin(runs_of(INVOICE, 30))
    house.account.when(Kind.LOGS, 3, lambda: house.account.script(Fault(on=Kind.LOGS, times=9, status=200, body=body)))
    answer = house.cancel(tree())
    assert (answer.status, answer.json()["code"]) == (502, "lookup_failed")
    assert "Nothing was sent" in str(answer.json()["error"])
    assert (house.sent, house.records("intent")) == ([], [])
    assert house.account.arrived(Kind.LOGS) <= 4 + AT_ONCE


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_look_up_that_is_refused_never_falls_back_to_sending_the_filter(house: House, status: int) -> None:
    """Nor to the token that can write."""
    house.begin(runs_of(INVOICE, 30))
    house.account.script(Fault(on=Kind.LOGS, times=20, status=status, body='{"error": "no"}'))
    assert house.cancel(tree()).status == 502
    assert house.sent == []


def test_runs_are_read_with_the_token_that_cannot_write(house: House) -> None:
    """Every reading carries it, and only the cancel carries the other."""
    house.begin(runs_of(INVOICE, 120))
    house.cancel(tree(count=200))
    assert {entry.call.token.value for entry in house.account.readings} == {"read-only"}
    assert {entry.call.token.value for entry in house.account.ledger} == {"full"}


def test_a_run_that_was_listed_long_before_its_order_is_looked_at_again(house: House) -> None:
    """The pages took over two seconds; a run seen on the first has been started again since."""
    runs = runs_of(INVOICE, 15)
    house.begin(runs)
    newest = runs[-1].run_id
    house.account.when(Kind.LOGS, 2, lambda: house.account.restart(newest))
    house.account.when(
        Kind.LOGS, 2, lambda: house.account.script(Fault(on=Kind.LOGS, acts=True, delay_before_ms=2_200))
    )
    answer = house.cancel(tree())
    assert house.account[newest].running, "a run that nobody judged was cancelled"
    assert f'restarted=("{newest}");n=1' in skipped(answer)
    assert now_ms() - house.account[newest].created_ms < 60_000
