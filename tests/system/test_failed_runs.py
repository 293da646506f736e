"""The calls on failed runs through a gateway in a process of its own, with what they do to the account behind it.

What each accident does to an account that nothing stands in front of: `tests/simulator/test_destroyed.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Entry, Fault, Kind
from gateway.simulator.holdings.held import Manner
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.holdings import NOW_MS, RUNS, URL, failed_run, small_holdings

DELETE, RESUME, RESTART = "DELETE /v2/workflows/dlq", "POST /v2/workflows/dlq/resume", "POST /v2/workflows/dlq/restart"
CALLS = (DELETE, RESUME, RESTART)
STARTING = (RESUME, RESTART)
V2 = f"{URL}-v2"

BILLING = """\
version: 1
name: failed
teams: [billing]
allow:
  - id: mine
    action: [delete_dlq, resume_dlq, restart_dlq]
    workflowUrl: {prefix: ["https://a.example/"]}
    resolve: true
    runs: {max: 150}
    count: {max: 1000}
  - id: mine-by-id
    action: [delete_dlq, resume_dlq, restart_dlq]
    dlqIds: {max: 100}
    workflowUrl: {prefix: ["https://a.example/"]}
    resolve: true
    runs: {max: 150}
  - id: overriding
    action: [resume_dlq, restart_dlq]
    workflowUrl: {prefix: ["https://a.example/"]}
    flowControlKey: {any_of: [k], optional: true}
    overrides: true
    resolve: true
    runs: {max: 150}
"""
SEARCH = """\
version: 1
name: named
teams: [search]
allow:
  - {id: named, action: [delete_dlq, resume_dlq, restart_dlq], dlqIds: {any: true}, owner: unchecked}
"""


class Account:
    """A simulated account and the gateway before it."""

    def __init__(self, simulator: SimulatorServer, gateway: RunningGateway) -> None:
        self.simulator, self.gateway = simulator, gateway

    def ask(self, line: str, team: str = "billing", headers: dict[str, str] | None = None, body: str = "") -> Answer:
        """What the gateway answers to one request line."""
        method, _, target = line.partition(" ")
        more = {"Content-Type": "application/json"} if body else {}
        sent = body.encode() if body else None
        return self.gateway.request(method, target, team=team, headers={**more, **(headers or {})}, body=sent)

    @property
    def done(self) -> list[Entry]:
        """What was done to the account."""
        return list(self.simulator.ledger)

    @property
    def hit(self) -> list[str]:
        """Every entry that was hit, in order, as often as it was."""
        return [one for entry in self.done for one in entry.hit]


def running(tmp_path: Path, manner: Manner, extra: int = 0) -> Iterator[Account]:
    simulator = Simulator(RUNS, holdings=small_holdings(manner))
    simulator.holdings.add([failed_run(f"more{number:03}", V2, age_min=5 + number) for number in range(extra)])
    with SimulatorServer(simulator, token=REAL_TOKEN, read_token=READ_TOKEN) as server:
        policies = {"billing.yaml": BILLING, "search.yaml": SEARCH}
        upstream = ", read_token: {file: read-token}"
        setup = Setup(server.url, tmp_path / "gateway", policies=policies, upstream=upstream)
        with RunningGateway(setup) as gateway:
            yield Account(server, gateway)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Entries stay in the queue when they are started, which is the more dangerous of the two."""
    yield from running(tmp_path, Manner())


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Account]:
    """An account with 120 more failed runs of one workflow."""
    yield from running(tmp_path, Manner(), extra=120)


def answered(line: str, members: dict[str, object]) -> int:
    """How many entries an answer says that it was done to; each shape is that of its call."""
    if line == DELETE:
        assert members.keys() == {"cursor", "deleted"}
        number = members["deleted"]
        assert isinstance(number, int)
        return number
    assert members.keys() == {"cursor", "workflowRuns"}
    assert members["cursor"] == ""
    runs = members["workflowRuns"]
    assert isinstance(runs, list)
    assert all(run.keys() == {"workflowRunId", "workflowCreatedAt"} for run in runs)
    return len(runs)


@pytest.mark.parametrize("line", CALLS)
@pytest.mark.parametrize(
    ("query", "hit"),
    [
        ("dlqIds=d1", ["d1"]),
        ("dlqIds=d2&dlqIds=d1", ["d1", "d2"]),
        (f"workflowUrl={quote(URL, safe='')}&count=100", ["d1"]),
        (f"workflowUrl={quote(V2, safe='')}&label=m", ["d2"]),
        (f"workflowUrl={quote(V2, safe='')}&label=l", []),
        (f"workflowUrl={quote(URL, safe='')}&workflowRunId=wfr_of_d1", ["d1"]),
        (f"workflowUrl={quote(URL, safe='')}&workflowRunId=wfr_of_d2", []),
        (f"workflowUrl={quote(URL, safe='')}&fromDate={NOW_MS - 1}", []),
    ],
)
def test_exactly_the_entries_that_were_looked_up_are_ordered_by_id(
    account: Account, line: str, query: str, hit: list[str]
) -> None:
    """A filter is matched here, exactly, and never sent: of what is begun by the same characters nothing is touched."""
    answer = account.ask(f"{line}?{query}")
    assert answer.status == 200
    assert answered(line, answer.json()) == len(hit)
    assert sorted(account.hit) == hit
    sent = [entry.call.query for entry in account.done]
    assert all(part.startswith("dlqIds=") for query in sent for part in query.split("&"))


@pytest.mark.parametrize("line", CALLS)
def test_one_entry_in_the_path_is_ordered_as_a_list_of_one(account: Account, line: str) -> None:
    """And answered as a client of that call expects."""
    answer = account.ask(f"{line}/d1")
    assert (answer.status, account.hit) == (200, ["d1"])
    assert [entry.call.path for entry in account.done] == [line.partition(" ")[2]]
    if line == DELETE:
        assert answer.body == b""
    else:
        assert answer.json().keys() == {"workflowRunId", "workflowCreatedAt"}


@pytest.mark.parametrize("line", CALLS)
def test_ids_that_are_taken_on_trust_are_sent_as_they_are(account: Account, line: str) -> None:
    """`owner: unchecked`: one order, without a look-up, also for an entry of somebody else's."""
    answer = account.ask(f"{line}?dlqIds=d3&dlqIds=d2", team="search")
    assert answered(line, answer.json()) == 2
    assert sorted(account.hit) == ["d2", "d3"]
    assert not account.simulator.simulator.readings


@pytest.mark.parametrize("line", CALLS)
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param("?count=100", id="{all: true}, {all: false}, {filter: {}}, {filter: {label: undefined}}"),
        pytest.param("", id="a bare call"),
        pytest.param("?label=l&count=100", id="a filter that no rule bounds"),
        pytest.param("?workflowUrl=https%3A%2F%2Fa.example.evil.example%2Fx", id="the URL of others"),
        pytest.param("?dlqIds=d3", id="an entry of others"),
        pytest.param("?dlqIds=d1&dlqIds=d3", id="an entry of others among one's own"),
        pytest.param("?dlqIds=d", id="a failed message"),
        pytest.param("?dlqIds=nothing", id="no entry"),
        pytest.param("?workflowUrlStartingWith=https%3A%2F%2Fa.example&count=100", id="a name that the call has not"),
        pytest.param("?dlqId=d1", id="dlqId"),
        pytest.param("?DlqIds=d1", id="another case"),
        pytest.param("?dlqIds[]=d1", id="brackets"),
        pytest.param("?dlqIds=", id="an empty ID"),
        pytest.param("?dlqIds=undefined", id="an ID that was not given"),
        pytest.param("?dlqIds=d1&label=x", id="IDs beside a filter"),
        pytest.param("?label=l;x", id="a value that cannot be read"),
        pytest.param("/undefined", id="a path without an ID"),
        pytest.param("/d1?count=100", id="an ID in the path beside a query"),
        pytest.param("/", id="an empty ID in the path"),
        pytest.param("/..", id="a path that upstream resolves"),
    ],
)
def test_an_accident_is_refused_in_words_and_reaches_nothing(account: Account, line: str, asked: str) -> None:
    """Whatever upstream would have made of it, nothing is sent."""
    answer = account.ask(f"{line}{asked}")
    assert answer.status in (400, 403, 404, 409)
    assert answer.json()["error"]
    assert account.done == []


@pytest.mark.parametrize("body", ['{"dlqIds": []}', "{}", "null", '{"dlqIds": null}', '{"label": "l"}'])
def test_a_body_that_names_nothing_reaches_nothing(account: Account, body: str) -> None:
    """As the Python client writes a list that ran empty."""
    assert account.ask(DELETE, body=body).status in (400, 403)
    assert account.done == []


@pytest.mark.parametrize("team", ["billing", "search"])
@pytest.mark.parametrize("line", CALLS)
def test_a_list_that_is_longer_than_one_call_takes_is_refused(account: Account, line: str, team: str) -> None:
    """QStash might take a part of it, and leave the rest without a word."""
    query = "&".join(f"dlqIds=x{number}" for number in range(101))
    answer = account.ask(f"{line}?{query}", team=team)
    assert (answer.status, answer.json()["code"]) == (413, "too_large")
    assert account.done == []


@pytest.mark.parametrize("line", CALLS)
def test_many_entries_take_several_orders_that_are_summed_up(large: Account, line: str) -> None:
    """Each order names at most as many as one call takes, and each entry stands in one of them."""
    answer = large.ask(f"{line}?workflowUrl={quote(V2, safe='')}&count=1000")
    assert answered(line, answer.json()) == 121
    assert len(large.hit) == len(set(large.hit)) == 121
    assert max(len(entry.hit) for entry in large.done) == (100 if line == DELETE else 50)


def test_a_documented_loop_starts_no_entry_twice(large: Account) -> None:
    """The entries stay in the queue, and the loop asks again and again: what was ordered of late is left out."""
    line = f"{RESTART}?workflowUrl={quote(V2, safe='')}&count=100"
    first, second = large.ask(line), large.ask(line)
    assert (answered(RESTART, first.json()), answered(RESTART, second.json())) == (100, 21)
    assert first.headers["gateway-more"] == "true"
    assert answered(RESTART, large.ask(line).json()) == 0
    assert len(large.hit) == len(set(large.hit)) == 121


@pytest.mark.parametrize("line", STARTING)
def test_an_entry_that_was_ordered_of_late_is_not_started_by_its_id_either(account: Account, line: str) -> None:
    """Within ten minutes an ID counts as done."""
    account.ask(f"{line}?dlqIds=d1")
    again = account.ask(f"{line}?dlqIds=d1")
    assert (answered(line, again.json()), again.headers["gateway-skipped"]) == (0, 'done=("d1");n=1')
    assert account.hit == ["d1"]


@pytest.mark.parametrize("line", STARTING)
def test_an_entry_of_unknown_fate_is_not_started_again(account: Account, line: str) -> None:
    """The answer is lost after the call took effect: the repeat by ID or by filter leaves the entry out."""
    kind = Kind.RESUME_DLQ if line == RESUME else Kind.RESTART_DLQ
    account.simulator.simulator.script(Fault(on=kind, acts=True, ending=Ending.CLOSE))
    assert account.ask(f"{line}?dlqIds=d1").status == 504
    for query in ("dlqIds=d1", f"workflowUrl={quote(URL, safe='')}"):
        assert account.ask(f"{line}?{query}").headers["gateway-skipped"] == 'done=("d1");n=1'
    assert account.hit == ["d1"]


def test_an_entry_that_somebody_else_started_since_the_plan_is_left_out(tmp_path: Path) -> None:
    """Each order is looked at again: an entry that is not in the queue any more is no part of it."""
    for account in running(tmp_path, Manner(keeps_started=False)):
        preview = account.ask(f"DELETE /preview/v2/workflows/dlq?workflowUrl={quote(V2, safe='')}")
        assert (preview.status, preview.json()["runs"]) == (409, 1)
        assert account.done == []
        account.simulator.simulator.holdings.dlq.pop("d2")
        applied = account.ask(f"POST /gateway/v1/plans/{preview.json()['plan']}/apply")
        assert (applied.status, applied.json()) == (200, {"cursor": "", "deleted": 0})
        assert applied.headers["gateway-skipped"] == 'finished=("d2");n=1'
        assert account.done == []


@pytest.mark.parametrize("line", CALLS)
def test_a_preview_shows_what_the_call_would_hit_and_sends_nothing(account: Account, line: str) -> None:
    """Below /preview each call is read as it is, and its plan can be applied."""
    method, _, path = line.partition(" ")
    preview = account.ask(f"{method} /preview{path}?workflowUrl={quote(URL, safe='')}")
    assert (preview.status, preview.json()["code"], preview.json()["runs"]) == (409, "preview", 1)
    assert account.done == []
    applied = account.ask(f"POST /gateway/v1/plans/{preview.json()['plan']}/apply")
    assert answered(line, applied.json()) == 1
    assert account.hit == ["d1"]


def test_a_plan_is_not_applied_with_other_headers_than_it_was_made_with(account: Account) -> None:
    """The plan holds them; one beside its application would be dropped, so it is refused."""
    headers = {"Upstash-Retries": "1"}
    preview = account.ask(f"POST /preview/v2/workflows/dlq/restart?workflowUrl={quote(URL, safe='')}", headers=headers)
    apply = f"POST /gateway/v1/plans/{preview.json()['plan']}/apply"
    refused = account.ask(apply, headers={"Upstash-Retries": "2"})
    assert (refused.status, refused.json()["code"], account.done) == (400, "malformed_request", [])
    assert account.ask(apply).status == 200
    [done] = account.done
    assert dict(done.call.headers)["upstash-retries"] == "1"


@pytest.mark.parametrize("line", STARTING)
def test_overrides_are_sent_as_they_were_read(account: Account, line: str) -> None:
    """The new run has the flow-control key, and the request line on record has the headers."""
    headers = {
        "Upstash-Flow-Control-Key": "k",
        "Upstash-Flow-Control-Value": "period=1m,rate=3",
        "upstash-retries": "2",
        "Upstash-Delay": "1m",
        "Upstash-Retry-Delay": "pow(2,retried)*1000",
    }
    answer = account.ask(f"{line}?workflowUrl={quote(URL, safe='')}", headers=headers)
    assert answered(line, answer.json()) == 1
    [done] = account.done
    sent = {name: value for name, value in done.call.headers if name.startswith("upstash-")}
    assert sent == {
        "upstash-retries": "2",
        "upstash-delay": "60s",
        "upstash-retry-delay": "pow(2, retried) * 1000",
        "upstash-flow-control-key": "k",
        "upstash-flow-control-value": "rate=3, period=60s",
    }
    [intent] = account.gateway.records("intent")
    asked = intent["asked"]
    assert isinstance(asked, dict)
    assert asked["Upstash-Retries"] == "2"


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (RESTART, {"Upstash-Failure-Callback": "https://evil.example/"}, 400),
        (RESUME, {"Upstash-Label": "mine"}, 400),
        (RESUME, {"Upstash-Retries": "6"}, 400),
        (DELETE, {"Upstash-Retries": "1"}, 400),
        (RESTART, {"Upstash-Flow-Control-Key": "others"}, 403),
    ],
)
def test_a_header_that_no_rule_or_nobody_may_send_stops_the_call(
    account: Account, line: str, headers: dict[str, str], status: int
) -> None:
    """It is not dropped: what was asked for is not what would be done."""
    assert account.ask(f"{line}?workflowUrl={quote(URL, safe='')}", headers=headers).status == status
    assert account.done == []


@pytest.mark.parametrize("header", ["Upstash-Flow-Control-Key"])
def test_a_secret_in_an_override_is_refused_before_it_is_recorded(account: Account, header: str) -> None:
    """As one in any other value."""
    answer = account.ask(f"{RESUME}?dlqIds=d1", headers={header: REAL_TOKEN})
    assert answer.status == 400
    assert account.done == []
    assert REAL_TOKEN not in str(account.gateway.records())


def test_an_answer_that_says_that_something_went_wrong_is_unknown(account: Account) -> None:
    """Of several IDs one is missing: QStash says 404, and the others may have been started."""
    answer = account.ask(f"{RESTART}?dlqIds=d1&dlqIds=gone", team="search")
    assert (answer.status, answer.json()["code"]) == (504, "outcome_unknown")
    assert account.hit == ["d1"]


def test_a_team_is_shown_its_own_failed_runs_without_payloads(account: Account) -> None:
    """What a rule that looks entries up lets it act on; a team that may name any ID is not shown which there are."""
    shown = account.ask("GET /v2/dlq?source=workflow").json()
    messages = shown["messages"]
    assert isinstance(messages, list)
    assert [one["dlqId"] for one in messages] == ["d1", "d2"]
    assert shown["cursor"] == ""
    known = {"dlqId", "workflowRunId", "workflowUrl", "workflowCreatedAt", "createdAt", "callerIP", "flowControlKey"}
    assert all(one.keys() <= known | {"label", "labels", "responseStatus"} for one in messages)
    assert account.ask("GET /v2/dlq?source=workflow", team="search").json() == {"cursor": "", "messages": []}
    narrow = account.ask(f"GET /v2/dlq?workflowUrl={quote(V2, safe='')}&label=m&source=workflow").json()["messages"]
    assert isinstance(narrow, list)
    assert [one["dlqId"] for one in narrow] == ["d2"]


def test_an_entry_that_holds_a_secret_is_not_shown(account: Account) -> None:
    """Whatever put a token into a label; the others are shown, and no payload with them."""
    account.simulator.simulator.holdings.add([failed_run("d9", labels=(REAL_TOKEN,)), failed_run("d8")])
    answer = account.ask("GET /v2/dlq?source=workflow")
    assert b'"d8"' in answer.body
    assert b'"d9"' not in answer.body
    assert REAL_TOKEN.encode() not in answer.body
    assert not any(name in answer.body for name in (b"header", b"body", b"responseBody"))


def test_a_list_is_shown_page_by_page_with_cursors_of_ours(large: Account) -> None:
    """Every entry once; a cursor is good for the question, and the caller, that it was got by."""
    found: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        more = f"&cursor={cursor}" if cursor else ""
        shown = large.ask(f"GET /v2/dlq?source=workflow&count=50{more}").json()
        assert isinstance(shown["messages"], list)
        assert len(shown["messages"]) <= 50
        found += [one["dlqId"] for one in shown["messages"]]
        cursor, pages = str(shown["cursor"]), pages + 1
        if cursor:
            assert large.ask(f"GET /v2/dlq?source=workflow&cursor={cursor}", team="search").status == 400
            assert large.ask(f"GET /v2/dlq?source=workflow&label=m&cursor={cursor}").status == 400
    assert len(found) == len(set(found)) == 122
    assert large.ask(f"GET /v2/dlq?source=workflow&cursor={NOW_MS}-d1").status == 400


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 404, "source=workflow"),
        ("?count=10", 404, "source=workflow"),
        ("?source=messages", 404, "source=workflow"),
        ("?source=workflow&dlqIds=d1", 400, "takes no IDs"),
        ("?source=workflow&workflowUrlStartingWith=x", 400, "matched exactly"),
        ("?source=workflow&source=workflow", 400, "given twice"),
        ("?source=workflow&responseStatus=500", 400, "not a parameter"),
    ],
)
def test_another_question_is_refused_in_words(account: Account, query: str, status: int, said: str) -> None:
    """Failed messages are nobody's here, and a name that is dropped would show more than was asked for."""
    answer = account.ask(f"GET /v2/dlq{query}")
    assert answer.status == status
    assert said in str(answer.json()["error"])
    assert not account.simulator.simulator.readings
