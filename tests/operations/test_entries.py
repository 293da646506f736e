"""The calls on failed runs: how each is read, what is ordered, and what an answer of QStash's says."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import MalformedRequest, Refusal, TooLarge
from gateway.core.outcome import Cancelled, Made
from gateway.core.parse import Body
from gateway.core.plan import order_of
from gateway.core.request import Action, ActionRequest, ByIds, Dialect, Everything, FailedFilter
from gateway.core.run import Run
from gateway.operations.operation import Asked, Said
from gateway.operations.table import OPERATIONS, asked_by
from tests.support.project import ROOT

DLQ = "/v2/workflows/dlq"
DELETE, RESUME, RESTART = f"DELETE {DLQ}", f"POST {DLQ}/resume", f"POST {DLQ}/restart"
CALLS = {DELETE: Action.DELETE_DLQ, RESUME: Action.RESUME_DLQ, RESTART: Action.RESTART_DLQ}
MOST = {DELETE: 100, RESUME: 50, RESTART: 50}
STARTING = (RESUME, RESTART)
JSON = (b"application/json",)


def read(line: str, body: bytes = b"", headers: Sequence[tuple[bytes, bytes]] = ()) -> ActionRequest:
    """The request that method, target, body and headers make."""
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    found = asked_by(method, path)
    assert found is not None, line
    operation, form = found

    def header(name: bytes) -> Sequence[bytes]:
        return tuple(value for one, value in headers if one == name)

    sent = Body(body, JSON if body else ())
    request = operation.read(form, Asked(form.named(path), query.encode("latin-1"), sent, header, headers))
    assert request.action is operation.action
    return request


def refused(line: str, body: bytes = b"") -> Refusal:
    with pytest.raises(Refusal) as refusal:
        read(line, body)
    return refusal.value


@pytest.mark.parametrize(("line", "action"), CALLS.items())
def test_each_call_is_its_action(line: str, action: Action) -> None:
    """By method and path; with the ID in the path it is the same action for this one."""
    assert read(f"{line}?dlqIds=d1&dlqIds=d2") == ActionRequest(ByIds(("d1", "d2"), "dlqIds"), 2, action=action)
    one = read(f"{line}/d1")
    assert one == ActionRequest(ByIds(("d1",), "dlqIds"), 1, action=action)
    assert one.in_path


@pytest.mark.parametrize("line", CALLS)
def test_a_filter_is_one_of_failed_runs_whose_urls_are_exact(line: str) -> None:
    """Every field, as the client writes it; the count is the one that was sent, or a hundred."""
    query = (
        "workflowUrl=https%3A%2F%2Fa.example%2Fx&label=l&label=m&workflowRunId=wfr_1&callerIp=203.0.113.7"
        "&flowControlKey=k&fromDate=1790000000000&toDate=1790000000001&count=7"
    )
    asked = read(f"{line}?{query}")
    assert asked.count == 7
    assert asked.selection == FailedFilter(
        workflow_urls=("https://a.example/x",),
        exact=True,
        from_date=1790000000000,
        to_date=1790000000001,
        caller_ips=("203.0.113.7",),
        flow_control_keys=("k",),
        labels=("l", "m"),
        failed_run_ids=("wfr_1",),
    )
    assert read(f"{line}?label=l").count == 100


@pytest.mark.parametrize("line", CALLS)
@pytest.mark.parametrize("query", ["", "?count=100"])
def test_nothing_selected_is_a_value_of_its_own(line: str, query: str) -> None:
    """So an intent that got lost on the way is for everything, which only policy may allow."""
    assert read(f"{line}{query}").selection == Everything()


@pytest.mark.parametrize(
    ("body", "selection"), [(b"{}", Everything()), (b'{"dlqIds": ["d1", "d2"]}', ByIds(("d1", "d2"), "dlqIds"))]
)
def test_a_delete_is_read_from_a_body_as_well(body: bytes, selection: object) -> None:
    """As the Python client writes it."""
    asked = read(DELETE, body)
    assert (asked.selection, asked.dialect) == (selection, Dialect.BODY)


@pytest.mark.parametrize(
    "body",
    [
        b'{"dlqIds": []}',
        b'{"dlqIds": "d1"}',
        b'{"dlqIds": [1]}',
        b'{"dlqIds": null}',
        b'{"dlqIds": [""]}',
        b"[]",
        b'{"dlqIds": ["a"], "label": "l"}',
        b'{"label": "l"}',
        b'{"DlqIds": ["a"]}',
        b'{"all": true}',
        b"null",
        b'{"dlqIds": ["a"], "dlqIds": []}',
        b'{"dlqIds": ["undefined"]}',
        b'{"dlqIds": ["a", "a"]}',
    ],
)
def test_no_other_body_is_read(body: bytes) -> None:
    """An empty list, another shape, another name: upstream may read each of them as everything."""
    assert isinstance(refused(DELETE, body), MalformedRequest)


@pytest.mark.parametrize("line", STARTING)
@pytest.mark.parametrize("body", [b"{}", b'{"dlqIds": ["d1"]}'])
def test_a_resume_and_a_restart_take_no_body(line: str, body: bytes) -> None:
    """No client sends one."""
    assert refused(line, body).cause == "body"


@pytest.mark.parametrize("line", CALLS)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("workflowUrlStartingWith", "matched exactly"),
        ("workflowUrlExactMatch", "matched exactly"),
        ("dlqId", "did you mean 'dlqIds'"),
        ("DlqIds", "did you mean 'dlqIds'"),
        ("dlqIds[]", "did you mean 'dlqIds'"),
        ("workflowRunIds", "workflowRunId"),
        ("workflowCreatedAt", "fromDate"),
        ("cursor", "empty cursor"),
        ("source", "not a parameter"),
        ("all", "not a parameter"),
    ],
)
def test_a_name_that_the_call_does_not_have_is_refused_in_words(line: str, name: str, said: str) -> None:
    """Upstream would ignore it, and take everything."""
    refusal = refused(f"{line}?{name}=1&count=100")
    assert refusal.cause == "unknown_parameter"
    assert said in refusal.sentence


@pytest.mark.parametrize("line", CALLS)
@pytest.mark.parametrize(
    "query",
    [
        "dlqIds=d1&label=l",
        "dlqIds=d1&count=1",
        "dlqIds=",
        "dlqIds=d1,d2",
        "dlqIds=undefined",
        "dlqIds=d1&dlqIds=d1",
        "dlqIds=a%2Fb",
        "dlqIds=..",
        "label=",
        "label=a,b",
        "count=0",
        "count=1&count=2",
        "fromDate=1790000000",
        "workflowUrl=https://a.example",
        "workflowUrl=https://A.example/x",
        "label=l&",
        "workflowRunId=a%20b",
    ],
)
def test_what_two_readers_could_read_differently_is_refused(line: str, query: str) -> None:
    """IDs beside anything, values that are none, an ID that is a path or that a client was not given."""
    assert isinstance(refused(f"{line}?{query}"), MalformedRequest)


@pytest.mark.parametrize("line", CALLS)
@pytest.mark.parametrize(("query", "body"), [("?dlqIds=d2", b""), ("?count=1", b""), ("", b"{}")])
def test_nothing_stands_beside_an_id_in_the_path(line: str, query: str, body: bytes) -> None:
    """What upstream makes of both is not known."""
    assert refused(f"{line}/d1{query}", body).cause == "path_and_query"


@pytest.mark.parametrize(("line", "most"), MOST.items())
def test_a_list_is_no_longer_than_one_call_of_qstashs_takes(line: str, most: int) -> None:
    """One more, and a part of the list might silently be left."""
    query = "&".join(f"dlqIds=d{number}" for number in range(most))
    assert read(f"{line}?{query}").count == most
    refusal = refused(f"{line}?{query}&dlqIds=more")
    assert isinstance(refusal, TooLarge)
    assert f"At most {most} entries" in refusal.sentence


@pytest.mark.parametrize("line", CALLS)
def test_query_and_body_at_once_are_refused(line: str) -> None:
    """Upstream merges them."""
    assert isinstance(refused(f"{line}?label=l", b'{"dlqIds": ["d1"]}'), MalformedRequest)


@pytest.mark.parametrize("path", [f"{DLQ}/undefined", f"{DLQ}/", f"{DLQ}/a/b", f"{DLQ}/..", f"{DLQ}/resume/undefined"])
def test_what_is_no_id_in_a_path_is_no_call(path: str) -> None:
    """Nothing is asked for by a word that clients write for a missing ID, or by a path that upstream cleans."""
    assert asked_by("DELETE", path) is None
    assert asked_by("POST", path) is None


@given(st.text(max_size=60), st.sampled_from(sorted(CALLS)))
def test_reading_a_query_is_total(text: str, line: str) -> None:
    """Whatever stands in it, it is read or refused."""
    query = text.encode("utf-8").decode("latin-1").replace("?", "").replace("#", "")
    with contextlib.suppress(Refusal):
        read(f"{line}?{query}")


_NAMES = st.sampled_from(["dlqIds", "workflowUrl", "label", "workflowRunId", "count", "callerIp", "dlqIdz", "source"])


@given(st.lists(st.tuples(_NAMES, st.sampled_from(["d1", "d2", "3", "https://a.example/x", "l"])), max_size=5))
def test_a_request_that_names_anything_is_never_for_everything(pairs: list[tuple[str, str]]) -> None:
    """Only an empty query, or a count alone, is."""
    query = "&".join(f"{name}={value}" for name, value in pairs)
    try:
        asked = read(f"{RESTART}?{query}")
    except Refusal:
        return
    names = {name for name, _ in pairs}
    assert isinstance(asked.selection, Everything) == (names <= {"count"})


def test_every_recorded_request_is_read_in_one_way_or_refused_in_words() -> None:
    """The requests on failed runs that the clients were watched to send."""
    wrong = {"wf.dlq.delete({filter:{}})", "wf.dlq.delete({all:true})", "wf.dlq.delete({all:false})"}
    wrong |= {"wf.dlq.resume({filter:{}})", "wf.dlq.restart({filter:{label:undefined}})"}
    seen: dict[str, object] = {}
    for text in (ROOT / "tests/wire/actions.jsonl").read_text().splitlines():
        one: dict[str, Any] = json.loads(text)
        if asked_by(one["method"], one["target"].partition("?")[0]) and DLQ in one["target"]:
            headers = [(name.encode(), value.encode()) for name, value in one["headers"]]
            asked = read(f"{one['method']} {one['target']}", one["body"].encode(), headers)
            seen[one["call"]] = asked.selection
            assert len(asked.overrides) == (3 if "retries:3" in one["call"] else 0)
    assert {call for call, selection in seen.items() if isinstance(selection, Everything)} == wrong
    assert len(seen) == 12


# ---------------------------------------------------------------- orders


@pytest.mark.parametrize("line", CALLS)
@pytest.mark.parametrize("target", ["/d1", "?dlqIds=d1"])
def test_an_order_is_the_bulk_call_with_ids_and_nothing_else(line: str, target: str) -> None:
    """Also for one ID in the path."""
    method, _, path = line.partition(" ")
    request = read(line + target)
    assert OPERATIONS[request.action].target(order_of(request)) == (method, f"{path}?dlqIds=d1")


@pytest.mark.parametrize("line", CALLS)
@pytest.mark.parametrize("query", ["?label=l&count=100", "?count=100", ""])
def test_no_order_can_be_made_of_a_filter_or_of_everything(line: str, query: str) -> None:
    """How upstream reads a filter of these calls is not known."""
    with pytest.raises(TypeError):
        order_of(read(line + query))


@pytest.mark.parametrize(("line", "most"), MOST.items())
def test_what_was_looked_up_is_ordered_in_lists_that_one_call_takes(line: str, most: int) -> None:
    """In turn, each with the overrides of the request."""
    headers = [] if line == DELETE else [(b"upstash-retries", b"3")]
    asked = read(f"{line}?label=l", headers=headers)
    entries = [Run(f"d{number}", "https://a.example/x", 1_790_000_000_000) for number in range(2 * most + 1)]
    orders = OPERATIONS[asked.action].orders(entries, asked)
    assert [order.count for order in orders] == [most, most, 1]
    assert {order.headers for order in orders} == {asked.overrides}
    assert [one for order in orders for _, one in order.selection.pairs()] == [entry.run_id for entry in entries]


# ---------------------------------------------------------------- answers


def came_of(line: str, members: dict[str, object]) -> object:
    return OPERATIONS[CALLS[line]].came_of(Said(200, members))


def run(run_id: str = "wfr_1", created: object = 1_790_000_000_000) -> dict[str, object]:
    return {"workflowRunId": run_id, "workflowCreatedAt": created}


def test_an_answer_says_how_many_entries_were_deleted() -> None:
    """With a cursor or without: what is left was not named."""
    assert came_of(DELETE, {"cursor": "", "deleted": 3}) == Cancelled(200, 3)
    assert came_of(DELETE, {"deleted": 0}) == Cancelled(200, 0)


@pytest.mark.parametrize("line", STARTING)
def test_an_answer_names_the_runs_that_were_started(line: str) -> None:
    """Their number is the length of the list."""
    made = Made("wfr_1", 1_790_000_000_000), Made("wfr_2", 1_790_000_000_000)
    assert came_of(line, {"cursor": "c", "workflowRuns": [run(), run("wfr_2")]}) == Cancelled(200, 2, made=made)
    assert came_of(line, {"cursor": "", "workflowRuns": []}) == Cancelled(200, 0)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"deleted": True},
        {"deleted": -1},
        {"deleted": "1"},
        {"deleted": 1.0},
        {"deleted": 1, "error": "some failed"},
        {"deleted": 1, "error": ""},
        {"deleted": 1, "cursor": 7},
        {"cancelled": 1},
        {"workflowRuns": []},
    ],
)
def test_another_answer_to_a_delete_is_unknown(members: dict[str, object]) -> None:
    """Some of them may have been deleted."""
    assert came_of(DELETE, members) is None


@pytest.mark.parametrize("line", STARTING)
@pytest.mark.parametrize(
    "runs",
    [
        None,
        {},
        "x",
        [1],
        [{}],
        [run("a/b")],
        [run(created="1")],
        [run(created=True)],
        [run(created=-1)],
        [run(), run()],
        [run() | {"error": "not started"}],
        [run() | {"error": None}],
    ],
)
def test_another_answer_to_a_resume_or_restart_is_unknown(line: str, runs: object) -> None:
    """A list of anything but runs, each once, or the single run that only a call for one ID is answered with."""
    assert came_of(line, {"cursor": "", "workflowRuns": runs}) is None
    assert came_of(line, run()) is None
    assert came_of(line, {"cursor": "", "workflowRuns": [run()], "error": "1 of 2 was not found"}) is None


def test_callers_get_the_shapes_that_their_clients_expect() -> None:
    """An empty cursor ends documented loops; one ID in the path is answered with its run alone."""
    made = (Made("wfr_1", 1), Made("wfr_2", 2))
    delete, restart = OPERATIONS[Action.DELETE_DLQ], OPERATIONS[Action.RESTART_DLQ]
    assert delete.answer(read(f"{DELETE}?label=l"), Cancelled(200, 2)) == {"cursor": "", "deleted": 2}
    assert delete.answer(read(f"{DELETE}/d1"), Cancelled(200, 1)) is None
    assert delete.answer(read(f"{DELETE}/d1"), Cancelled(None, 0)) == {"cursor": "", "deleted": 0}
    runs = [run("wfr_1", 1), run("wfr_2", 2)]
    assert restart.answer(read(f"{RESTART}?label=l"), Cancelled(200, 2, made=made)) == {
        "cursor": "",
        "workflowRuns": runs,
    }
    assert restart.answer(read(f"{RESTART}/d1"), Cancelled(200, 1, made=made[:1])) == runs[0]
    assert restart.answer(read(f"{RESTART}/d1"), Cancelled(None, 0)) == {"cursor": "", "workflowRuns": []}
