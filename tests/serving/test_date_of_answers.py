"""The date of an answer is that of now, although the server wakes up for it only once a second."""

from __future__ import annotations

from pathlib import Path

from gateway.simulator.server import SimulatorServer
from tests.support.gateway import RunningGateway, Setup
from tests.support.waiting import until


def test_the_date_of_answers_goes_on(simulator: SimulatorServer, tmp_path: Path) -> None:
    """A cache or a client that compares it with its own clock is not told of the start of the process."""
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway")) as gateway:

        def date() -> str:
            """The date of one answer."""
            return gateway.request("GET", "/healthz").headers["date"]

        first = date()
        until(lambda: date() != first)
