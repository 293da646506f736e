"""What a reload and readiness say of secrets: that something is wrong, and nothing of what was pasted where."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.exchange import Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.serving.test_reload import OWN, cap, config, policy, ready, reloaded, rules
from tests.support.files import put
from tests.support.gateway import RunningGateway, Setup
from tests.support.waiting import until

PASTED = "eyJVc2VySUQiOiJ" + secrets.token_hex(30)


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    """One team, one rule with a cap of 50, and a read token."""
    directory = tmp_path / "gateway"
    directory.mkdir()
    (directory / "read-token").write_text(simulator.read_token)
    (directory / "read-token").chmod(0o600)
    more = ", read_token: {file: read-token}"
    setup = Setup(simulator.url, directory, policies={"billing.yaml": policy(50)}, teams=("billing",), upstream=more)
    with RunningGateway(setup) as running:
        yield running


@pytest.mark.parametrize(
    "pasted",
    [f"{{{PASTED}}}", f"{{file: {PASTED}}}", f"{{env: {PASTED}}}", PASTED, f"{{{PASTED}: x}}", f"[{PASTED}]"],
    ids=["in braces", "as a file", "as a variable", "alone", "as a key", "in a list"],
)
def test_a_token_pasted_into_the_configuration_is_not_on_record(gateway: RunningGateway, pasted: str) -> None:
    """Neither in the record of the reload, nor in the log, nor on the page; at a restart not either."""
    text = config(gateway).read_text().replace("{file: token}", pasted)
    record = reloaded(gateway, lambda: put(config(gateway), text))
    page = gateway.request("GET", "/readyz", team=None).body.decode()
    said = json.dumps(record) + gateway.stderr() + page + gateway.said().decode("latin-1")
    assert not [at for at in range(len(PASTED) - 9) if PASTED[at : at + 10] in said]
    if pasted.startswith(("{file", "{env")):
        assert "upstream" in page  # in use after a restart alone
    else:
        assert record["outcome"] == "refused"


@pytest.mark.parametrize("name", [".#billing.yaml", "._billing.yaml", ".billing.cases.yaml"])
def test_a_hidden_file_beside_the_policies_stops_no_reload(gateway: RunningGateway, name: str) -> None:
    """An editor's lock is a link that leads nowhere; a narrower rule counts all the same."""
    hidden = rules(gateway).with_name(name)
    if name.startswith(".#"):
        hidden.symlink_to("ann@laptop.4711:1764366000")
    else:
        hidden.write_bytes(b"\x00\x05\x16\x07")
    assert reloaded(gateway, lambda: put(rules(gateway), policy(20)))["outcome"] == "applied"
    assert (cap(gateway), ready(gateway)[1]) == ("count=20", "ready")


@pytest.mark.parametrize("what", ["config.yaml", "policies", "policies/billing.yaml"])
def test_a_file_that_anyone_may_change_is_not_read_while_serving(gateway: RunningGateway, what: str) -> None:
    """The last good one stays, and the record says which file it is."""
    path = gateway.setup.directory / what

    def change() -> None:
        path.chmod(0o777)
        os.kill(gateway.process.pid, signal.SIGHUP)

    record = reloaded(gateway, change)
    assert record["outcome"] == "refused"
    assert "anyone on this machine could change it" in str(record["problems"])
    assert cap(gateway) == "count=50"


def test_a_token_file_that_anyone_may_change_is_not_taken_over(gateway: RunningGateway) -> None:
    """The token in use stays; the page says so."""
    token = gateway.setup.directory / "token"
    token.write_text("another-token-0123456789\n")
    token.chmod(0o666)
    until(lambda: "anyone on this machine could change it" in ready(gateway)[2])
    assert gateway.cancel(OWN).status == 200


def test_the_page_says_that_upstream_refuses_the_token_until_it_does_not(
    gateway: RunningGateway, simulator: SimulatorServer
) -> None:
    """Whoever sees only the page learns why every cancel is answered 502; of the read token too."""
    assert "refused" not in ready(gateway)[2]
    simulator.simulator.script(Fault(status=401, body='{"error": "unauthorized"}'))
    assert gateway.cancel(OWN).status == 502
    assert "QStash refused upstream.token (401)" in ready(gateway)[2]
    assert ready(gateway)[:2] == (200, "ready")
    simulator.simulator.script(Fault(status=500, body="{}"))
    assert gateway.cancel(OWN).status == 504
    assert "QStash refused upstream.token (401)" in ready(gateway)[2]
    assert gateway.request("GET", "/v2/workflows/logs").status == 200
    assert "QStash refused upstream.token (401)" in ready(gateway)[2]
    assert gateway.cancel(OWN).status == 200
    assert "refused" not in ready(gateway)[2]
    simulator.simulator.script(Fault(on=Kind.LOGS, status=403, body="{}"))
    assert gateway.request("GET", "/v2/workflows/logs").status == 502
    assert "QStash refused upstream.read_token (403)" in ready(gateway)[2]
    assert gateway.request("GET", "/v2/workflows/logs").status == 200
    assert "refused" not in ready(gateway)[2]
