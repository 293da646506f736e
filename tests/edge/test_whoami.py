"""`GET /gateway/v1/whoami` on a running gateway."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

from gateway.core.request import Principal
from gateway.edge.pages.questions import whoami
from gateway.policy.rules import Policies
from gateway.simulator.server import SimulatorServer
from tests.core.strategies import NOW_MS
from tests.support.gateway import RunningGateway, Setup

WHOAMI = "/gateway/v1/whoami"


def test_a_team_sees_what_it_may_do_and_may_do_it(gateway: RunningGateway) -> None:
    """The shipped policies in words; each example, sent as it stands, is carried out."""
    page = gateway.request("GET", WHOAMI).json()
    assert (page["team"], page["principal"], page["expires"]) == ("billing", "billing/billing-key", None)
    rules = page["rules"]
    assert isinstance(rules, list)
    assert {rule["rule"]: rule["words"].partition(";")[0] for rule in rules} == {
        "billing/own-runs": "at most 20 of the runs that are named by ID (at most 20 IDs beginning with wfr_billing_)",
        "billing/own-workflows": "at most 50 of the runs of exactly https://billing.example.com/api/invoice",
    }
    for rule in rules:
        example = dict(rule["example"])
        if "workflowRunIds" in example:
            del example["count"]
        query = urlencode({name: "true" if value is True else value for name, value in example.items()}, doseq=True)
        assert gateway.cancel(query).status == 200


def test_a_team_sees_what_else_it_may_do(gateway: RunningGateway) -> None:
    """By action, each rule with a request line that `explain` permits by it; a team without such rules sees none."""
    assert gateway.request("GET", WHOAMI).json()["actions"] == []
    actions = gateway.request("GET", WHOAMI, team="oncall").json()["actions"]
    assert isinstance(actions, list)
    assert {one["action"]: [rule["rule"] for rule in one["rules"]] for one in actions} == {
        "delete_dlq": ["recovery/entries"],
        "resume_dlq": ["recovery/entries", "recovery/failed"],
        "restart_dlq": ["recovery/entries", "recovery/failed"],
        "cancel_messages": ["recovery/messages"],
        "pause": ["recovery/keys", "recovery/queues"],
        "resume": ["recovery/keys", "recovery/queues"],
    }
    headers = {"Content-Type": "application/json"}
    for one in actions:
        for rule in one["rules"]:
            body = json.dumps({"request": rule["request"]}).encode()
            answer = gateway.request("POST", "/gateway/v1/explain", team="oncall", body=body, headers=headers).json()
            assert (answer["action"], answer["rule"], answer["enforced"]) == (one["action"], rule["rule"], "permit")


def test_a_rule_in_shadow_mode_is_no_permission(gateway: RunningGateway) -> None:
    """It admits nothing, so it is not shown."""
    rules = gateway.request("GET", WHOAMI, team="search").json()["rules"]
    assert isinstance(rules, list)
    assert [rule["rule"] for rule in rules] == ["search/named-runs"]


def test_each_rule_says_whom_to_ask(simulator: SimulatorServer, tmp_path: Path) -> None:
    """In `whoami`, in a refusal and its sentence, and in `explain`: the owner that the policy file names."""
    owner = {"team": "Billing platform", "contact": "#billing-oncall"}
    policy = (
        "version: 1\nname: own\nteams: [billing]\nowner: {team: Billing platform, contact: '#billing-oncall'}\n"
        "allow:\n  - {id: r, label: {any_of: [nightly]}}\n"
    )
    setup = Setup(simulator.url, tmp_path / "gateway", policies={"own.yaml": policy})
    with RunningGateway(setup) as gateway:
        assert [rule["owner"] for rule in gateway.request("GET", WHOAMI).json()["rules"]] == [owner]  # type: ignore[attr-defined]
        refused = gateway.cancel("label=weekly").json()
        body, headers = b'{"request": "label=weekly"}', {"Content-Type": "application/json"}
        explained = gateway.request("POST", "/gateway/v1/explain", body=body, headers=headers).json()
    for members in (refused, explained):
        assert members["owner"] == owner
        assert members["not_admitted"] == {"rule": "own/r", "field": "label", "value": "weekly"}
    assert str(refused["error"]).endswith("Ask Billing platform: #billing-oncall.")


def test_a_team_without_rules_may_do_nothing(gateway: RunningGateway) -> None:
    """An empty list, and no other team's rules."""
    assert gateway.request("GET", WHOAMI, team="newcomers").json()["rules"] == []


def test_without_a_key_there_is_no_page(gateway: RunningGateway) -> None:
    """Who is not known is nobody here."""
    assert gateway.request("GET", WHOAMI, team=None).status == 401


def test_the_page_is_only_read(gateway: RunningGateway) -> None:
    """Every other method is 405, and the answer names the one that is not."""
    for method in ("DELETE", "POST", "PUT", "HEAD", "OPTIONS"):
        answer = gateway.request(method, WHOAMI)
        assert (answer.status, answer.headers["allow"]) == (405, "GET")
    assert gateway.request("GET", f"{WHOAMI}/").status == 404


def test_it_counts_as_a_request(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Looking is throttled with everything else that a key does."""
    limits = "{per_principal: {requests_per_minute: 2}}"
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", limits=limits)) as gateway:
        assert [gateway.request("GET", WHOAMI).status for _ in range(3)] == [200, 200, 429]


def test_nothing_is_sent_upstream_for_it(gateway: RunningGateway, simulator: SimulatorServer) -> None:
    """It is the gateway's own knowledge."""
    gateway.request("GET", WHOAMI)
    assert simulator.ledger == ()


def test_an_end_behind_all_dates_is_the_last_of_them() -> None:
    """A key may be good to 9999-12-31, and a token may name any number."""
    for expires_ms in (253_402_300_800_000, 10**30):
        page = whoami(Principal("a", "b", expires_ms=expires_ms), Policies((), "0"), NOW_MS)
        assert page["expires"] == "9999-12-31T23:59:59Z"
    page = whoami(Principal("a", "b", expires_ms=1_800_000_000_000), Policies((), "0"), NOW_MS)
    assert page["expires"] == "2027-01-15T08:00:00Z"
