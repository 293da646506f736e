"""A team sees the runs that its rules cover, and of them what the rules say; upstream is asked with our own words."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.errors import LookupFailed, MalformedRequest
from gateway.core.request import Principal
from gateway.policy.format.load import load_policies
from gateway.policy.rules import TeamRules
from gateway.simulator.account import LogManner
from gateway.simulator.changes import Change
from gateway.simulator.exchange import Fault, Kind, Token
from gateway.simulator.golang import query_values
from gateway.simulator.runs import SUCCESS, Run
from gateway.simulator.server import SimulatorServer
from gateway.upstream.runs.pages import MAX_PAGE_BYTES
from gateway.upstream.runs.query import RunQuery, parse_question
from gateway.upstream.runs.team_runs import MAX_ANSWER_BYTES, MAX_PAGES, own_runs
from tests.upstream.runs.reading import INVOICE, NOW_MS, READING, WRITING, opened, run, serving

SEARCH = "https://search.example.com/api/reindex"
POLICY = """\
version: 1
name: billing
teams: [billing, auditors, oncall]
allow:
  - id: own
    workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}
    resolve: true
    runs: {max: 200}
"""
FULL = POLICY + "    logs: full\n"
WIDE = POLICY.replace(
    '{exact: ["https://billing.example.com/api/invoice"]}', '{prefix: ["https://billing.example.com/api"]}'
)
CI = Principal("billing", "ci")
SECRETS = {"out": "the payload"}


def rules(directory: Path, text: str = POLICY, team: str = "billing") -> TeamRules:
    """What the policy says of a team."""
    (directory / "billing.yaml").write_text(text)
    return load_policies(directory).for_team(team)


def mixed(number: int) -> Iterator[Run]:
    """Every third run is billing's, the others are of search; in a row from old to new."""
    for index in range(number):
        yield run(index, url=INVOICE if index % 3 == 0 else SEARCH)


async def asked(server: SimulatorServer, query: str, speaking: TeamRules, *, events: bool = False) -> dict[str, Any]:
    """One page."""
    async with opened(server.url) as log:
        return await own_runs(query.encode(), speaking, log, NOW_MS, events=events, principal=CI)


async def all_pages(server: SimulatorServer, speaking: TeamRules, *, count: int = 10) -> list[list[str]]:
    """The pages of a client that follows the cursor to its end."""
    pages: list[list[str]] = []
    cursor = ""
    async with opened(server.url) as log:
        while True:
            query = urlencode({"count": count} | ({"cursor": cursor} if cursor else {}))
            page: Any = await own_runs(query.encode(), speaking, log, NOW_MS, events=False, principal=CI)
            assert len(page["runs"]) <= count
            pages.append([entry["workflowRunId"] for entry in page["runs"]])
            cursor = page["cursor"]
            if not cursor:
                return pages


@pytest.mark.parametrize("policy", [POLICY, WIDE])
@pytest.mark.parametrize("count", [1, 3, 10])
async def test_a_client_that_follows_the_cursor_sees_each_of_its_teams_runs_once(
    tmp_path: Path, policy: str, count: int
) -> None:
    """Runs of others on upstream's pages are passed over; none of its own is lost between two pages."""
    with serving(*mixed(70)) as server:
        pages = await all_pages(server, rules(tmp_path, policy), count=count)
        found = [run_id for page in pages for run_id in page]
        assert found == [one.run_id for one in reversed(list(mixed(70))) if one.url == INVOICE]
        assert {reading.call.token for reading in server.simulator.readings} == {Token.READ_ONLY}


async def test_a_team_without_rules_sees_nothing_and_upstream_is_not_asked(tmp_path: Path) -> None:
    """An empty page, like that of an account without runs."""
    with serving(*mixed(9)) as server:
        assert await asked(server, "", rules(tmp_path, team="strangers")) == {"cursor": "", "runs": []}
        assert server.simulator.readings == ()


async def test_one_page_of_ours_reads_a_bounded_number_of_theirs(tmp_path: Path) -> None:
    """Where nothing of twenty pages is the team's, it gets an empty page and the cursor to go on from."""
    with serving(run(0), *(run(number, url=SEARCH) for number in range(1, 231))) as server:
        pages = await all_pages(server, rules(tmp_path, WIDE))
        assert pages == [[], ["wfr_00000"]]
        asked_for = [query_values(reading.call.query) for reading in server.simulator.readings]
    assert ["cursor" in one for one in asked_for] == [False] + [True] * (MAX_PAGES + 3)


@pytest.mark.parametrize("log", [None, LogManner(shifting=True)], ids=["steady cursors", "shifting cursors"])
@pytest.mark.parametrize("count", [1, 3, 10])
async def test_a_run_that_appears_between_two_pages_hides_none(tmp_path: Path, log: LogManner, count: int) -> None:
    """The runs of the beginning are all shown, none of them twice on the page that is gone on from."""
    with serving(*(run(number) for number in range(12)), log=log) as server:
        new = Change(after=1, start=tuple(run(100 + number) for number in range(2)))
        server.simulator.change(new)
        pages = await all_pages(server, rules(tmp_path), count=count)
    found = [run_id for page in pages for run_id in page]
    assert {run(number).run_id for number in range(12)} <= set(found)
    assert all(len(set(page)) == len(page) for page in pages)


async def test_upstream_is_asked_for_full_pages_however_few_are_wanted(tmp_path: Path) -> None:
    """One run a page would be a reading for each run of everybody."""
    with serving(*mixed(30)) as server:
        await asked(server, "count=1", rules(tmp_path, WIDE))
        assert [query_values(reading.call.query)["count"] for reading in server.simulator.readings] == [["10"]]


async def test_a_cursor_says_nothing_of_the_runs_of_others(tmp_path: Path) -> None:
    """Upstream's names the last run of its page, whoever's it is; ours is another for the same page each time."""
    with serving(*mixed(70), run(100, run_id="wfr_payroll", url=SEARCH)) as server:
        speaking = rules(tmp_path, WIDE)
        first, second = [await asked(server, "count=1", speaking) for _ in range(2)]
    assert first["runs"] == second["runs"]
    for page in (first, second):
        assert re.fullmatch(r"[A-Za-z0-9_-]{22}", page["cursor"])
    assert first["cursor"] != second["cursor"]


async def test_what_no_rule_covers_is_not_even_asked_for(tmp_path: Path) -> None:
    """A page of another team's URL would say by its cursor that there are such runs."""
    with serving(*mixed(70)) as server:
        query = urlencode({"workflowUrl": SEARCH, "count": 1})
        assert await asked(server, query, rules(tmp_path, WIDE)) == {"cursor": "", "runs": []}
        assert server.simulator.readings == ()
    with serving(*mixed(70)) as server:
        both = urlencode([("workflowUrl", SEARCH), ("workflowUrl", INVOICE)])
        assert len((await asked(server, both, rules(tmp_path, WIDE)))["runs"]) == 10
        urls = [query_values(reading.call.query).get("workflowUrl") for reading in server.simulator.readings]
    assert urls == [[INVOICE]]


BY_LABEL = POLICY.replace(
    'workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}', "label: {any_of: [a, b]}"
)


@pytest.mark.parametrize(
    ("query", "labels", "shown_runs"),
    [
        ("", ["a", "b"], ["wfr_00003", "wfr_00002"]),
        ("label=b", ["b"], ["wfr_00002"]),
        ("label=c", ["a", "b"], ["wfr_00002"]),
        ("label=b&label=c", ["a", "b"], ["wfr_00002"]),
        ("label=d", ["a", "b"], []),
    ],
)
async def test_a_team_of_labels_asks_for_its_labels_alone(
    tmp_path: Path, query: str, labels: list[str], shown_runs: list[str]
) -> None:
    """A run with one of them and another is found by the other too, without a look at runs that have neither."""
    account = run(1, labels=("d",)), run(2, labels=("b", "c")), run(3, labels=("a",))
    with serving(*account) as server:
        page = await asked(server, query, rules(tmp_path, BY_LABEL))
        [reading] = server.simulator.readings
    assert query_values(reading.call.query)["label"] == labels
    assert [entry["workflowRunId"] for entry in page["runs"]] == shown_runs


ANY_ID = """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: trusted, workflowRunIds: {max: 20}, owner: unchecked}
  - {id: any, workflowRunIds: {max: 20}, workflowUrl: {any: true}, resolve: true, runs: {max: 20}}
"""


async def test_who_may_name_any_run_is_shown_none(tmp_path: Path) -> None:
    """Upstream is not asked."""
    with serving(*mixed(9)) as server:
        assert await asked(server, "", rules(tmp_path, ANY_ID)) == {"cursor": "", "runs": []}
        assert server.simulator.readings == ()


async def test_one_exact_url_of_the_rules_narrows_upstream(tmp_path: Path) -> None:
    """A team with one workflow does not read through everybody else's runs."""
    with serving(*mixed(70)) as server:
        await asked(server, "", rules(tmp_path))
        await asked(server, "", rules(tmp_path, WIDE))
        urls = [query_values(reading.call.query).get("workflowUrl") for reading in server.simulator.readings]
    assert urls[0] == [INVOICE]
    assert set(map(str, urls[1:])) == {"None"}


async def test_a_host_or_path_is_matched_on_what_was_read_and_not_asked_for(tmp_path: Path) -> None:
    """The team sees those of its runs that have it; upstream is asked as without it."""
    with serving(*mixed(9)) as server:
        for query, seen in (("host=billing.example.com", 3), ("path=/api/invoice", 3), ("path=/api", 0), ("host=b", 0)):
            page = await asked(server, query, rules(tmp_path, WIDE))
            assert len(page["runs"]) == seen, query
        await asked(server, "", rules(tmp_path, WIDE))
        assert len({reading.call.query for reading in server.simulator.readings}) == 1


async def test_what_a_page_shows_is_what_clients_know_without_steps_or_payloads(tmp_path: Path) -> None:
    """The JavaScript client's own path gives the same page; upstream is not even asked for payloads."""
    done = Run("wfr_done", INVOICE, NOW_MS - 9000, labels=("a", "b"), flow_control_key="k").ended(SUCCESS, NOW_MS)
    with serving(done) as server:
        page = await asked(server, "", rules(tmp_path))
        assert page == await asked(server, "groupBy=workflowRunId", rules(tmp_path), events=True)
        assert all("trimBody=true" in reading.call.query for reading in server.simulator.readings)
    assert page["runs"] == [
        {
            "workflowRunId": "wfr_done",
            "workflowUrl": INVOICE,
            "workflowState": "RUN_SUCCESS",
            "workflowRunCreatedAt": NOW_MS - 9000,
            "workflowRunCompletedAt": NOW_MS,
            "workflowRunCallerIp": "203.0.113.7",
            "flowControlKey": "k",
            "label": "a",
            "labels": ["a", "b"],
            "steps": [],
        }
    ]


def full_entry(**members: object) -> str:
    """A page with one run and everything that upstream may say of it."""
    entry = run(1).wire() | {
        "steps": [{"type": "sequential", "steps": [SECRETS]}],
        "workflowRunResponse": "the payload",
        "failureFunction": {"headers": {"Authorization": ["x"]}},
        "dlqId": "dlq_1",
        "invoker": {"workflowRunId": "wfr_other"},
        "unknown": "the payload",
        **members,
    }
    return json.dumps({"cursor": "", "runs": [entry]})


async def shown(text: str, speaking: TeamRules, query: str = "") -> list[dict[str, Any]]:
    """What of a page of upstream's is shown."""
    with serving() as server:
        server.simulator.script(Fault(on=Kind.LOGS, status=200, body=text))
        runs: list[dict[str, Any]] = (await asked(server, query, speaking))["runs"]
        return runs


async def test_payloads_and_headers_are_shown_only_where_a_rule_says_so(tmp_path: Path) -> None:
    """Not even where upstream sends them unasked; and never what nobody knows."""
    [trimmed] = await shown(full_entry(), rules(tmp_path))
    assert trimmed["steps"] == []
    assert "payload" not in json.dumps(trimmed)
    [full] = await shown(full_entry(), rules(tmp_path, FULL))
    assert full["steps"] == [{"type": "sequential", "steps": [SECRETS]}]
    assert full["workflowRunResponse"] == "the payload"
    assert "unknown" not in full
    assert await shown(full_entry(), rules(tmp_path, FULL), "trimBody=true") == [trimmed]


@pytest.mark.parametrize("token", [READING, WRITING])
async def test_a_token_in_a_payload_is_not_shown_and_one_in_a_run_hides_it(tmp_path: Path, token: str) -> None:
    """A step may have been called with the account's token; the run is shown without what its steps say."""
    [without] = await shown(
        full_entry(steps=[{"headers": {"Authorization": [f"Bearer {token}"]}}]), rules(tmp_path, FULL)
    )
    assert without["steps"] == []
    assert await shown(full_entry(labels=[token]), rules(tmp_path, FULL)) == []


@pytest.mark.parametrize("token", [READING, WRITING])
async def test_a_token_in_base64_or_in_hex_is_one_too(tmp_path: Path, token: str) -> None:
    """Upstream keeps bodies in base64; a run itself can name a token in hex."""
    body = base64.b64encode(json.dumps({"headers": {"Authorization": f"Bearer {token}"}}).encode()).decode()
    for members in ({"steps": [{"body": body}]}, {"steps": [token.encode().hex()]}, {"steps": [[*token.encode()]]}):
        [without] = await shown(full_entry(**members), rules(tmp_path, FULL))
        assert without["steps"] == []
    assert await shown(full_entry(labels=[token.encode().hex()]), rules(tmp_path, FULL)) == []


UNREADABLE_WITH_PAYLOADS = {
    "too long": '{"cursor": "", "runs": ["' + "x" * MAX_PAGE_BYTES + '"]}',
    "too deep": '{"cursor": "", "runs": [' + "[" * 100_000 + "]" * 100_000 + "]}",
}


@pytest.mark.parametrize("body", UNREADABLE_WITH_PAYLOADS.values(), ids=list(UNREADABLE_WITH_PAYLOADS))
async def test_a_page_that_others_payloads_make_unreadable_is_read_again_without(tmp_path: Path, body: str) -> None:
    """What another team's runs returned keeps nobody from seeing runs of its own, without payloads then."""
    with serving(*mixed(9)) as server:
        server.simulator.script(Fault(on=Kind.LOGS, status=200, body=body))
        page = await asked(server, "", rules(tmp_path, FULL))
        asked_for = [query_values(reading.call.query)["trimBody"] for reading in server.simulator.readings]
    assert [entry["workflowRunId"] for entry in page["runs"]] == ["wfr_00006", "wfr_00003", "wfr_00000"]
    assert all(entry["steps"] == [] for entry in page["runs"])
    # The faulty answer is no reading.
    assert asked_for == [["true"]]


async def test_a_page_that_is_unreadable_without_payloads_too_is_a_failure(tmp_path: Path) -> None:
    """Once more, and no more."""
    with serving(*mixed(9)) as server:
        server.simulator.script(Fault(on=Kind.LOGS, status=200, body="[]", times=2))
        with pytest.raises(LookupFailed):
            await asked(server, "", rules(tmp_path, FULL))
        assert server.simulator.readings == ()


async def test_an_answer_holds_as_many_runs_as_fit_and_the_next_goes_on(tmp_path: Path) -> None:
    """Ten payloads of eight megabytes are not written at once; each run is shown, and once."""
    long = "x" * (MAX_ANSWER_BYTES // 3)
    entries = [{**run(number).wire(), "workflowRunResponse": long, "steps": []} for number in range(6)]
    pages = [json.dumps({"cursor": cursor, "runs": entries[at : at + 4]}) for at, cursor in ((0, "c"), (4, ""))]
    found: list[list[str]] = []
    with serving() as server:
        # The first page again, and then the second, each time with what was left of the one before.
        server.simulator.script(*(Fault(on=Kind.LOGS, status=200, body=pages[at]) for at in (0, 0, 1, 1, 1)))
        async with opened(server.url) as log:
            cursor, speaking = "", rules(tmp_path, FULL)
            while not found or cursor:
                query = urlencode({"cursor": cursor} if cursor else {}).encode()
                page: Any = await own_runs(query, speaking, log, NOW_MS, events=False, principal=CI)
                found.append([entry["workflowRunId"] for entry in page["runs"]])
                assert len(orjson.dumps(page)) <= MAX_ANSWER_BYTES + 200
                cursor = page["cursor"]
    assert [len(page) for page in found] == [2, 2, 2]
    assert [run_id for page in found for run_id in page] == [entry["workflowRunId"] for entry in entries]


DEEP = json.loads("[" * 252 + "]" * 252)


@pytest.mark.parametrize(
    ("members", "with_payload"),
    [
        ({"steps": [{"n": 2**63}]}, True),
        ({"steps": [{"n": 2**64}]}, False),
        ({"steps": [{"n": -(2**63) - 1}]}, False),
        ({"steps": [{"out": "\ud800"}]}, False),
        ({"invoker": {"\udfff": 1}}, False),
        ({"steps": DEEP}, False),
        ({"workflowRunCompletedAt": 2**70}, False),
    ],
    ids=["64 bits", "more", "less", "half a character", "half a character's name", "deep", "an end that is no time"],
)
async def test_what_cannot_be_written_takes_no_other_run_with_it(
    tmp_path: Path, members: dict[str, object], with_payload: bool
) -> None:
    """A payload is somebody's own; its run is shown without, or left out, and the page goes on."""
    odd, plain = (json.loads(full_entry(**one))["runs"][0] for one in (members, {}))
    page = {"cursor": "", "runs": [odd, plain | {"workflowRunId": "wfr_00002"}]}
    shown_runs = await shown(json.dumps(page), rules(tmp_path, FULL))
    assert shown_runs[-1]["workflowRunResponse"] == "the payload"
    assert len(shown_runs) == 1 or ("workflowRunResponse" in shown_runs[0]) is with_payload
    orjson.dumps({"cursor": "", "runs": shown_runs})


async def test_a_name_that_stands_twice_leaves_out_its_entry_alone(tmp_path: Path) -> None:
    """What a run returned is passed on by upstream as it was written."""
    entry = full_entry()
    twice = entry.replace(
        '"runs": [', '"runs": [' + json.dumps(run(2).wire())[:-1] + ', "invoker": {"a": 1, "a": 2}}, '
    )
    assert [one["workflowRunId"] for one in await shown(twice, rules(tmp_path, FULL))] == ["wfr_00001"]


async def test_an_unreadable_run_is_left_out(tmp_path: Path) -> None:
    """What cannot be judged is not shown."""
    assert await shown(full_entry(workflowRunCreatedAt="yesterday"), rules(tmp_path, WIDE)) == []


async def test_what_upstream_shows_beyond_the_question_is_left_out(tmp_path: Path) -> None:
    """An upstream that ignores a filter makes no answer wider than what was asked for."""
    for query in (
        "state=RUN_FAILED",
        "label=x",
        "workflowRunId=wfr_2",
        "workflowCreatedAt=1700000000000",
        "toDate=1700000000000",
    ):
        assert await shown(full_entry(), rules(tmp_path), query) == []
    assert len(await shown(full_entry(), rules(tmp_path), "state=RUN_STARTED&workflowRunId=wfr_00001")) == 1


async def test_several_urls_are_alternatives_though_upstream_takes_one(tmp_path: Path) -> None:
    """Clients may name several; then upstream is not asked to compare them."""
    query = urlencode([("workflowUrl", INVOICE), ("workflowUrl", INVOICE + "/2")])
    with serving(run(1), run(2, url=INVOICE + "/2"), run(3, url=INVOICE + "/3")) as server:
        page = await asked(server, query, rules(tmp_path, WIDE))
        assert "workflowUrl" not in server.simulator.readings[0].call.query
    assert [entry["workflowRunId"] for entry in page["runs"]] == ["wfr_00002", "wfr_00001"]


async def test_a_cursor_that_leads_back_ends_the_answer(tmp_path: Path) -> None:
    """As it ends a look-up."""
    with serving() as server:
        server.simulator.script(Fault(on=Kind.LOGS, times=5, status=200, body='{"cursor": "a", "runs": []}'))
        with pytest.raises(LookupFailed) as failed:
            await asked(server, "", rules(tmp_path))
    assert failed.value.cause == "cursor"


async def test_the_callers_bytes_never_go_on(tmp_path: Path) -> None:
    """Upstream's question is rebuilt: our order, our encoding, the count that still fits."""
    with serving(*mixed(9)) as server:
        await asked(
            server, "count=9999&label=%61&groupBy=workflowRunId&fromDate=1700000000000", rules(tmp_path), events=True
        )
        [reading] = server.simulator.readings
    assert reading.call.path == "/v2/workflows/logs"
    assert reading.call.query == urlencode(
        [("label", "a"), ("fromDate", "1700000000000"), ("workflowUrl", INVOICE), ("trimBody", "true"), ("count", "10")]
    )


@pytest.mark.parametrize(
    ("query", "cause"),
    [
        ("groupBy=workflowRunId", "group_by"),
        ("Host=a", "unknown_parameter"),
        ("host=A", "value"),
        ("path=a", "value"),
        ("State=RUN_STARTED", "unknown_parameter"),
        ("%73tate=RUN_STARTED", "unknown_parameter"),
        ("state=", "empty_value"),
        ("state", "empty_value"),
        ("&", "unknown_parameter"),
        ("state=RUN_STARTED&state=RUN_FAILED", "repeated"),
        ("workflowUrl=https://a.example/b&workflowUrl=https://a.example/b", "value"),
        ("state=started", "value"),
        ("label=a,b", "comma"),
        ("label=a;b", "bad_escape"),
        ("label=%zz", "bad_escape"),
        ("label=%ff", "not_utf8"),
        ("count=0", "value"),
        ("count=01", "value"),
        ("fromDate=1700000000", "value"),
        ("fromDate=1700000000001&toDate=1700000000000", "value"),
        ("workflowRunId=a/b", "value"),
        ("workflowUrl=https://a.example", "value"),
        ("callerIp=localhost", "value"),
        ("trimBody=1", "value"),
        ("cursor=a+b", "value"),
    ],
)
def test_a_question_that_can_be_read_in_two_ways_is_refused(query: str, cause: str) -> None:
    """The grammar is that of a cancel; upstream would read some of these as every run."""
    with pytest.raises(MalformedRequest) as refused:
        parse_question(query.encode(), events=False)
    assert refused.value.cause == cause


@pytest.mark.parametrize("query", [b"", b"groupBy=messageId", b"groupBy=workflowRunId&groupBy=workflowRunId"])
def test_events_are_grouped_by_run_or_not_shown(query: bytes) -> None:
    """Without it the path lists messages of every kind."""
    with pytest.raises(MalformedRequest):
        parse_question(query, events=True)


@example(b"cursor=a%2Cb")
@given(st.binary(max_size=60) | st.text("=&;%+,aelbt0123", max_size=30).map(str.encode))
def test_reading_a_question_is_total(query: bytes) -> None:
    """Whatever the bytes are, there is a question or a MalformedRequest."""
    try:
        found = parse_question(query, events=False)
    except MalformedRequest:
        return
    assert isinstance(found, RunQuery)
