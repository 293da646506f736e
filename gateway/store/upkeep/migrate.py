"""Bringing a database to the revision of this version. Loads alembic, which takes seconds; `serve` never does."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from gateway.core.errors import StateFailure
from gateway.state.settings import StateSettings
from gateway.store import migrations
from gateway.store.engine import database_of
from gateway.store.opened import EMPTY, check_password, failure_of, look, prepare_file, wrong_with
from gateway.store.tables import REVISION

_LOCK = 0x9A7E
"""The number of the lock that lets one process at a time migrate a database of PostgreSQL."""


async def migrate(settings: StateSettings) -> str | None:
    """Make the tables, or bring them to this revision; return the revision before, None if there were no tables.

    It happens wholly or not at all. Raises: StateFailure: the database is foreign, newer, or cannot be used.
    """
    check_password(settings)
    if settings.file is not None:
        prepare_file(settings.file, create=True)
    database = database_of(settings)
    try:
        return await database.run_unbounded(lambda connection: _upgrade(connection, settings))
    except StateFailure:
        raise
    except Exception as fault:
        raise failure_of(settings, fault) from fault
    finally:
        await database.aclose()


def _upgrade(connection: Connection, settings: StateSettings) -> str | None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    found = look(connection, create=False)
    older = found is not None and found.isdecimal() and found < REVISION
    if found != EMPTY and not older:
        if (wrong := wrong_with(settings, found)) is not None:
            raise StateFailure(wrong)
        return found
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, REVISION)
    return None if found == EMPTY else found
