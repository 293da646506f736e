"""A store that does not answer at the start is waited for: nothing is sent until it does, and then all goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from gateway.state.settings import StateSettings
from gateway.store.tables import REVISION
from tests.fleet.test_served import PATIENT_S, cancel, post, setup
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.support.state.fixtures import postgresql_settings
from tests.support.state.postgres import Postgres
from tests.support.waiting import until

OPERATORS = 'operators: {teams: [platform]}\nhealth: {listen: "127.0.0.1:0"}\n'


def section(settings: StateSettings) -> str:
    """The configuration for a database."""
    return f'state: {{url: "{settings.url}", password: {{file: "{settings.password}"}}}}\n{OPERATORS}'


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    """An account without runs."""
    with SimulatorServer(Simulator([]), token=REAL_TOKEN) as server:
        yield server


@pytest.fixture
def settings(postgres: Postgres) -> StateSettings:
    """A database with its tables."""
    return asyncio.run(postgresql_settings(postgres))


def notices(gateway: RunningGateway) -> str:
    """What operators read on the page of readiness."""
    page = gateway.request("GET", "/readyz", team=None)
    assert page.status == 200, page.body
    return str(page.json().get("notices", []))


def test_a_server_that_is_down_at_the_start_is_waited_for(
    upstream: SimulatorServer, settings: StateSettings, postgres: Postgres, tmp_path: Path
) -> None:
    """It serves, sends nothing, says why; a freeze made meanwhile holds; and it begins by itself."""
    postgres.stop()
    with RunningGateway(setup(upstream, tmp_path / "gateway", more=section(settings))) as gateway:
        began_s = time.monotonic()
        refused = cancel(gateway, "a")
        assert (refused.status, refused.json()["code"]) == (503, "state_unavailable")
        assert time.monotonic() - began_s < PATIENT_S
        assert gateway.request("GET", "/gateway/v1/whoami").status == 200
        assert "no freeze was read, so nothing is sent" in notices(gateway)
        unsure = post(gateway, reason="x", team="search")
        assert (unsure.status, cancel(gateway, "a", team="search").status) == (503, 403)
        assert len(upstream.simulator.ledger) == 0
        postgres.start()
        until(lambda: cancel(gateway, "b").status == 200)
        until(lambda: "has not answered" not in notices(gateway))
        assert cancel(gateway, "c", team="search").json()["freeze"] == unsure.json()["id"]
        assert "state_available" in gateway.stderr()


def test_what_a_dead_process_left_is_settled_once_the_store_is_back(
    upstream: SimulatorServer, settings: StateSettings, postgres: Postgres, tmp_path: Path
) -> None:
    """The gateway and its store were killed together: the process before is named no more."""
    with RunningGateway(setup(upstream, tmp_path / "gateway", more=section(settings))) as gateway:
        assert cancel(gateway, "a").status == 200
        gateway.kill()
        postgres.stop()
        gateway.start()
        assert cancel(gateway, "a").status == 503
        postgres.start()
        until(lambda: cancel(gateway, "b").status == 200)
        until(lambda: postgres.sql("SELECT count(*) FROM gateways", database_of(settings)) == "1")


def database_of(settings: StateSettings) -> str:
    """The name of the database."""
    return (settings.url or "").rpartition("/")[2]


def set_revision(server: Postgres, database: str, revision: str) -> None:
    """Writes another revision into a database."""
    server.sql(f"UPDATE gateway_revision SET version_num = '{revision}'", database)  # noqa: S608 - one of this file


def failure(setup_: Setup) -> str:
    """Why the gateway does not start."""
    with pytest.raises(AssertionError, match="did not start") as caught:
        RunningGateway(setup_).start()
    return str(caught.value)


def test_a_server_that_answers_and_cannot_be_used_ends_the_start(
    upstream: SimulatorServer, settings: StateSettings, postgres: Postgres, tmp_path: Path
) -> None:
    """With one sentence: nobody waits for what does not come by itself."""
    name = database_of(settings)
    set_revision(postgres, name, "0000")
    assert "is older (revision 0000)" in failure(setup(upstream, tmp_path / "older", more=section(settings)))
    set_revision(postgres, name, "9999")
    assert "is newer (revision 9999)" in failure(setup(upstream, tmp_path / "newer", more=section(settings)))
    set_revision(postgres, name, REVISION)
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "is read-only" in failure(setup(upstream, tmp_path / "reads", more=section(settings)))
    empty = replace(settings, url=postgres.new_database())
    assert "has no tables yet" in failure(setup(upstream, tmp_path / "empty", more=section(empty)))


def test_a_store_that_comes_back_as_another_one_lets_nothing_be_sent(
    upstream: SimulatorServer, postgres: Postgres, tmp_path: Path
) -> None:
    """It is looked at before it is trusted; operators read what is wrong, and it begins once that is mended."""
    settings = asyncio.run(postgresql_settings(postgres))
    name = database_of(settings)
    set_revision(postgres, name, "0000")
    postgres.stop()
    with RunningGateway(setup(upstream, tmp_path / "gateway", more=section(settings))) as gateway:
        postgres.start()
        until(lambda: "is older (revision 0000)" in notices(gateway))
        assert cancel(gateway, "a").json()["code"] == "state_unavailable"
        assert "state_refused" in gateway.stderr()
        set_revision(postgres, name, REVISION)
        until(lambda: cancel(gateway, "b").status == 200)
        until(lambda: "revision" not in notices(gateway))
