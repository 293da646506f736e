"""A credential in the place of a value is refused before it is recorded or sent: one rule for every value."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.edge.wire import Edge
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup, new_key

URL = "https://billing.example.com/api/invoice"
POLICY = """\
version: 1
name: p
teams: [billing]
allow:
  - {id: all, workflowUrl: {any: true}, label: {any: true}, flowControlKey: {any: true}, count: {cap: 5}}
  - {id: runs, workflowRunIds: {any: true}, owner: unchecked}
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A gateway whose policy allows all of it."""
    with SimulatorServer(Simulator(()), token=REAL_TOKEN) as upstream:
        directory = tmp_path_factory.mktemp("misplaced")
        read = directory / "read-token"
        read.write_text(upstream.read_token)
        read.chmod(0o600)
        setup = Setup(
            upstream.url, directory, policies={"p.yaml": POLICY}, teams=("billing",),
            upstream=", read_token: {file: read-token}",
        )  # fmt: skip
        with RunningGateway(setup) as gateway:
            yield Edge(gateway, upstream)


def quoted(secret: str) -> str:
    """Percent-encoded for a query."""
    return quote(secret, safe="")


PLACES = {
    "a run ID": "workflowRunIds={}",
    "a label": "label={}",
    "a flow-control key": "flowControlKey={}",
    "a path": f"workflowUrl={URL}/{{}}&workflowUrlExactMatch=true",
    "a query of a URL": f"workflowUrl={URL}?key={{}}&workflowUrlExactMatch=true",
    "a prefix": f"workflowUrl={URL}/{{}}/",
    "an address": "callerIp={}",
    "a date": "fromDate={}",
    "a count": "label=a&count={}",
    "a name": "{}=1",
}

SECRETS: dict[str, Callable[[Edge], str]] = {
    "their own key": lambda edge: edge.gateway.key("billing"),
    "another key": lambda edge: new_key("search-ci"),
    "the real token": lambda edge: REAL_TOKEN,
    "the read token": lambda edge: edge.simulator.read_token,
    "the real token in base64": lambda edge: base64.urlsafe_b64encode(f"a {REAL_TOKEN}".encode()).decode().rstrip("="),
    "the real token in hex": lambda edge: REAL_TOKEN.encode().hex(),
    "their own key in base64": lambda edge: base64.urlsafe_b64encode(edge.gateway.key("billing").encode()).decode(),
}


def check_unrecorded(edge: Edge, answer: Answer, secret: str) -> None:
    """The request was malformed, nothing of the secret was recorded, said or sent."""
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    assert secret.encode() not in answer.body
    said = json.dumps(edge.gateway.records()).encode() + edge.gateway.said()
    assert secret.encode() not in said
    assert not [entry for entry in edge.reached if secret in entry.call.query]


@pytest.mark.parametrize("what", SECRETS)
@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_a_value_is_refused_and_not_recorded(edge: Edge, place: str, what: str) -> None:
    """Wherever a value may stand, in a cancel, a preview and a question for runs."""
    secret = SECRETS[what](edge)
    query = PLACES[place].format(quoted(secret))
    check_unrecorded(edge, edge.gateway.request(target=f"/v2/workflows/runs?{query}"), secret)
    check_unrecorded(edge, edge.gateway.request(target=f"/preview/v2/workflows/runs?{query}"), secret)
    check_unrecorded(edge, edge.gateway.request("GET", target=f"/v2/workflows/logs?{query}"), secret)


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_in_a_reason_a_body_or_a_question_is_refused_and_not_recorded(edge: Edge, what: str) -> None:
    """The header, the older clients' body, `explain` and plans are read by the same rule."""
    secret, gateway, body = SECRETS[what](edge), edge.gateway, {"Content-Type": "application/json"}
    own = f"/v2/workflows/runs?workflowUrl={quoted(URL)}&workflowUrlExactMatch=true"
    if len(secret) <= 190:
        check_unrecorded(edge, gateway.request(target=own, headers={"Gateway-Reason": f"with {secret}"}), secret)
    bodies: list[dict[str, object]] = [{"workflowRunIds": [secret]}, {"workflowUrl": f"{URL}/{secret}/"}]
    for members in bodies:
        check_unrecorded(edge, gateway.request(body=json.dumps(members).encode(), headers=body), secret)
    questions: list[dict[str, object]] = [
        {"request": f"DELETE {own}", "reason": f"{secret} in words"[:200]},
        {"request": f"label={quoted(secret)}"},
        {"request": "", "body": {"workflowUrl": f"{URL}/{secret}/"}},
    ]
    for members in questions:
        for path in ("/gateway/v1/explain", "/gateway/v1/plans"):
            asked = gateway.request("POST", path, body=json.dumps(members).encode(), headers=body)
            check_unrecorded(edge, asked, secret)
    check_unrecorded(edge, gateway.request("GET", target=f"/v2/workflows/logs?cursor={quoted(secret)}"), secret)


def test_a_value_without_a_secret_is_not_taken_for_one(edge: Edge) -> None:
    """Long, random and encoded values that hold nothing."""
    for value in ("qgk_is-our-prefix", "a" * 200, base64.urlsafe_b64encode(b"nothing of it" * 9).decode().rstrip("=")):
        assert edge.gateway.request(target=f"/v2/workflows/runs?label={value}").status == 200


@pytest.mark.parametrize("question", [{"request": "label=\ud800"}, {"request": "", "body": '{"\udfff": 1}'}])
def test_half_of_a_character_in_a_question_is_told_in_plain_words(edge: Edge, question: dict[str, str]) -> None:
    """No text of the interpreter's is an answer."""
    answer = edge.gateway.request(
        "POST", "/gateway/v1/explain", body=json.dumps(question).encode(), headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    assert "half of a surrogate pair" in str(answer.json()["error"])
    assert "codec" not in str(answer.json()["error"])
