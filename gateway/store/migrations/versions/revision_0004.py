"""Pauses that end by themselves."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, String

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        "timers",
        Column("decision_id", String, primary_key=True),
        Column("field", String, nullable=False),
        Column("name", String, nullable=False),
        Column("team", String, nullable=False),
        Column("subject", String, nullable=False),
        Column("key_id", String),
        Column("lasts_ms", BigInteger, nullable=False),
        Column("instance", String, nullable=False),
        Column("stage", String, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("due_ms", BigInteger),
        Column("resume_id", String),
        Column("why", String),
    )
    op.create_index("timers_name", "timers", ["field", "name"])
    op.create_index("timers_due", "timers", ["due_ms"])
