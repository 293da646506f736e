"""`explain` for operators and `POST /gateway/v1/explain` for callers: the gateway's own decision, and nothing sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cli.configs import CONFIG, POLICY, write
from tests.cli.running import command
from tests.support.gateway import Answer, RunningGateway, Setup

NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there: what is sent comes back as unreachable."""

INVOICE = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with the shipped policies."""
    with RunningGateway(Setup(NOWHERE, tmp_path_factory.mktemp("explain"))) as running:
        yield running


def asked(
    gateway: RunningGateway, question: object, *, team: str | None = "billing", headers: Mapping[str, str] = JSON
) -> Answer:
    """The answer to a question."""
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    return gateway.request("POST", "/gateway/v1/explain", team=team, body=body, headers=headers)


@pytest.mark.parametrize("line", [f"DELETE /v2/workflows/runs?{INVOICE}", INVOICE, f"?{INVOICE}"])
def test_a_caller_learns_what_would_be_sent(gateway: RunningGateway, line: str) -> None:
    """The decision, what is left of the count, and the part of every rule about its team."""
    answer = asked(gateway, {"request": line})
    members = answer.json()
    assert (answer.status, members["enforced"], members["rule"]) == (200, "permit", "billing/own-workflows")
    assert members["effective"] == {
        "workflowUrl": ["https://billing.example.com/api/invoice"], "workflowUrlExactMatch": True, "count": 50
    }  # fmt: skip
    rules = members["rules"]
    assert isinstance(rules, list)
    results = {part["rule"]: part["result"] for part in rules}
    assert results == {
        "guardrails/everything": "no match", "guardrails/count-cap": "held", "guardrails/exact-url": "held",
        "billing/own-workflows": "admitted", "billing/own-runs": "not admitted",
    }  # fmt: skip


def test_a_question_may_be_about_any_action(gateway: RunningGateway) -> None:
    """A call, or a query with the action that it asks for, and the headers that say more of it."""
    url = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice"
    for question in (
        {"request": f"POST /v2/workflows/dlq/restart?{url}"},
        {"request": url, "action": "restart_dlq"},
        {"request": f"POST /v2/workflows/dlq/restart?{url}", "action": "restart_dlq", "headers": {}},
    ):
        members = asked(gateway, question, team="oncall").json()
        assert (members["action"], members["enforced"], members["rule"]) == ("restart_dlq", "permit", "recovery/failed")
    overriding = {"request": url, "action": "restart_dlq", "headers": {"Upstash-Retries": "3"}}
    members = asked(gateway, overriding, team="oncall").json()
    assert (members["enforced"], members["asked"]["Upstash-Retries"]) == ("deny", "3")  # type: ignore[index]
    until = {"request": "POST /v2/queues/emails/pause", "headers": {"Gateway-Until": "90m"}}
    assert asked(gateway, until, team="oncall").json()["rule"] == "recovery/queues"


@pytest.mark.parametrize(
    "more",
    [
        {"action": "pause"}, {"action": "any"}, {"action": "stop"}, {"action": 5}, {"headers": []},
        {"headers": {"Upstash-Retries": 3}}, {"headers": {"Upstash-Retries": "3"}}, {"headers": {"X": "\ud800"}},
    ],
)  # fmt: skip
def test_a_question_says_one_thing_in_one_way(gateway: RunningGateway, more: dict[str, object]) -> None:
    """An action that the call is not about, or a header that says nothing in it, is malformed."""
    answer = asked(gateway, {"request": f"DELETE /v2/workflows/runs?{INVOICE}", **more})
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("query", "team"),
    [
        ("count=100", "billing"), ("label=x", "billing"), (INVOICE + "&label=weekly", "billing"),
        (INVOICE, "search"), ("workflowRunIds=wfr_billing_1", "search"),
    ],
)  # fmt: skip
def test_an_explained_refusal_is_the_refusal(gateway: RunningGateway, query: str, team: str) -> None:
    """Rule, sentence and nearest are those that the cancel itself would be answered with."""
    explained = asked(gateway, {"request": query}, team=team).json()
    refused = gateway.cancel(query, team=team).json()
    assert (explained["enforced"], explained["rule"]) == ("deny", refused["rule"])
    assert (explained["reason"], explained["nearest"]) == (refused["error"], refused.get("nearest"))


def test_a_question_is_recorded_and_never_sent(gateway: RunningGateway) -> None:
    """The record has `explained` with its decision, and no intent."""
    before = len(gateway.records("intent"))
    answer = asked(gateway, {"request": INVOICE, "reason": "may I?"})
    [record] = [
        each for each in gateway.records("explained") if each["decision_id"] == answer.headers["gateway-decision"]
    ]
    assert (record["decision"], record["enforced"], record["rule"]) == ("permit", "permit", "billing/own-workflows")
    assert (record["principal"], record["reason"]) == ("billing/billing-key", "may I?")
    assert "orders" not in record
    assert len(gateway.records("intent")) == before


def test_a_caller_sees_only_rules_about_its_own_team(gateway: RunningGateway) -> None:
    """The names and words of another team's rules are nowhere in the answer."""
    body = asked(gateway, {"request": "label=x"}, team="search").body
    assert b"search/named-runs" in body
    assert b"billing" not in body


def test_a_body_in_question_is_read_as_a_body(gateway: RunningGateway) -> None:
    """As an object or as text, with the dialect of older clients."""
    for body in ({"workflowRunIds": ["wfr_billing_1"]}, '{"workflowRunIds": ["wfr_billing_1"]}'):
        members = asked(gateway, {"request": "DELETE /v2/workflows/runs", "body": body}).json()
        assert (members["enforced"], members["rule"]) == ("permit", "billing/own-runs")


@pytest.mark.parametrize(
    "question",
    [
        b"", b"[]", b"{", b'{"request": "label=a", "request": "label=b"}', {}, {"request": 1},
        {"request": "label=a", "team": "search"}, {"request": "label=a", "reason": 5},
        {"request": "label=a", "body": []},
        {"request": "Label=a"}, {"request": "GET /v2/workflows/runs"}, {"request": "DELETE /v2/queues/q"},
        {"request": "label=a", "body": {}}, {"request": "label=a", "reason": "x\ny"}, {"request": "label=\ud800"},
        {"request": "", "body": '{"workflowRunIds": ["a"], "workflowRunIds": ["b"]}'},
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_read_in_one_way_is_malformed(gateway: RunningGateway, question: object) -> None:
    """A question is read as strictly as a cancel."""
    answer = asked(gateway, question)
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, JSON | {"Content-Encoding": "gzip"}])
def test_a_question_is_plain_json(gateway: RunningGateway, headers: dict[str, str]) -> None:
    """Nothing is guessed from the bytes."""
    assert asked(gateway, {"request": "label=a"}, headers=headers).status == 400


@pytest.mark.parametrize("path", ["explain", "plans"])
@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_question_without_a_body_is_told_what_to_send(
    gateway: RunningGateway, path: str, headers: dict[str, str]
) -> None:
    """Nothing about its Content-Type, which may well be there."""
    answer = gateway.request("POST", f"/gateway/v1/{path}", headers=headers)
    assert answer.status == 400
    assert str(answer.json()["error"]).startswith('Send a body: {"request": ')


def test_the_path_is_closed_to_strangers_and_to_other_methods(gateway: RunningGateway) -> None:
    """Without a key 401, with one 405 for another method, 400 for a query and 404 for another spelling."""
    assert asked(gateway, {"request": "label=a"}, team=None).status == 401
    wrong = gateway.request("DELETE", "/gateway/v1/explain")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert gateway.request("POST", "/gateway/v1/explain?x=y", body=b"{}", headers=JSON).status == 400
    assert gateway.request("POST", "/gateway/v1/explain/", body=b"{}", headers=JSON).status == 404


def test_the_limits_of_a_cancel_hold_for_a_question(tmp_path: Path) -> None:
    """Too many IDs are 413, and questions count among the requests of a principal."""
    limits = "{max_run_ids: 2, per_principal: {in_flight: 4, requests_per_minute: 2}}"
    with RunningGateway(Setup(NOWHERE, tmp_path / "gateway", limits=limits)) as running:
        body = {"workflowRunIds": ["a", "b", "c"]}
        assert asked(running, {"request": "", "body": body}).status == 413
        assert asked(running, {"request": "label=a"}).status == 200
        assert asked(running, {"request": "label=a"}).status == 429


def explained(config: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `explain`."""
    done = command("explain", "--config", str(config), "--team", "billing", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_a_request_in_several_words_is_told_to_be_one(tmp_path: Path) -> None:
    """A shell splits at a space and at `&`; nothing is judged that is only a part of what was meant."""
    config = write(tmp_path, config=CONFIG)
    code, out, err = explained(config, "workflowUrl=https://billing.example.com/api/invoice", "count=5")
    assert (code, out) == (2, "")
    assert "one request: join the parts with & and quote it" in err
    assert "usage: qstash-gateway explain" in err
    assert "more" not in err


def test_an_operator_sees_every_rules_part(tmp_path: Path) -> None:
    """The rule that decides is marked, and the count is followed."""
    config = write(tmp_path, config=CONFIG)
    url = "https://billing.example.com/api/invoice"
    code, out, err = explained(config, INVOICE)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"asked: workflowUrl {url}; workflowUrlExactMatch=true; count 100",
        f"permit by billing/own: workflowUrl {url}; workflowUrlExactMatch=true; count 50",
        "-> allow   billing/own admitted (count 100 to 50)",
    ]


def test_an_operator_sees_why_not(tmp_path: Path) -> None:
    """A refusal is explained with exit code 0: the question was answered."""
    code, out, _ = explained(write(tmp_path), "label=nightly")
    assert code == 0
    assert "deny by default: No rule of your team allows this request." in out
    assert "   allow   billing/own not admitted: the rule does not mention label" in out


FAILED = """\
version: 1
name: failed
teams: [billing]
allow:
  - {id: again, action: restart_dlq, label: {any_of: [a]}, overrides: true, resolve: true, runs: {cap: 9}}
  - {id: hold, action: [pause, resume], queue: {any_of: [mail]}}
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["label=a", "--action", "restart_dlq"], "asked: restart_dlq: label a; count 100"),
        (
            ["POST /v2/workflows/dlq/restart?label=a"],
            "the entries are looked up, judged and restarted by ID: at most 9",
        ),
        (["label=a", "--action", "restart_dlq", "--header", "Upstash-Retries: 3"], "permit by failed/again"),
        (["label=a", "--action", "restart_dlq", "--header", "Upstash-Label: b"], "is never passed on"),
        (["POST /v2/queues/mail/pause", "--header", "Gateway-Until: 2h"], "permit by failed/hold"),
        (
            ["POST /v2/queues/post/pause"],
            "allow   failed/hold not admitted: queue: mail; queue 'post' is not among them",
        ),
        (["POST /v2/queues/mail/pause", "--action", "resume"], "malformed: this call is pause, not resume"),
        (["label=a"], "deny by default"),
        (["label=a", "--action", "publish"], "invalid Action value: 'publish'"),
        (["label=a", "--header", "Upstash-Retries"], "a header as 'Name: value'"),
    ],
)
def test_an_operator_asks_about_any_action(tmp_path: Path, arguments: list[str], said: str) -> None:
    """A call says what it asks for, `--action` what a query does, and `--header` what else stands in the head."""
    _, out, err = explained(write(tmp_path, policy=FAILED), *arguments)
    assert said in out + err


def test_json_has_the_same_members_as_the_answer_to_a_caller(tmp_path: Path, gateway: RunningGateway) -> None:
    """Operators and callers read one format."""
    code, out, _ = explained(write(tmp_path), "--json", "--body", '{"workflowRunIds": ["a"]}', "")
    assert code == 0
    assert json.loads(out).keys() == asked(gateway, {"request": "label=a"}).json().keys()


def test_the_time_is_given_or_now(tmp_path: Path) -> None:
    """`--at` judges a window at any time."""
    policy = "version: 1\nname: billing\nteams: [billing]\nallow:\n  - {id: recent, created: {within_last: 1h}}\n"
    config = write(tmp_path, policy=policy)
    query = "fromDate=1767268800000"
    assert "permit by billing/recent" in explained(config, "--at", "2026-01-01T12:30:00Z", query)[1]
    assert "deny by default" in explained(config, "--at", "2026-01-01T13:30:00Z", query)[1]
    assert explained(config, "--at", "noon", query)[0] == 2


@pytest.mark.parametrize("request_line", ["Label=a", "GET /v2/workflows/runs", "label=a,b"])
def test_a_request_that_the_gateway_would_not_read_exits_with_1(tmp_path: Path, request_line: str) -> None:
    """Nothing is judged, and the reason is on standard error."""
    code, out, err = explained(write(tmp_path), request_line)
    assert (code, out) == (1, "")
    assert err.startswith("malformed: ")


def test_a_broken_policy_exits_with_3(tmp_path: Path) -> None:
    """An explanation by half a policy would be none."""
    config = write(tmp_path, policy="version: 2\n")
    assert explained(config, "label=a")[0] == 3


ISSUER = """\
callers:
  jwt:
    - issuer: https://issuer.example
      audience: a
      algorithms: [RS256]
      jwks: {url: "https://issuer.example/keys"}
      claims: {sub: [s]}
      team: {claim: group, teams: [shipping]}
"""
OTHER = CONFIG[CONFIG.index("callers:") : CONFIG.index("policies:")]
KNOWN = {
    "a key": (OTHER.replace("team: billing", "team: shipping"), POLICY),
    "an issuer": (ISSUER, POLICY),
    "a policy": (OTHER, POLICY.replace("[billing]", "[billing, shipping]")),
    "an exception": (OTHER, POLICY.replace("{id: own,", "{id: own, except: [shipping],")),
}


@pytest.mark.parametrize(("callers", "policy"), KNOWN.values(), ids=KNOWN)
def test_a_team_that_nothing_names_is_called_a_typing_error(tmp_path: Path, callers: str, policy: str) -> None:
    """Where a key, an issuer's mapping, a policy or an exception names the team there is nothing to say of it."""
    path = write(tmp_path, config=CONFIG.replace(OTHER, callers), policy=policy)
    known = command("explain", "--config", str(path), "--team", "shipping", INVOICE)
    assert known.stdout.startswith("asked: "), known.stderr
    mistyped = command("explain", "--config", str(path), "--team", "shiping", INVOICE)
    assert mistyped.returncode == 0
    said = "No key, no issuer and no policy names the team 'shiping', so nobody can call as it. "
    assert mistyped.stdout.startswith(f"{said}Did you mean 'shipping'?")
    members = json.loads(command("explain", "--config", str(path), "--team", "shiping", INVOICE, "--json").stdout)
    assert members["unknown_team"].startswith(said)
