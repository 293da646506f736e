"""Chains that a start cannot continue are told to operators: a count for anybody, names and reasons in their log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.support.gateway import RunningGateway, Setup


@pytest.mark.parametrize("number", [1, 12])
def test_chains_that_cannot_be_continued_are_told_of(simulator: SimulatorServer, tmp_path: Path, number: int) -> None:
    """It is ready; `/readyz` counts them and names none, the log names at most ten with what is wrong."""
    audit = tmp_path / "gateway" / "audit"
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway")):
        pass
    [path] = audit.glob("*.jsonl")
    for some in range(number):
        (audit / f"c{some:02}.000001.jsonl").write_bytes(path.read_bytes().splitlines(True)[0])
        (audit / f"c{some:02}.lock").mkdir()
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway")) as gateway:
        answer = gateway.request("GET", "/readyz", team=None)
        lines = [json.loads(line) for line in gateway.stderr().splitlines() if "chain_damaged" in line]
    notices = answer.json()["notices"]
    assert isinstance(notices, list)
    [notice] = [notice for notice in notices if "could not be continued" in notice]
    assert (answer.status, notice.partition(" could")[0]) == (200, f"{number} audit chain{'s' * (number > 1)}")
    assert "c00" not in notice
    assert [line["chain"] for line in lines if "chain" in line] == [f"c{some:02}" for some in range(min(number, 10))]
    assert "c00.lock" in lines[0]["problem"]
    assert [line["more"] for line in lines if "more" in line] == [number - 10] * (number > 10)
