"""Without `console` in the configuration there is nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.console.people import CONSOLE
from tests.support.gateway import RunningGateway, Setup


@pytest.mark.parametrize(("more", "loaded"), [("", False), (CONSOLE, True)])
def test_without_the_key_nothing_of_it_is_loaded(
    simulator: SimulatorServer, tmp_path: Path, more: str, loaded: bool
) -> None:
    """Neither the room nor what only it needs, no listener, and no route on the callers' listener."""
    environment = {"PYTHONPROFILEIMPORTTIME": "1", "COVERAGE_PROCESS_CONFIG": ""}
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", more=more, environment=environment)) as gateway:
        assert [gateway.request("GET", path).status for path in ("/", "/login", "/me")] == [404] * 3
        names = {line.rpartition("|")[2].strip() for line in gateway.stderr().splitlines()}
        said = '"console"' in gateway.stderr()
    assert any(name.startswith(("jinja2", "gateway.console")) for name in names) is loaded
    assert ("starlette.applications" in names, said) == (True, loaded)
