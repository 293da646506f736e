"""The migrations and the tables are two descriptions of one database; here they are compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Select, select, text

from gateway.state.settings import StateSettings
from gateway.store import migrations
from gateway.store.engine import database_of
from gateway.store.tables import ADMISSIONS, METADATA, REVISION, REVISIONS
from gateway.store.upkeep.migrate import migrate
from tests.support.state.fixtures import HERE, sqlite_settings
from tests.support.state.postgres import Postgres


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(
        connection, opts={"version_table": REVISIONS.name, "compare_type": True, "transactional_ddl": True}
    )
    return compare_metadata(context, METADATA)


async def test_a_migrated_database_is_one_that_was_made_new(tmp_path: Path, postgres: Postgres) -> None:
    """Tables, columns, types and indexes, on both databases."""
    for settings in (
        sqlite_settings(tmp_path),
        StateSettings(None, postgres.new_database(), HERE, postgres.password_file),
    ):
        await migrate(settings)
        database = database_of(settings)
        assert await database.run_unbounded(differences) == []
        await database.aclose()


async def test_what_a_store_of_the_first_revision_holds_stays(tmp_path: Path, postgres: Postgres) -> None:
    """It is brought to this one with its rows, whose team is not known."""
    for settings in (
        sqlite_settings(tmp_path),
        StateSettings(None, postgres.new_database(), HERE, postgres.password_file),
    ):
        if settings.file is not None:
            settings.file.touch()
        database = database_of(settings)
        await database.run_unbounded(_first)
        await database.aclose()
        assert await migrate(settings) == "0001"
        database = database_of(settings)
        rows = select(ADMISSIONS.c.runs, ADMISSIONS.c.team)
        found = await database.run_unbounded(partial(_all, rows))
        assert [tuple(row) for row in found] == [(7, None)]
        assert await database.run_unbounded(differences) == []
        await database.aclose()


def _all(rows: Select[Any], connection: Connection) -> list[Any]:
    return list(connection.execute(rows))


def _first(connection: Connection) -> None:
    """Makes the tables of the first revision, with a row in them."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")
    connection.execute(
        text(
            "INSERT INTO admissions (decision_id, instance, at_ms, expires_ms, closed, withdrawn, runs, requests)"
            " VALUES ('d', 'one', 1, 2, false, false, 7, 1)"
        )
    )


def test_the_revision_that_is_served_is_the_last_one() -> None:
    """And revisions are a line of numbers, so that older and newer can be told without loading them."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == REVISION
    found = sorted(script.revision for script in scripts.walk_revisions())
    assert found == [f"{number:04}" for number in range(1, len(found) + 1)]
