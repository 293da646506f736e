"""`simulate`: the simulated upstream as a command."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path

import pytest

from tests.cli.running import Serving, command, serving


def ask(serving: Serving, method: str, path: str, token: str = "") -> tuple[int, dict]:
    """One request to the simulator that said where it listens."""
    port = int(serving.find(r"http://127\.0\.0\.1:(\d+)")[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("contract", ["2025", "2026-09"])
def test_it_is_as_dangerous_as_the_real_one(tmp_path: Path, contract: str) -> None:
    """The printed token cancels everything by a call that names nothing; the read-only one and strangers cannot."""
    with serving("simulate", "--port", "0", "--runs", "20", "--contract", contract, directory=tmp_path) as simulator:
        token = simulator.find(r"(?m)^Token: (\S+)$")[1]
        read_only = simulator.find(r"(?m)^Read-only token: (\S+)$")[1]
        assert ask(simulator, "DELETE", "/v2/workflows/runs")[0] == 401
        assert ask(simulator, "DELETE", "/v2/workflows/runs", read_only)[0] == 403
        status, members = ask(simulator, "DELETE", "/v2/workflows/runs", token)
        assert (status, members["cancelled"]) == (200, 20)
        assert ("actionId" in members) == (contract == "2026-09")
        ledger = ask(simulator, "GET", "/_simulator/ledger")[1]["ledger"]
        assert [len(entry["cancelled"]) for entry in ledger] == [0, 0, 20]
        assert simulator.stop() == 0


def test_a_token_can_be_given(tmp_path: Path) -> None:
    """So that a gateway can be configured before the simulator starts."""
    with serving("simulate", "--port", "0", "--runs", "3", "--token", "given", directory=tmp_path) as simulator:
        assert ask(simulator, "GET", "/v2/workflows/logs", "given")[0] == 200


def test_a_taken_port_fails_in_one_line() -> None:
    """Exit code 1, and the port in the sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("simulate", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"Cannot listen on port {port}: ")
    assert "Traceback" not in done.stderr
