"""Which runs a request comes to: those it means, judged one by one, the oldest of them, and never another."""

from __future__ import annotations

import pytest

from gateway.simulator.runs import Run
from tests.execution.resolve.account import API, INVOICE, REMINDER, SEARCH, ids, now_ms, runs_of
from tests.execution.resolve.house import House, by_ids, exactly, skipped, tree


def test_a_count_below_what_is_found_cancels_the_oldest(house: House) -> None:
    """Of twelve runs three are asked for: the three oldest, whatever upstream thinks of `count`."""
    runs = runs_of(INVOICE, 12)
    house.begin(reversed(runs))
    answer = house.cancel(tree(count=3))
    assert (answer.status, answer.json()) == (200, {"cancelled": 3})
    assert house.orders == [ids(runs[:3])]
    assert "beyond_count=(" in skipped(answer)
    assert ";n=9" in skipped(answer)


def test_a_cap_of_policy_narrows_to_the_oldest_too(house: House) -> None:
    """The rule's cap is the count that is applied to what was found."""
    runs = runs_of(INVOICE, 12, labels=["nightly"])
    house.begin(runs)
    answer = house.cancel(exactly(INVOICE, label="nightly"), team="capped")
    assert (answer.json(), answer.headers["gateway-narrowed"]) == ({"cancelled": 5}, "count=5")
    assert house.orders == [ids(runs[:5])]


def test_more_runs_than_the_rule_may_leave_refuse_whatever_the_count(house: House) -> None:
    """21 found where 20 are the most: 403 with the number and a sample, and not one sent, though only one is asked."""
    runs = runs_of(INVOICE, 21)
    house.begin(runs)
    answer = house.cancel(exactly(INVOICE, count=1), team="capped")
    said = str(answer.json()["error"])
    assert (answer.status, answer.json()["rule"]) == (403, "capped/invoice")
    assert "21 runs" in said
    assert runs[0].run_id in said
    assert "at most 20" in said
    assert house.sent == []
    assert [record["rule"] for record in house.records("denied")] == ["capped/invoice"]


def test_runs_that_are_too_young_are_left_out_named_and_not_counted(house: House) -> None:
    """`older_than` comes before the number: 20 old runs and 15 young ones are not too many."""
    old, young = runs_of(INVOICE, 20, name="old"), runs_of(INVOICE, 15, name="young", age_ms=0)
    house.begin([*young, *old])
    answer = house.cancel(exactly(INVOICE), team="capped")
    assert (answer.status, answer.json()) == (200, {"cancelled": 5})
    assert house.orders == [ids(old[:5])]
    assert "young=(" in skipped(answer)
    assert ";n=15" in skipped(answer)
    (plan,) = house.records("plan")
    left_out = plan["skipped"]
    assert isinstance(left_out, dict)
    assert set(left_out["young"]) == set(ids(young))


def test_only_the_runs_that_the_request_means_are_sent(house: House) -> None:
    """A prefix is the page and all below it: neither the neighbour nor another host, which upstream would hit."""
    below = [
        Run(f"wfr_below_{n}", f"{INVOICE}{end}", now_ms() - 9_000 + n) for n, end in enumerate(("", "/eu", "/eu/x"))
    ]
    others = [
        Run("wfr_v2", f"{INVOICE}-v2", now_ms() - 9_000),
        Run("wfr_evil", "https://billing.example.com.evil.example/api/invoice", now_ms() - 9_000),
        *runs_of(REMINDER, 3, name="reminder"),
        *runs_of(SEARCH, 3, name="search"),
    ]
    house.begin([*others, *below])
    assert house.cancel(tree(url=INVOICE)).json() == {"cancelled": 3}
    assert set(house.cancelled) == set(ids(below))


def test_a_filter_that_the_rule_does_not_mention_only_narrows(house: House) -> None:
    """A host and a path are matched here: neither a listing nor an order ever names one."""
    runs = [
        *runs_of(INVOICE, 3, name="invoice", labels=["nightly"]),
        *runs_of(REMINDER, 3, name="reminder", labels=["nightly"]),
    ]
    house.begin(runs)
    wanted = ids(run for run in runs if run.url == INVOICE)
    answer = house.cancel(tree(host="billing.example.com", path="/api/invoice", label="nightly"))
    assert (answer.status, answer.json()) == (200, {"cancelled": 3})
    assert sorted(house.cancelled) == sorted(wanted)
    assert [name for query in house.sent for name in ("host=", "path=") if name in query] == []
    (intent,) = house.records("intent")
    assert intent["asked"] == {
        "workflowUrl": [API],
        "label": ["nightly"],
        "host": ["billing.example.com"],
        "path": ["/api/invoice"],
        "count": 100,
    }
    assert house.cancel(tree(host="billing.example.com:8443")).json() == {"cancelled": 0}


@pytest.mark.parametrize("query", ["host=billing.example.com", "path=%2Fapi%2Finvoice", "host=search.example.com"])
def test_a_host_that_no_rule_admits_is_refused_with_the_reason(house: House, query: str) -> None:
    """The rule's own field is missing, and an upstream that does not know the name is never asked."""
    house.begin(runs_of(INVOICE, 3))
    answer = house.cancel(query)
    assert answer.status == 403
    assert "never sent to QStash" in str(answer.json()["error"])
    assert house.sent == []


@pytest.mark.parametrize(
    "query", [tree(url="https://billing.example.com"), tree(url="https://search.example.com/api/"), "label=nightly"]
)
def test_a_request_that_is_wider_than_the_rule_is_refused_before_anything_is_looked_up(
    house: House, query: str
) -> None:
    """It is never cut down to what the rule allows."""
    house.begin(runs_of(INVOICE, 3))
    answer = house.cancel(query)
    assert answer.status in (400, 403)
    assert (house.sent, house.account.readings) == ([], ())


def test_a_run_id_of_another_workflow_refuses_the_whole_request(house: House) -> None:
    """Each run's own URL must lie in the rule's: the text names the run that does not, and nothing is sent."""
    own, foreign = runs_of(INVOICE, 3), runs_of(SEARCH, 1, name="foreign")
    house.begin([*own, *foreign])
    answer = house.cancel(by_ids([*ids(own), *ids(foreign)]), team="by-id")
    assert (answer.status, answer.json()["rule"]) == (403, "by-id/own")
    assert foreign[0].run_id in str(answer.json()["error"])
    assert house.sent == []


def test_an_unknown_run_id_refuses_the_whole_request(house: House) -> None:
    """Who names a run that does not exist means something else than what would be cancelled."""
    own = runs_of(INVOICE, 2)
    house.begin(own)
    answer = house.cancel(by_ids([*ids(own), "wfr_nobody"]), team="by-id")
    assert answer.status == 403
    assert "wfr_nobody" in str(answer.json()["error"])
    assert house.sent == []


def test_finished_runs_are_skipped_and_named(house: House) -> None:
    """In the header and in the record; the others are cancelled."""
    own = runs_of(INVOICE, 4)
    house.begin(own)
    house.account.end(own[1].run_id)
    answer = house.cancel(by_ids(ids(own)), team="by-id")
    assert answer.json() == {"cancelled": 3}
    assert skipped(answer) == f'finished=("{own[1].run_id}");n=1'
    (plan,) = house.records("plan")
    assert plan["skipped"] == {"finished": [own[1].run_id]}
    assert own[1].run_id not in house.sent[0]


@pytest.mark.parametrize("ended", [True, False])
def test_where_nothing_is_left_no_order_is_built(house: House, *, ended: bool) -> None:
    """None found, or all finished: an empty order would mean every run. Intent and outcome are recorded as ever."""
    runs = runs_of(INVOICE, 2)
    house.begin([*runs, *runs_of(SEARCH, 2, name="other")])
    house.account.end(*ids(runs))
    answer = house.cancel(by_ids(ids(runs)), team="by-id") if ended else house.cancel(tree())
    assert (answer.status, answer.json()) == (200, {"cancelled": 0})
    assert answer.headers["gateway-source"] == "gateway"
    assert house.sent == []
    (intent,), (outcome,) = house.records("intent"), house.records("outcome")
    assert (intent["orders"], outcome["outcome"], outcome["cancelled"]) == ([], "cancelled", 0)


def test_everything_is_selected_only_under_a_rule_that_says_so(house: House) -> None:
    """`selects: [everything]` looks the whole account up; for another team the same request is refused."""
    runs = [*runs_of(INVOICE, 7), *runs_of(SEARCH, 6, name="search")]
    house.begin(runs)
    assert house.cancel("").status == 403
    assert house.cancel("count=100").status == 403
    assert (house.sent, house.account.readings) == ([], ())
    assert house.cancel("", team="all").json() == {"cancelled": 13}
    assert set(house.cancelled) == set(ids(runs))
    assert all(len(order) for order in house.orders)


def test_a_deny_about_a_run_found_refuses_the_whole_request(house: House) -> None:
    """The request does not speak of labels; one of the runs it means has the one that is locked."""
    runs, locked = runs_of(INVOICE, 9), runs_of(INVOICE, 1, name="locked", labels=["locked"])
    house.begin([*runs, *locked])
    for query, team in ((tree(), "below"), (by_ids([*ids(runs), *ids(locked)]), "by-id"), ("", "all")):
        answer = house.cancel(query, team=team)
        assert (answer.status, answer.json()["rule"]) == (403, "guard/locked")
        assert locked[0].run_id in str(answer.json()["error"])
    assert house.sent == []


def test_a_require_of_resolve_looks_up_what_its_team_would_send_directly(house: House) -> None:
    """The rule that allows looks nothing up; the require does, with bounds of its own."""
    runs = runs_of(INVOICE, 10)
    house.begin([*runs, Run("wfr_v2", f"{INVOICE}-v2", now_ms() - 9_000)])
    assert house.cancel(tree(url=f"{INVOICE}/"), team="forced").json() == {"cancelled": 10}
    assert house.orders == [ids(runs)]
    house.begin(runs_of(INVOICE, 11))
    assert house.cancel(exactly(INVOICE), team="forced").status == 403
    assert house.sent == []


def test_runs_are_sent_in_orders_of_a_hundred_ids_and_counted_together(house: House) -> None:
    """130 runs make two orders; the body is their sum, and each order's answer is on record."""
    runs = runs_of(INVOICE, 130)
    house.begin(runs)
    answer = house.cancel(tree(count=200))
    assert answer.json() == {"cancelled": 130}
    assert house.orders == [ids(runs[:100]), ids(runs[100:])]
    chunks = house.records("chunk")
    assert [(chunk["number"], chunk["of"], chunk["cancelled"]) for chunk in chunks] == [(1, 2, 100), (2, 2, 30)]
