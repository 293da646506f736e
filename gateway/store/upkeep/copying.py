"""Copying a whole store into an empty one, of the other kind for example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, text

from gateway.core.errors import StateFailure
from gateway.state.settings import StateSettings
from gateway.store.engine import Database
from gateway.store.opened import failure_of, open_database
from gateway.store.tables import METADATA, NUMBERS, REVISIONS

_TABLES = [table for table in METADATA.sorted_tables if table not in (REVISIONS, NUMBERS)]
_AT_ONCE = 500
"""How many rows are read and written at a time."""

Rows = Sequence[dict[str, Any]]


async def copy(source: StateSettings, target: StateSettings) -> dict[str, int]:
    """Copy every row; return how many of each table. It happens wholly or not at all.

    Raises: StateFailure: one of the two cannot be used, or the target holds something already.
    """
    read_from = await open_database(source, create=False)
    try:
        written_to = await open_database(target, create=False)
        try:
            return await _copied(read_from, written_to, target)
        finally:
            await written_to.aclose()
    finally:
        await read_from.aclose()


async def summary(settings: StateSettings) -> dict[str, int]:
    """Return how many rows each table has, by the store's own names. Raises: StateFailure: it cannot be used."""
    database = await open_database(settings, create=False)
    try:
        return await database.run_unbounded(_summary)
    except Exception as fault:
        raise failure_of(settings, fault) from fault
    finally:
        await database.aclose()


async def _copied(read_from: Database, written_to: Database, target: StateSettings) -> dict[str, int]:
    # All rows are held at once: what a store keeps is bounded by its windows, and a copy that is read in one
    # transaction is one moment of the store.
    rows = await read_from.run_unbounded(_everything)
    try:
        await written_to.run_unbounded(_writing(rows, target))
    except StateFailure:
        raise
    except Exception as fault:
        raise failure_of(target, fault) from fault
    return {name: len(found) for name, found in rows.items() if name != NUMBERS.name}


def _everything(connection: Connection) -> dict[str, Rows]:
    _take_time(connection)
    return {
        table.name: [dict(row._mapping) for row in connection.execute(select(table))]  # noqa: SLF001 - SQLAlchemy's public name
        for table in (*_TABLES, NUMBERS)
    }


def _writing(rows: dict[str, Rows], target: StateSettings) -> Callable[[Connection], None]:
    def write(connection: Connection) -> None:
        """Write every row, if the target is empty."""
        _take_time(connection)
        if any(_counts(connection).values()):
            raise StateFailure(f"the state {target.shown} holds something already: name a store that is new")
        connection.execute(NUMBERS.delete())
        for table in (*_TABLES, NUMBERS):
            found = rows[table.name]
            for start in range(0, len(found), _AT_ONCE):
                connection.execute(insert(table), list(found[start : start + _AT_ONCE]))

    return write


def _summary(connection: Connection) -> dict[str, int]:
    _take_time(connection)
    return _counts(connection)


def _counts(connection: Connection) -> dict[str, int]:
    return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in _TABLES}


def _take_time(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
