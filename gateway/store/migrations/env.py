"""The script that alembic runs for each command: the migrations, on the connection that it is handed."""

from __future__ import annotations

from alembic import context

from gateway.store.tables import METADATA, REVISIONS

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=REVISIONS.name,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
