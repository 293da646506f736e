"""The migrations and the tables are two descriptions of one database; here they are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from gateway.state.settings import StateSettings
from gateway.store import migrations
from gateway.store.engine import database_of
from gateway.store.tables import METADATA, REVISION, REVISIONS
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


def test_the_revision_that_is_served_is_the_last_one() -> None:
    """And revisions are a line of numbers, so that older and newer can be told without loading them."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == REVISION
    found = sorted(script.revision for script in scripts.walk_revisions())
    assert found == [f"{number:04}" for number in range(1, len(found) + 1)]
