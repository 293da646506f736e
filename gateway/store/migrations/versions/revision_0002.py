"""Approvals: plans that wait, what people say of them, and the team that runs were cancelled for."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, String

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables, and the column; rows that are there have no team in it."""
    op.add_column("admissions", Column("team", String))
    op.create_index("admissions_rule", "admissions", ["rule", "at_ms"])
    op.create_table(
        "approvals",
        Column("plan_id", String, primary_key=True),
        Column("instance", String, nullable=False),
        Column("team", String, nullable=False),
        Column("requester", String, nullable=False),
        Column("person", String, nullable=False),
        Column("request_sha256", String, nullable=False),
        Column("rule", String, nullable=False),
        Column("by", String, nullable=False),
        Column("needed", Integer, nullable=False),
        Column("plan_digest", String, nullable=False),
        Column("policy_digest", String, nullable=False),
        Column("within_ms", BigInteger, nullable=False),
        Column("asked_ms", BigInteger, nullable=False),
        Column("until_ms", BigInteger, nullable=False),
        Column("asked", Boolean, nullable=False),
        Column("end", String),
    )
    op.create_index("approvals_requester", "approvals", ["requester", "request_sha256"])
    op.create_index("approvals_team", "approvals", ["team", "until_ms"])
    op.create_index("approvals_until", "approvals", ["until_ms"])
    _make_voices()


def _make_voices() -> None:
    op.create_table(
        "voices",
        Column("voice_id", String, primary_key=True),
        Column("plan_id", String, nullable=False),
        Column("principal", String, nullable=False),
        Column("person", String, nullable=False),
        Column("credential", String, nullable=False),
        Column("word", String, nullable=False),
        Column("reason", String),
        Column("plan_digest", String, nullable=False),
        Column("policy_digest", String, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("confirmed", Boolean, nullable=False),
    )
    op.create_index("voices_of", "voices", ["plan_id", "principal", "word"], unique=True)
