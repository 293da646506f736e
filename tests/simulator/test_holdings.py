"""What the account holds besides runs: how it is listed, shown, changed and scripted."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.simulator.account import LogManner
from gateway.simulator.asked import Contract
from gateway.simulator.changes import Change, change_of
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Answer, Call, Fault, Kind, Token
from gateway.simulator.holdings import calls
from gateway.simulator.holdings.held import Holdings, Manner
from gateway.simulator.holdings.samples import sampled
from gateway.simulator.holdings.things import entry_of, message_of
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.support.holdings import FAILED_RUNS, MINUTE_MS, NOW_MS, RUNS, URL, failed_run, small_holdings

LIST = "/v2/dlq"
LINES = {
    Kind.DELETE_DLQ: "DELETE /v2/workflows/dlq",
    Kind.RESUME_DLQ: "POST /v2/workflows/dlq/resume",
    Kind.RESTART_DLQ: "POST /v2/workflows/dlq/restart",
    Kind.RETRY_CALLBACK: "POST /v2/workflows/dlq/callback/d1",
    Kind.DELETE_MESSAGE_DLQ: "DELETE /v2/dlq",
    Kind.RETRY_MESSAGE_DLQ: "POST /v2/dlq/retry",
    Kind.CANCEL_MESSAGES: "DELETE /v2/messages",
    Kind.PAUSE: "POST /v2/flowControl/k/pause",
    Kind.RESUME: "PATCH /v2/schedules/s/resume",
    Kind.RETUNE: "POST /v2/flowControl/k/pin",
    Kind.REMOVE: "DELETE /v2/topics/g",
    Kind.ROTATE_KEYS: "POST /v2/keys/rotate",
    Kind.NOTIFY: "POST /v2/notify/e1",
}
"""A request of each kind that the small account can carry out."""


@pytest.fixture
def house(contract: Contract) -> Simulator:
    return Simulator(RUNS, contract=contract, holdings=small_holdings())


def ask(
    simulator: Simulator, line: str, body: bytes = b"", *, token: Token = Token.FULL, at_ms: int = NOW_MS
) -> Answer:
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    return simulator.answer(Call(method, path, query, body, token), at_ms)


def listed(simulator: Simulator, query: str, *, at_ms: int = NOW_MS) -> list[str]:
    answer = ask(simulator, f"GET {LIST}?{query}", at_ms=at_ms)
    return [entry["dlqId"] for entry in json.loads(answer.body)["messages"]]


# ---------------------------------------------------------------- the list of the DLQ


def test_failed_runs_are_listed_by_their_source(house: Simulator) -> None:
    """Newest first; without `source` the failed messages stand among them."""
    assert listed(house, "source=workflow") == ["d1", "d2", "d3"]
    assert listed(house, "") == ["d1", "d2", "d3", "d", "e"]
    assert json.loads(ask(house, "GET /v2/workflows/dlq").body) == json.loads(
        ask(house, "GET /v2/dlq?source=workflow").body
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (f"workflowUrl={URL}", ["d1"]),
        ("workflowUrl=https://a.example", []),
        ("label=l", ["d1"]),
        ("workflowRunId=wfr_of_d2", ["d2"]),
        ("flowControlKey=k", ["d1"]),
        ("callerIp=203.0.113.9", []),
        (f"fromDate={NOW_MS - 2 * MINUTE_MS}", ["d1", "d2"]),
        (f"toDate={NOW_MS - 2 * MINUTE_MS}", ["d2", "d3"]),
        (f"workflowCreatedAt={NOW_MS - 3 * MINUTE_MS}", ["d2"]),
        ("dlqIds=d3", ["d3"]),
        ("nobody=knows", ["d1", "d2", "d3"]),
    ],
)
def test_the_list_has_filters(house: Simulator, query: str, found: list[str]) -> None:
    """A URL is matched exactly here, both dates belong to the window, and an unknown name is ignored."""
    assert listed(house, f"source=workflow&{query}") == found


def test_a_page_holds_a_hundred_and_the_cursor_leads_on() -> None:
    """Or fewer, where `count` says so; every entry is on one page, also where some leave between two pages."""
    held = Holdings()
    held.add(failed_run(f"dlq_{number:03}", age_min=number) for number in range(250))
    simulator = Simulator(holdings=held)
    sizes: list[int] = []
    seen: list[str] = []
    cursor = ""
    while not sizes or cursor:
        page = json.loads(ask(simulator, f"GET {LIST}?source=workflow&count=1000&cursor={cursor}").body)
        ids = [entry["dlqId"] for entry in page["messages"]]
        ask(simulator, f"DELETE /v2/workflows/dlq/{ids[0]}")
        sizes, seen, cursor = [*sizes, len(ids)], [*seen, *ids], page["cursor"]
    assert (sizes, seen) == ([100, 100, 50], [f"dlq_{number:03}" for number in range(250)])
    assert len(listed(simulator, "count=7")) == 7


@pytest.mark.parametrize("line", ["GET /v2/dlq?cursor=next", "DELETE /v2/workflows/dlq?cursor=next"])
def test_a_cursor_that_was_never_given_out_is_refused(house: Simulator, line: str) -> None:
    """With 400, and nothing is hit."""
    assert ask(house, line).status == 400
    assert house.holdings.wire() == small_holdings().wire()


def test_the_list_lags() -> None:
    """An entry that was deleted is still listed for a while, and one that came in is not listed yet."""
    simulator = Simulator(holdings=small_holdings(Manner(lag_ms=5_000)))
    simulator.holdings.add([failed_run("new", age_min=0)])
    ask(simulator, "DELETE /v2/workflows/dlq?dlqIds=d1")
    assert listed(simulator, "source=workflow") == ["d1", "d2", "d3"]
    assert listed(simulator, "source=workflow", at_ms=NOW_MS + 5_000) == ["new", "d2", "d3"]


def test_readings_of_all_kinds_share_one_limit() -> None:
    """A look-up of messages one by one runs into it as a list does."""
    simulator = Simulator(holdings=small_holdings(), log=LogManner(burst=2, burst_ms=500))
    lines = ("GET /v2/messages/m", f"GET {LIST}", "GET /v2/workflows/logs")
    assert [ask(simulator, line).status for line in lines] == [200, 200, 429]
    assert [entry.kind for entry in simulator.readings] == [Kind.MESSAGE, Kind.DLQ, Kind.LOGS]


# ---------------------------------------------------------------- what is shown


def test_an_entry_shows_whose_it_is_and_its_payload(house: Simulator) -> None:
    """By its ID, at either path; a gone one is 404."""
    shown = json.loads(ask(house, f"GET {LIST}/d1").body)
    named = (
        "dlqId",
        "workflowRunId",
        "workflowUrl",
        "workflowCreatedAt",
        "createdAt",
        "label",
        "flowControlKey",
        "body",
    )
    assert {name: shown[name] for name in named} == {
        "dlqId": "d1",
        "workflowRunId": "wfr_of_d1",
        "workflowUrl": URL,
        "workflowCreatedAt": NOW_MS - 2 * MINUTE_MS,
        "createdAt": NOW_MS - MINUTE_MS,
        "label": "l",
        "flowControlKey": "k",
        "body": "{}",
    }
    assert json.loads(ask(house, "GET /v2/workflows/dlq/d1").body) == shown
    assert ask(house, f"GET {LIST}/none").status == 404


def test_a_message_shows_its_run_in_a_header_only(house: Simulator) -> None:
    """No documented member of a message names a run; the headers that it will be delivered with do."""
    shown = json.loads(ask(house, "GET /v2/messages/step").body)
    assert (shown["header"], "workflowRunId" in shown) == ({"Upstash-Workflow-RunId": ["wfr_1"]}, False)
    assert json.loads(ask(house, "GET /v2/messages/m").body)["header"] == {}
    assert ask(house, "GET /v2/messages/none").status == 404


@pytest.mark.parametrize(
    ("path", "state"),
    [("flowControl/k", "isPaused"), ("queues/qn", "paused"), ("schedules/s", "isPaused")],
)
def test_a_pause_is_shown_until_the_resume(house: Simulator, path: str, state: str) -> None:
    """Alone and in the list of its sort."""
    seen = []
    for action in ("pause", "pause", "resume"):
        ask(house, f"POST /v2/{path}/{action}")
        alone = json.loads(ask(house, f"GET /v2/{path}").body)
        assert alone in json.loads(ask(house, f"GET /v2/{path.partition('/')[0]}").body)
        seen.append(alone[state])
    assert seen == [True, True, False]


def test_the_signing_keys_are_shown(house: Simulator) -> None:
    """The current one and the next."""
    assert json.loads(ask(house, "GET /v2/keys").body) == {"current": "sig_1", "next": "sig_2"}


@pytest.mark.parametrize(
    "line",
    [
        "DELETE /v2/workflows/dlq/none",
        "POST /v2/workflows/dlq/restart/none",
        "POST /v2/workflows/dlq/callback/none",
        "POST /v2/workflows/dlq/callback/d",
        "DELETE /v2/dlq/none",
        "POST /v2/dlq/retry/none",
        "POST /v2/dlq/retry?dlqIds=none",
        "DELETE /v2/messages/none",
        "POST /v2/schedules/none/pause",
        "DELETE /v2/queues/none",
        "DELETE /v2/topics/none",
        "GET /v2/queues/none",
    ],
)
def test_what_is_not_there_is_not_found(house: Simulator, line: str) -> None:
    """With a sentence, and nothing is hit."""
    answer = ask(house, line)
    assert (answer.status, list(json.loads(answer.body))) == (404, ["error"])
    assert house.holdings.wire() == small_holdings().wire()


@pytest.mark.parametrize("call", ["resume", "restart"])
def test_a_message_is_no_workflow(house: Simulator, call: str) -> None:
    """The ID of a failed message in the path is a bad request."""
    assert ask(house, f"POST /v2/workflows/dlq/{call}/d").status == 400


def test_one_id_in_the_path_is_retried_or_deleted_alone(house: Simulator) -> None:
    """A retry makes a message of it, with the status that QStash documents."""
    answer = ask(house, "POST /v2/dlq/retry/d")
    assert answer.status == 201
    again = house.holdings.messages[json.loads(answer.body)["messageId"]]
    assert (again.url, again.labels, again.created_ms) == ("https://a.example/hook", ("l",), NOW_MS)
    assert (ask(house, "DELETE /v2/workflows/dlq/d1").body, ask(house, "DELETE /v2/dlq/e").body) == ("", "")
    assert set(house.holdings.dlq) == FAILED_RUNS - {"d1"}


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"dlqIds": "d1"}', b'{"dlqIds": [1]}', b'{"count": "1"}'])
def test_a_body_that_cannot_be_read_is_refused(house: Simulator, body: bytes) -> None:
    """With 400 under either contract, and nothing is hit."""
    assert ask(house, f"DELETE {LIST}", body).status == 400
    assert (house.ledger[0].status, house.ledger[0].hit) == (400, ())


@pytest.mark.parametrize(
    ("query", "lost"),
    [
        ("host=b.example", {"m2"}),
        ("path=/hook&host=a.example", {"m"}),
        ("queueName=qn", {"m1"}),
        ("label=l", {"m"}),
        ("scheduleId=s", set()),
        ("callerIP=203.0.113.7&label=l", {"m"}),
        (f"toDate={NOW_MS - 3 * MINUTE_MS}", {"m2"}),
        ("messageIds=m&messageIds=none", {"m"}),
    ],
)
def test_messages_are_cancelled_by_filter(house: Simulator, query: str, lost: set[str]) -> None:
    """Every filter at once has to match; an ID that is not there does not count."""
    answer = ask(house, f"DELETE /v2/messages?{query}")
    assert (json.loads(answer.body), set(house.ledger[0].hit)) == ({"cancelled": len(lost)}, lost)


@pytest.mark.parametrize(
    ("query", "lost"), [("responseStatus=500&messageId=msg_of_d", {"d"}), ("responseStatus=404", set())]
)
def test_failed_messages_are_deleted_by_filter(house: Simulator, query: str, lost: set[str]) -> None:
    """By what the destination answered, among others."""
    ask(house, f"DELETE {LIST}?{query}")
    assert set(house.ledger[0].hit) == lost


def test_the_dlq_of_messages_is_deleted_a_hundred_at_a_time() -> None:
    """The documented most of a call, whatever it says; the cursor leads to the rest."""
    held = Holdings()
    held.add(failed_run(f"dlq_{number}", age_min=number) for number in range(130))
    simulator = Simulator(holdings=held)
    first = json.loads(ask(simulator, f"DELETE {LIST}?count=1000").body)
    second = json.loads(ask(simulator, f"DELETE {LIST}?cursor={first['cursor']}").body)
    assert (first["deleted"], second) == (100, {"cursor": "", "deleted": 30})


def test_a_restart_takes_fifty_also_of_a_list_of_ids() -> None:
    """Success is not all of them: the cursor says that some are left."""
    held = Holdings()
    held.add(failed_run(f"dlq_{number}", age_min=number) for number in range(60))
    simulator = Simulator(holdings=held)
    named = "&".join(f"dlqIds=dlq_{number}" for number in range(60))
    answer = json.loads(ask(simulator, f"POST /v2/workflows/dlq/restart?{named}").body)
    assert (len(answer["workflowRuns"]), answer["cursor"] != "") == (50, True)
    assert len(json.loads(ask(simulator, f"POST /v2/workflows/dlq/resume?{named}").body)["workflowRuns"]) == 60


@pytest.mark.parametrize("count", [1, 2])
def test_count_is_a_cap_where_it_is_documented(count: int) -> None:
    """Of deleted and of started runs always, of cancelled messages under the older contract."""
    for line in ("DELETE /v2/workflows/dlq", "POST /v2/workflows/dlq/resume", "DELETE /v2/dlq", "DELETE /v2/messages"):
        simulator = Simulator(RUNS, contract=Contract.V2025, holdings=small_holdings())
        ask(simulator, f"{line}?count={count}")
        assert len(simulator.ledger[0].hit) == count


# ---------------------------------------------------------------- tokens, faults, changes, control


@pytest.mark.parametrize("kind", sorted(calls.ACTIONS))
def test_the_read_only_token_does_none_of_it(house: Simulator, kind: Kind) -> None:
    """Each call that destroys, stops or starts is 403, and in the ledger under its kind."""
    assert ask(house, LINES[kind], token=Token.READ_ONLY).status == 403
    assert [(entry.kind, entry.hit) for entry in house.catastrophes] == [(kind, ())]
    assert house.holdings.wire() == small_holdings().wire()


@pytest.mark.parametrize("kind", sorted(calls.ACTIONS))
def test_a_fault_strikes_a_call_of_its_kind(house: Simulator, kind: Kind) -> None:
    """So that each action can be tested with a lost answer."""
    house.script(Fault(on=kind, status=500))
    assert house.next_fault(Kind.CANCEL) is None
    assert house.next_fault(kind) == Fault(on=kind, status=500)


@pytest.mark.parametrize("kind", [Kind.DELETE_DLQ, Kind.RESTART_DLQ, Kind.CANCEL_MESSAGES])
def test_a_call_may_fail_half_way(house: Simulator, kind: Kind) -> None:
    """`acts_on_at_most` bounds what it hit before it failed."""
    method, _, path = LINES[kind].partition(" ")
    house.answer(Call(method, path), NOW_MS, at_most=1)
    assert len(house.ledger[0].hit) == 1


def test_an_entry_can_leave_between_its_listing_and_its_order(house: Simulator) -> None:
    """And another can enter the DLQ, before the next call of a kind."""
    house.change(Change(on=Kind.DELETE_DLQ, leave=("d1", "m", "none"), fail=(failed_run("new", age_min=0),)))
    answer = ask(house, "DELETE /v2/workflows/dlq?dlqIds=d1&dlqIds=new")
    assert (json.loads(answer.body)["deleted"], house.ledger[0].hit) == (1, ("new",))
    assert "m" not in house.holdings.messages


def test_a_change_of_the_dlq_is_read_from_json() -> None:
    """With entries as the list shows them."""
    entry = failed_run("new")
    change = change_of({"on": "dlq", "leave": ["d1"], "fail": [entry.wire()]})
    assert change == Change(on=Kind.DLQ, leave=("d1",), fail=(entry,))
    with pytest.raises(ValueError, match="leave"):
        change_of({"fail": {}})


def test_what_is_held_survives_the_wire() -> None:
    """An entry as it is listed is the whole entry, and a message all but its run."""
    held = sampled(make_runs(10, NOW_MS, seed=0))
    assert [entry_of(entry.wire()) for entry in held.dlq.values()] == list(held.dlq.values())
    for message in held.messages.values():
        assert message_of({**message.wire(), "workflowRunId": message.run_id}) == message


@pytest.fixture
def control(house: Simulator) -> Callable[..., tuple[int, Any]]:
    """Sends one request to the control endpoints."""

    def control(method: str, path: str, body: str | None = None) -> tuple[int, Any]:
        with SimulatorServer(house) as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            connection.request(method, f"/_simulator/{path}", body)
            response = connection.getresponse()
            members = json.loads(response.read())
            connection.close()
        return response.status, members

    return control


def test_control_shows_and_adds_what_is_held(control: Callable[..., tuple[int, Any]]) -> None:
    """DLQ entries and messages as QStash shows them, without a token."""
    message = {"messageId": "msg_more", "url": URL, "createdAt": 1, "labels": ["l"]}
    assert control("POST", "dlq", json.dumps({"dlq": [failed_run("more").wire()]})) == (200, {})
    assert control("POST", "messages", json.dumps({"messages": [message]})) == (200, {})
    status, held = control("GET", "holdings")
    assert (status, held["dlq"][-1]["dlqId"], held["messages"][-1]["messageId"]) == (200, "more", "msg_more")
    assert held["paused"]["flowControl/k"] is False


@pytest.mark.parametrize("body", ['{"dlq": [{}]}', '{"messages": [{"messageId": "m"}]}', "[]"])
@pytest.mark.parametrize("path", ["dlq", "messages"])
def test_control_refuses_what_it_cannot_read(control: Callable[..., tuple[int, Any]], path: str, body: str) -> None:
    """With a sentence."""
    status, members = control("POST", path, body)
    assert (status, list(members)) == (400, ["error"])


def test_an_account_has_a_little_of_everything() -> None:
    """So that people can try each call; the runs are those that were given, and the log shows no others."""
    runs = make_runs(30, NOW_MS, seed=0)
    simulator = Simulator(runs)
    assert simulator.runs == runs
    held = simulator.holdings
    assert any(entry.of_workflow for entry in held.dlq.values())
    assert not all(entry.of_workflow for entry in held.dlq.values())
    assert {message.run_id for message in held.messages.values()} == {"", runs[0].run_id}
    assert {name.partition("/")[0] for name in held.switches} == {"flowControl", "queues", "schedules"}
    assert max(entry.created_ms for entry in held.dlq.values()) < NOW_MS
    assert len(held.waiters) == 2


def test_without_runs_there_are_samples_too() -> None:
    """But none of a run."""
    held = Simulator().holdings
    assert (len(held.dlq), held.waiters, {message.run_id for message in held.messages.values()}) == (9, [], {""})
