"""What became of a decision, as its team reads it over the wire: at once, later, and from the next process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.audit.decisions.index import NAME, discard
from gateway.cli.main import main
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.conftest import NOW_MS
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.proxies import HeldAnswers
from tests.support.repeats import repeated
from tests.support.waiting import until

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
IDS = "workflowRunIds=wfr_billing_1&workflowRunIds=wfr_billing_2"
PATH = "/gateway/v1/decisions"
READING = "CANARY" + secrets.token_hex(24)
MEMBERS = (
    *("decision_id", "at", "team", "principal", "action", "request", "rule", "decision", "state", "cancelled"),
    *("over_cancelled", "orders", "upstream_status", "settled", "reason", "policy_digest"),
)


def decision(gateway: RunningGateway, answer: Answer | str, *, team: str = "billing") -> Answer:
    """Asks what became of the decision that an answer names."""
    decision_id = answer if isinstance(answer, str) else answer.headers["gateway-decision"]
    return gateway.request("GET", f"{PATH}/{decision_id}", team=team)


def listed(gateway: RunningGateway, query: str = "", *, team: str = "billing") -> tuple[list[dict], str]:
    """One page."""
    answer = gateway.request("GET", PATH + query, team=team)
    assert answer.status == 200, answer
    members = answer.json()
    return members["decisions"], members["cursor"]  # type: ignore[return-value]


def killed(gateway: RunningGateway) -> None:
    """Kills the process; its streams stay."""
    gateway.kill()
    gateway.stop()


def test_a_decision_says_what_became_of_it(gateway: RunningGateway) -> None:
    """It has exactly the documented members, the same in the list, and none names a key or an address."""
    sent, refused = gateway.cancel(OWN), gateway.cancel("count=3")
    one, other = decision(gateway, sent).json(), decision(gateway, refused).json()
    assert tuple(one) == tuple(other) == MEMBERS
    assert (one["state"], one["cancelled"], one["orders"]) == ("cancelled", 50, {"planned": 1, "sent": 1})
    assert (other["state"], other["cancelled"], other["decision"]) == ("denied", 0, "deny")
    assert listed(gateway) == ([other, one], "")


def test_what_policy_never_judged_is_no_decision(simulator: SimulatorServer, tmp_path: Path) -> None:
    """A malformed request, one above a limit and a question have an ID, and no decision under it."""
    limits = "{per_principal: {in_flight: 16, requests_per_minute: 2}}"
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", limits=limits)) as gateway:
        none = [gateway.cancel("Label=x"), gateway.cancel("label="), gateway.cancel(OWN)]
        assert [answer.status for answer in none] == [400, 400, 429]
        gateway.stop()
        gateway.setup.limits = "{per_principal: {in_flight: 16, requests_per_minute: 0}}"
        gateway.start()
        until(lambda: gateway.request("GET", PATH).status == 200)
        assert [decision(gateway, answer).status for answer in none] == [404, 404, 404]
        assert listed(gateway) == ([], "")


def test_the_decision_of_another_team_is_as_one_that_never_was(gateway: RunningGateway) -> None:
    """Byte for byte but for the ID of the answer itself; and no list, and no cursor, leads to it."""
    theirs = gateway.cancel(OWN)
    asked = theirs.headers["gateway-decision"], "0" * 8 + asked_rest(theirs), "not-an-id"
    answers = [decision(gateway, name, team="search") for name in asked]
    bodies = {
        (answer.status, answer.body.replace(answer.headers["gateway-decision"].encode(), b"")) for answer in answers
    }
    assert len(bodies) == 1
    assert answers[0].status == 404
    assert listed(gateway, team="search") == ([], "")
    gateway.cancel(f"{OWN}&count=7")
    _, cursor = listed(gateway, "?limit=1")
    assert listed(gateway, f"?cursor={cursor}", team="search") == ([], "")


def test_no_decision_of_another_team_is_told_from_none_without_an_index(gateway: RunningGateway) -> None:
    """What memory holds for its own team is to any other as what nobody knows: both have to wait."""
    theirs = gateway.cancel(OWN)
    asked = theirs.headers["gateway-decision"], "0" * 8 + asked_rest(theirs)
    discard(gateway.audit_directory)
    (gateway.audit_directory / NAME / "in-its-place").mkdir(parents=True)
    until(lambda: gateway.request("GET", PATH).status == 503)
    time.sleep(2)
    assert [decision(gateway, name, team="search").status for name in asked] == [503, 503]
    assert decision(gateway, theirs).status == 200


def asked_rest(answer: Answer) -> str:
    """An ID without its first digits."""
    return answer.headers["gateway-decision"][8:]


@pytest.mark.parametrize(
    "query",
    ["?limit=0", "?limit=101", "?limit=+5", "?limit=05", "?cursor=x", "?cursor=" + "A" * 500, "?team=a", "?limit"],
)
def test_a_question_that_is_not_clear_is_refused(gateway: RunningGateway, query: str) -> None:
    """The bounds hold, and only a cursor of this form is taken."""
    assert gateway.request("GET", PATH + query).status == 400


def test_pages_have_no_gap_and_no_repeat_while_decisions_are_made(gateway: RunningGateway) -> None:
    """What is new stands before the pages that are read."""
    made = [gateway.cancel(f"count={number}").headers["gateway-decision"] for number in range(1, 24)]
    seen, cursor = [], ""
    while True:
        page, cursor = listed(gateway, f"?limit=5{cursor and '&cursor=' + cursor}")
        seen += [one["decision_id"] for one in page]
        if not cursor:
            break
        gateway.cancel("count=99")
    assert seen == made[::-1]


def test_an_unknown_outcome_leads_to_its_decision(simulator: SimulatorServer, tmp_path: Path) -> None:
    """The 504 names the page, which says at once what the record says; while it is sent, it is in flight."""
    simulator.simulator.script(Fault(acts=True, ending=Ending.HANG))
    with (
        RunningGateway(
            Setup(simulator.url, tmp_path / "gateway", upstream=", total_timeout_s: 2, read_token: {file: read-token}")
        ) as gateway,
        ThreadPoolExecutor(1) as callers,
    ):
        asked = callers.submit(gateway.cancel, OWN)
        until(lambda: gateway.records("intent"))
        under_way = decision(gateway, str(gateway.records("intent")[0]["decision_id"])).json()
        answer = asked.result()
        after = gateway.request("GET", str(answer.json()["status_url"])).json()
    assert (under_way["state"], under_way["cancelled"], under_way["orders"]) == (
        *("in_flight", None),
        {"planned": 1, "sent": 1},
    )
    assert (answer.status, answer.json()["status_url"]) == (504, f"{PATH}/{answer.headers['gateway-decision']}")
    assert str(answer.json()["status_url"]) in str(answer.json()["error"])
    assert (after["state"], after["cancelled"]) == ("unknown", None)


def test_a_repeat_shows_the_decision_that_it_joined(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Under its own ID, with a header that names the other; the list has each decision once."""
    with (
        HeldAnswers(simulator.port) as upstream,
        RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as gateway,
    ):
        sent, repeat = repeated(gateway, upstream, OWN)
        joined, own = decision(gateway, repeat), decision(gateway, sent)
        stranger = decision(gateway, repeat, team="search")
        page, _ = listed(gateway)
        gateway.stop()
        gateway.start()
        until(lambda: gateway.request("GET", PATH).status == 200)
        later = decision(gateway, repeat)
    assert joined.headers["gateway-joined"] == sent.headers["gateway-decision"]
    assert "gateway-joined" not in own.headers
    assert joined.json() == {**own.json(), "decision_id": repeat.headers["gateway-decision"]}
    assert later.json() == joined.json()
    assert stranger.status == 404
    assert page == [own.json()]


def test_the_next_process_shows_the_same_with_or_without_the_index(gateway: RunningGateway) -> None:
    """A deleted index is made from the chains; the record does not miss it, and no finding comes of it."""
    answers = [gateway.cancel(OWN), *(gateway.cancel(f"count={number}") for number in (1, 2, 3))]
    shown, page = [decision(gateway, answer).json() for answer in answers], listed(gateway)
    for without in (False, True):
        gateway.stop()
        if without:
            discard(gateway.audit_directory)
        gateway.start()
        until(lambda: gateway.request("GET", PATH).status == 200)
        assert [decision(gateway, answer).json() for answer in answers] == shown
        assert listed(gateway) == page
    gateway.stop()
    assert main(["audit", "verify", str(gateway.audit_directory)]) == 0


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway that can look runs up."""
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "read-token").write_text(READING)
    runs = make_runs(200, NOW_MS, seed=0)
    with SimulatorServer(Simulator(runs), token=REAL_TOKEN, read_token=READING) as server:
        # The first call is carried out and its answer lost, the second waits for ever.
        server.simulator.script(Fault(acts=True, ending=Ending.RESET))
        server.simulator.script(Fault(acts=True, ending=Ending.HANG))
        upstream = ", read_token: {file: read-token}"
        with RunningGateway(Setup(server.url, tmp_path / "gateway", upstream=upstream)) as running:
            yield running


def test_what_a_killed_process_followed_is_settled_by_the_next_one_once(reading: RunningGateway) -> None:
    """Also across two kills: whoever comes next follows it, and after that nobody does."""
    answer = reading.cancel(IDS)
    assert answer.status == 504
    for _ in range(2):
        killed(reading)
        reading.start()
    until(lambda: reading.records("settled"))
    shown = decision(reading, answer).json()
    killed(reading)
    reading.start()
    time.sleep(4)
    (settled,) = reading.records("settled")
    assert settled["decision_id"] == answer.headers["gateway-decision"]
    assert shown["settled"] == {"at": settled["ts"], "source": "read_back", "cancelled": settled["cancelled"]}
    assert (shown["state"], shown["cancelled"]) == ("unknown", settled["cancelled"])


def test_an_outcome_that_recovery_closed_is_followed_too(reading: RunningGateway) -> None:
    """The process died between the intent and its outcome: the run IDs are in the record."""
    reading.cancel("workflowRunIds=wfr_billing_9")
    with ThreadPoolExecutor(1) as callers:
        asked = callers.submit(reading.cancel, IDS)
        until(lambda: len(reading.records("intent")) == 2)
        killed(reading)
        asked.exception()
    reading.start()
    until(lambda: len(reading.records("settled")) == 2)
    assert sorted(settled["ordered"] for settled in reading.records("settled")) == [1, 2]  # type: ignore[type-var]


def test_of_two_processes_that_start_at_once_one_follows(reading: RunningGateway, tmp_path: Path) -> None:
    """The other finds the chain locked, and leaves it."""
    answer = reading.cancel(IDS)
    killed(reading)
    second = RunningGateway(reading.setup)
    with second, ThreadPoolExecutor(2) as starting:
        starting.submit(reading.start).result()
        until(lambda: reading.records("settled"))
        time.sleep(3)
        assert [one["decision_id"] for one in reading.records("settled")] == [answer.headers["gateway-decision"]]


def test_a_second_gateway_of_the_directory_answers_too(gateway: RunningGateway, tmp_path: Path) -> None:
    """It does not write the index, and answers from it soon after its start, also of what the other decides then."""
    first = gateway.cancel(OWN)
    audit = f"{{directory: {gateway.audit_directory}, durability: os}}"
    with RunningGateway(replace(gateway.setup, directory=tmp_path / "second", audit=audit)) as second:
        until(lambda: second.request("GET", PATH).status == 200)
        own, later = second.cancel("count=3"), gateway.cancel("count=4")
        statuses = {decision(second, later).status, second.request("GET", PATH).status}
        until(lambda: decision(second, later).status == 200)
        assert statuses <= {200, 404}
        until(lambda: listed(second) == listed(gateway))
        expected = [answer.headers["gateway-decision"] for answer in (later, own, first)]
        assert [one["decision_id"] for one in listed(second)[0]] == expected
