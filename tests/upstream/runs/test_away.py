"""While QStash is away nothing is looked up and nothing sent; callers, operators and the record say so plainly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway
from tests.upstream.runs.reading import INVOICE, run
from tests.upstream.runs.test_served import READING, setup

ROOT = Path(__file__).parents[3]
QUERY = f"workflowUrl={INVOICE}&workflowUrlExactMatch=true"
NOTHING = "Nothing was sent and nothing was cancelled."
ASKS = ("cancel", "preview", "plan", "logs")


def ask(gateway: RunningGateway, what: str) -> Answer:
    """One of the calls for which runs are looked up."""
    match what:
        case "cancel":
            return gateway.cancel(QUERY)
        case "preview":
            return gateway.request("DELETE", f"/preview/v2/workflows/runs?{QUERY}")
        case "plan":
            body = json.dumps({"request": QUERY}).encode()
            return gateway.request("POST", "/gateway/v1/plans", body=body, headers={"Content-Type": "application/json"})
    return gateway.request("GET", "/v2/workflows/logs")


def lines(gateway: RunningGateway) -> list[dict[str, object]]:
    """What the operators' log says of look-ups."""
    said = [json.loads(line) for line in gateway.stderr().splitlines()]
    return [line for line in said if line["event"] == "lookup_failed"]


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    with SimulatorServer(Simulator([run(1)]), token=REAL_TOKEN, read_token=READING) as server:
        yield server


def test_who_asks_while_qstash_is_away_reads_what_happened_and_what_to_do(tmp_path: Path) -> None:
    """Every kind of look-up: one sentence, the same one for operators, with the decision; nothing is to be closed."""
    with SimulatorServer(Simulator([run(1)]), token=REAL_TOKEN, read_token=READING) as server:
        gateway = RunningGateway(setup(server, tmp_path / "gateway"))
    with gateway:
        answers = {what: ask(gateway, what) for what in ASKS}
        told = lines(gateway)
        refused, intents = gateway.records("refused"), gateway.records("intent")
    for answer in answers.values():
        shown = answer.json()
        assert (answer.status, shown["code"], shown["cause"]) == (502, "lookup_failed", "unreachable")
        assert shown["error"] == (
            f"QStash cannot be reached, so the runs could not be looked up. {NOTHING} Try again later."
        )
    decisions = [answer.json()["decision_id"] for answer in answers.values()]
    assert [line["decision_id"] for line in told] == decisions
    assert [(line["cause"], line["reason"]) for line in told] == [("unreachable", "refused")] * len(ASKS)
    assert {line["said"] for line in told} == {answer.json()["error"] for answer in answers.values()}
    assert [(record["decision_id"], record["cause"]) for record in refused] == [
        (one, "unreachable") for one in decisions
    ]
    assert intents == []


FAULTS = {
    "status": (Fault(on=Kind.LOGS, status=500, body="{}"), "QStash answered the look-up of the runs with status 500."),
    "read_token": (Fault(on=Kind.LOGS, status=401, body="{}"), "renewed upstream.read_token"),
    "page": (Fault(on=Kind.LOGS, status=200, body="[]"), "a list of the runs that cannot be read"),
    "unreachable": (Fault(on=Kind.LOGS, times=2, ending=Ending.RESET), "QStash gave no whole answer"),
}


@pytest.mark.parametrize("cause", FAULTS)
def test_every_failure_of_a_look_up_says_that_nothing_was_sent(
    upstream: SimulatorServer, tmp_path: Path, cause: str
) -> None:
    """And whether to try again, to the caller and to the operators; the page of answers names each cause."""
    fault, said = FAULTS[cause]
    with RunningGateway(setup(upstream, tmp_path / "gateway")) as gateway:
        upstream.simulator.script(fault)
        shown = ask(gateway, "cancel").json()
        [line] = lines(gateway)
    assert (shown["code"], shown["cause"], line["cause"], line["said"]) == (
        "lookup_failed", cause, cause, shown["error"]
    )  # fmt: skip
    assert said in str(shown["error"])
    assert NOTHING in str(shown["error"])
    assert "ry again" in str(shown["error"]) or "Trying again" in str(shown["error"])
    assert upstream.ledger == ()
    assert f"`{cause}`" in (ROOT / "docs" / "operations.md").read_text()
