"""An incident with a real gateway and a simulated account: what the command says is what upstream did."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.simulator.exchange import Ending, Fault
from tests.cli.accounts import INVOICE, POLICY, Account, an_account
from tests.cli.running import Done
from tests.cli.terminal import on_terminal
from tests.support.waiting import until

CAPPED = POLICY.replace("{max: 150, older_than: 5m}", "{cap: 30, older_than: 5m}")
ALL = ("--url", INVOICE, "--until-none")


@pytest.fixture
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Account]:
    """900 runs of three teams, of which a request takes 30; the parameter is upstream's latency in milliseconds."""
    with an_account(tmp_path / "gateway", runs=900, latency_ms=getattr(request, "param", 0), policy=CAPPED) as made:
        yield made


def cancelled(done: Done) -> int:
    """The number that the sum says."""
    found = re.search(r"^(\d+) runs? cancelled in \d+ plans?", done.stdout + done.stderr, re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
    return int(found[1])


def test_every_run_that_was_meant_is_cancelled_once_and_no_other(account: Account) -> None:
    """Thirty at a time, until none is left; the sum is that of the ledger and of the record."""
    done = account.cancel(*ALL, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    meant = account.meant(INVOICE)
    assert len(meant) > 60
    assert set(meant) <= set(account.cancelled)
    assert len(account.cancelled) == len(set(account.cancelled)) == cancelled(done)
    decisions = {str(record["decision_id"]) for record in account.gateway.records("intent")}
    assert decisions == set(re.findall(r"^Plan \d+: .* decision (\S+)\.$", done.stdout, re.MULTILINE))


def test_runs_that_begin_after_the_question_are_not_cancelled(account: Account) -> None:
    """Whatever their age is by then: the date is fixed on QStash's clock."""
    with on_terminal("cancel", *ALL, env=account.environment) as running:
        running.until(r"\[y/N\] ")
        newest = replace(account.before[0], run_id="wfr_begun_after", created_ms=time.time_ns() // 1_000_000 + 5000)
        account.server.simulator.add_runs([replace(newest, url=INVOICE)])
        running.types("y\n")
        assert running.exit_code() == 0
    dates = {str(record["asked"]["toDate"]) for record in account.gateway.records("intent")[1:]}  # type: ignore[index]
    assert len(dates) == 1
    assert "wfr_begun_after" not in account.cancelled


def test_ctrl_c_stops_after_the_order_in_flight(account: Account) -> None:
    """The number is that of the ledger, and nothing is sent afterwards."""
    command = on_terminal("cancel", *ALL, "--yes", env=account.environment, columns=80)
    with account.answers.held(after=1), command as running:
        running.until("Plan 1: ")
        until(lambda: len(account.server.ledger) == 2)
        running.interrupts()
        running.until("Ctrl-C again leaves at once")
        account.answers.let_go()
        assert running.exit_code() == 1
    assert "Traceback" not in running.seen
    sent = len(account.cancelled)
    time.sleep(1)
    assert len(account.cancelled) == sent < len(account.meant(INVOICE))
    done = Done([], 1, running.seen.replace("\r", ""), "")
    assert cancelled(done) == sent


def test_json_says_what_the_ledger_says(account: Account) -> None:
    """The sum, and each plan with the decision under which it is on record."""
    told = json.loads(account.cancel(*ALL, "--yes", "--json").stdout)
    assert (told["outcome"], told["result"]["cancelled"]) == ("cancelled", len(account.cancelled))
    assert sum(part["cancelled"] for part in told["result"]["plans"]) == len(account.cancelled)


def test_an_order_whose_answer_was_lost_is_counted_when_it_is_certain(account: Account) -> None:
    """QStash carried it out and hung up: the gateway reads it back, and the command goes on. Nothing is sent twice."""
    account.server.simulator.script(Fault(acts=True, ending=Ending.RESET))
    done = account.cancel(*ALL, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Not known yet what came of it." in done.stdout
    assert len(account.cancelled) == len(set(account.cancelled)) == cancelled(done)
    assert set(account.meant(INVOICE)) <= set(account.cancelled)


@pytest.mark.parametrize("account", [20], indirect=True)
def test_after_a_kill_the_next_command_goes_on_and_cancels_nothing_twice(account: Account) -> None:
    """The one that was under way waits for the gateway and goes on too, unless an order was in flight."""
    with on_terminal("cancel", *ALL, "--yes", "--wait", "5s", env=account.environment, columns=80) as running:
        running.until("Plan 2: ")
        account.gateway.setup.listen = account.gateway.url.removeprefix("http://")
        account.gateway.kill()
        account.gateway.start()
        code = running.exit_code()
    assert "Traceback" not in running.seen
    # Until the runs of an order that was in flight are read back, nobody may say that all are cancelled.
    until(lambda: account.cancel(*ALL, "--yes", env=account.environment).returncode == 0)
    assert set(account.meant(INVOICE)) <= set(account.cancelled)
    assert len(account.cancelled) == len(set(account.cancelled))
    assert code in (0, 1)
