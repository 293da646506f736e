"""Notices on their way to receivers."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        "notices",
        Column("delivery_id", String, primary_key=True),
        Column("notice_id", String, nullable=False),
        Column("receiver", String, nullable=False),
        Column("subject", String, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("document", LargeBinary, nullable=False),
        Column("due_ms", BigInteger, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("leased_by", String),
        Column("leased_until_ms", BigInteger, nullable=False),
        Column("delivered", Boolean, nullable=False),
    )
    op.create_index("notices_due", "notices", ["receiver", "delivered", "due_ms"])
    op.create_index("notices_subject", "notices", ["receiver", "subject", "at_ms"])
