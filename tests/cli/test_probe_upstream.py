"""`probe-upstream`: which contract an account is under, found out without cancelling anything."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli.probe_answers import Findings, Tracked, conclusion
from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault, Kind, Token
from gateway.simulator.golang import query_values
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.cli.configs import CONFIG, write
from tests.cli.running import END_S, Done, command
from tests.support.forked import COMMAND

NOW_MS = 1_795_000_000_000
CONTRACTS = ("2025", "2026-09")


@contextmanager
def account(contract: str = "2026-09", *, in_background: bool = False, action_ms: int = 0) -> Iterator[SimulatorServer]:
    """A simulated account with 50 runs."""
    simulator = Simulator(
        make_runs(50, NOW_MS, seed=0),
        contract=Contract(contract),
        always_in_background=in_background,
        action_ms=action_ms,
    )
    with SimulatorServer(simulator) as server:
        yield server


def config_for(server: SimulatorServer, directory: Path, *, reads: bool = True) -> Path:
    """A configuration with both of the account's tokens, or the writing one alone."""
    upstream = "  token: {file: token}\n" + ("  read_token: {file: read-token}\n" if reads else "")
    config = CONFIG.replace("http://127.0.0.1:9", server.url).replace("  token: {file: token}\n", upstream)
    (directory / "read-token").write_text(server.read_token)
    (directory / "read-token").chmod(0o600)
    return write(directory, config=config, token=server.token)


def probe(server: SimulatorServer, directory: Path, *, reads: bool = True) -> Done:
    """Probes an account without being asked."""
    return command("probe-upstream", "--config", str(config_for(server, directory, reads=reads)), "--yes")


def untouched(server: SimulatorServer) -> bool:
    """Whether no run was cancelled."""
    return server.simulator.cancelled == ()


def answered(status: int, body: Mapping[str, object], *, on: Kind = Kind.CANCEL) -> Fault:
    """A fault that answers this in place of taking effect."""
    return Fault(on=on, status=status, body=json.dumps(body))


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_contract_is_told_and_no_run_is_cancelled(tmp_path: Path, contract: str, in_background: bool) -> None:
    """Exit code 0, the lines for the configuration, and every run as before, whether an action takes time or not."""
    with account(contract, in_background=in_background, action_ms=600) as server:
        before = server.simulator.runs
        done = probe(server, tmp_path)
        assert server.simulator.runs == before
    assert (done.returncode, done.stderr) == (0, "")
    assert f'upstream:\n    contract: "{contract}"\n' in done.stdout
    assert ("as it is configured now" in done.stdout) == (contract == "2025")
    assert ("`count` is advisory" in done.stdout) == (contract == "2026-09")


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_cancel_is_safe_for_a_server_that_reads_the_query(tmp_path: Path, contract: str) -> None:
    """Each names a label, a URL and a time that no run has, asks for one, and no body stands without a query."""
    with account(contract) as server:
        known = {label for run in server.simulator.runs for label in run.labels}
        assert probe(server, tmp_path).returncode == 0
        calls = [entry.call for entry in server.ledger]
    assert calls
    for call in calls:
        asked = query_values(call.query)
        assert list(asked) == ["workflowUrl", "workflowUrlExactMatch", "toDate", "label", "count"]
        assert (asked["count"], asked["workflowUrlExactMatch"], asked["toDate"]) == (["1"], ["true"], ["1000000000000"])
        assert re.fullmatch(r"https://probe\.invalid/probe[0-9a-f]{20}", asked["workflowUrl"][0])
        labels = {label for value in asked["label"] for label in value.split(",")}
        assert all(re.fullmatch(r"probe[0-9a-f]{20}b?", label) for label in labels)
        assert labels.isdisjoint(known)


@pytest.mark.parametrize("read", ["label", "workflowUrl", "toDate"])
@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_server_that_reads_one_filter_alone_cancels_nothing(tmp_path: Path, contract: str, read: str) -> None:
    """Whichever of the three it is, each cancel that it is left in hits no run."""
    with account(contract) as server:
        assert probe(server, tmp_path).returncode == 0
        calls = [entry.call for entry in server.ledger]
    kept = {read, "count"} | ({"workflowUrlExactMatch"} if read == "workflowUrl" else set())
    with account(contract) as other:
        for call in calls:
            pairs = [pair for pair in call.query.split("&") if pair.partition("=")[0] in kept]
            other.simulator.answer(replace(call, query="&".join(pairs), body=b"", token=Token.FULL), NOW_MS)
        assert len(other.ledger) == len(calls)
        assert untouched(other)


def test_the_first_cancels_are_safe_for_a_server_that_reads_the_body_too(tmp_path: Path) -> None:
    """Before a query goes out alone, both kinds of server were given something that does not exist."""
    with account() as server:
        assert probe(server, tmp_path).returncode == 0
        calls = [entry.call for entry in server.ledger]
    assert [call.dialect for call in calls] == ["both", "both", "query", "query", "query"]
    types = [dict(call.headers).get("content-type") for call in calls]
    assert types == ["application/json", "application/json", None, None, None]
    (run_id,) = json.loads(calls[0].body)["workflowRunIds"]
    assert run_id == f"wfr_{query_values(calls[0].query)['label'][0]}"


def test_what_tracked_filters_show_is_told(tmp_path: Path) -> None:
    """The simulator reads a body before the query, splits at a comma, and tracks no count."""
    with account() as server:
        done = probe(server, tmp_path)
    assert "count:              not part of the filter" in done.stdout
    assert "body or query:      the body is read before the query" in done.stdout
    assert "a comma:            2 values" in done.stdout
    assert "a repeated label:   2 values" in done.stdout


@pytest.mark.parametrize("contract", CONTRACTS)
def test_without_a_read_token_it_says_what_that_costs(tmp_path: Path, contract: str) -> None:
    """The contract is told all the same."""
    with account(contract) as server:
        done = probe(server, tmp_path, reads=False)
        assert untouched(server)
    assert done.returncode == 0
    assert "None is configured." in done.stdout
    assert "`resolve: true` needs `upstream.read_token`" in done.stdout


def test_a_log_that_ignores_labels_ends_it_before_anything_is_sent(tmp_path: Path) -> None:
    """A server that ignores this filter in a cancel would cancel every run."""
    with account() as server:
        server.simulator.script(answered(200, {"cursor": "", "runs": [{"workflowRunId": "wfr_1"}]}, on=Kind.LOGS))
        done = probe(server, tmp_path)
        assert server.ledger == ()
    assert done.returncode == 1
    assert "ALARM: 1 run is listed under a label that no run has" in done.stdout


@pytest.mark.parametrize("status", [401, 500])
def test_a_log_that_cannot_be_read_ends_it_before_anything_is_sent(tmp_path: Path, status: int) -> None:
    """Without this look nothing says that labels are a filter."""
    with account() as server:
        server.simulator.script(answered(status, {"error": "no"}, on=Kind.LOGS))
        assert probe(server, tmp_path).returncode == 1
        assert server.ledger == ()


def test_a_read_token_that_can_write_ends_it(tmp_path: Path) -> None:
    """The next one would go out with a token that can do harm, and the configuration is wrong anyhow."""
    with account() as server:
        server.simulator.script(answered(200, {"cancelled": 0}))
        done = probe(server, tmp_path)
        assert len(server.ledger) == 1
    assert done.returncode == 1
    assert "upstream.read_token is no read-only token" in done.stdout


@pytest.mark.parametrize("cancelled", [3, True, "0"])
def test_a_cancelled_run_is_an_alarm_and_the_end(tmp_path: Path, cancelled: object) -> None:
    """So is a number that cannot be one."""
    with account("2025") as server:
        server.simulator.script(answered(200, {"cancelled": cancelled}))
        done = probe(server, tmp_path, reads=False)
        assert len(server.ledger) == 1
    assert done.returncode == 1
    assert "ALARM: " in done.stdout
    assert "contract:" not in done.stdout


@pytest.mark.parametrize(
    ("total", "shown"),
    [(1, {"label": ["LABEL"]}), (0, {}), (0, {"label": ["other"]})],
)
def test_an_action_that_hits_something_else_is_an_alarm(tmp_path: Path, total: int, shown: dict) -> None:
    """A total above zero, or a filter without the label that was sent."""
    report = {"actionId": "act_1", "kind": "workflow.cancel", "state": "FINISHED", "total": total, "filter": shown}
    with account() as server:
        server.simulator.script(answered(200, report, on=Kind.PROGRESS))
        done = probe(server, tmp_path)
        # The read-only token's, both ways, and the one whose action this is.
        assert len(server.ledger) == 3
    assert done.returncode == 1
    assert "ALARM: " in done.stdout


@pytest.mark.parametrize("status", [401, 429, 500])
def test_an_account_that_does_not_answer_tells_nothing(tmp_path: Path, status: int) -> None:
    """Exit code 1, and no lines for a configuration."""
    with account() as server:
        server.simulator.script(answered(status, {"error": "no"}))
        done = probe(server, tmp_path, reads=False)
        assert untouched(server)
    assert done.returncode == 1
    assert f"The answer {status} is neither" in done.stdout
    assert "contract:" not in done.stdout


def test_an_account_that_cannot_be_reached_tells_nothing(tmp_path: Path) -> None:
    """Exit code 1, and that nothing was sent."""
    with account() as server:
        config = config_for(server, tmp_path)
    done = command("probe-upstream", "--config", str(config), "--yes")
    assert done.returncode == 1
    assert "No answer (refused); nothing was sent." in done.stdout


def test_no_token_is_printed_even_if_the_account_repeats_it(tmp_path: Path) -> None:
    """What is printed is to be kept, so it may not hold a secret."""
    with account() as server:
        server.simulator.script(answered(500, {"error": f"{server.token} {server.read_token}"}, on=Kind.LOGS))
        done = probe(server, tmp_path)
        assert server.token not in done.stdout + done.stderr
        assert server.read_token not in done.stdout + done.stderr
    assert "[redacted]" in done.stdout


@pytest.mark.parametrize(
    ("answer", "code", "sent"), [("n\n", 1, False), ("\n", 1, False), ("y\n", 0, True), ("", 2, False)]
)
def test_nothing_is_sent_before_a_person_agrees(tmp_path: Path, answer: str, code: int, sent: bool) -> None:
    """It says first what it will send; no is exit code 1, nobody there to ask is 2."""
    with account() as server:
        config = config_for(server, tmp_path)
        done = subprocess.run(
            [*COMMAND, "probe-upstream", "--config", str(config)],
            input=answer,
            capture_output=True,
            text=True,
            timeout=END_S,
            check=False,
        )
        assert bool(server.ledger) == (answer == "y\n")
    assert done.returncode == code
    assert done.stdout.startswith(f"This asks {server.url} which contract the account is under.")


def test_a_configuration_that_cannot_be_read_exits_with_3(tmp_path: Path) -> None:
    """With the position, and nothing sent."""
    done = command("probe-upstream", "--config", str(write(tmp_path, config="listen: 1\n")), "--yes")
    assert done.returncode == 3
    assert "config.yaml:1:" in done.stderr


def test_a_call_without_a_configuration_is_a_usage_error() -> None:
    """Exit code 2."""
    done = command("probe-upstream")
    assert (done.returncode, done.stdout) == (2, "")


LABEL: dict[str, object] = {"label": ["x"]}


@pytest.mark.parametrize(
    ("findings", "sentence"),
    [
        (Findings(by_label=Tracked("a", {**LABEL, "count": 1})), "count:              part of the filter"),
        (Findings(Tracked("a", LABEL), both_ways=Tracked("b", LABEL)), "the query is read\n"),
        (Findings(Tracked("a", LABEL), both_ways=Tracked("b", {**LABEL, "workflowRunIds": ["w"]})), "the body too"),
        (Findings(Tracked("a", LABEL), both_ways=Tracked(refused=400)), "both at once are refused with 400"),
        (Findings(Tracked("a", LABEL), comma=Tracked("b", {"label": ["x,y"]})), "a comma:            one value"),
        (Findings(Tracked("a", LABEL), comma=Tracked("b", {"label": "x,y"})), "shown as one text with a comma"),
        (Findings(Tracked("a", LABEL), comma=Tracked(refused=400)), "a comma:            refused with 400"),
        (Findings(Tracked("a", LABEL), repeated=Tracked("b", LABEL)), "a repeated label:   one value"),
        (Findings(Tracked()), 'contract: "2025"'),
    ],
)
def test_each_way_of_reading_is_told_from_the_others(findings: Findings, sentence: str) -> None:
    """What an answer does not tell is said to be not told."""
    assert sentence in conclusion(findings, configured="2025", reads=True)
