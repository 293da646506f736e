"""The first tables."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String, column, table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and the row that counts changes of freezes."""
    _freezes()
    _admissions()
    _bindings()
    _plans()
    _decisions()
    numbers = table("numbers", column("name", String), column("value", BigInteger))
    op.bulk_insert(numbers, [{"name": "freezes", "value": 0}])


def _freezes() -> None:
    op.create_table(
        "numbers",
        Column("name", String, primary_key=True),
        Column("value", BigInteger, nullable=False),
    )
    op.create_table(
        "freezes",
        Column("freeze_id", String, primary_key=True),
        Column("team", String),
        Column("rule", String),
        Column("reason", String, nullable=False),
        Column("by", String, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("until_ms", BigInteger),
        Column("number", BigInteger, nullable=False),
        Column("thawed_ms", BigInteger),
        Column("thawed_by", String),
        Column("freeze_recorded", Boolean, nullable=False),
        Column("thaw_recorded", Boolean, nullable=False),
    )
    op.create_table(
        "gateways",
        Column("instance", String, primary_key=True),
        Column("seen_ms", BigInteger, nullable=False),
        Column("number", BigInteger, nullable=False),
    )


def _admissions() -> None:
    op.create_table(
        "scopes",
        Column("scope", String, primary_key=True),
        Column("touched_ms", BigInteger, nullable=False),
    )
    op.create_table(
        "admissions",
        Column("decision_id", String, primary_key=True),
        Column("instance", String, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("expires_ms", BigInteger, nullable=False),
        Column("closed", Boolean, nullable=False),
        Column("withdrawn", Boolean, nullable=False),
        Column("scope", String),
        Column("rule", String),
        Column("runs", BigInteger, nullable=False),
        Column("requests", Integer, nullable=False),
        Column("cancelled", BigInteger),
    )
    op.create_index("admissions_scope", "admissions", ["scope", "at_ms"])
    op.create_index("admissions_expires", "admissions", ["expires_ms"])
    op.create_index("admissions_instance", "admissions", ["instance", "closed"])


def _bindings() -> None:
    op.create_table(
        "bindings",
        Column("key_sha256", String, primary_key=True),
        Column("request_sha256", String, nullable=False),
        Column("decision_id", String, nullable=False),
        Column("instance", String, nullable=False),
        Column("expires_ms", BigInteger, nullable=False),
        Column("closed", Boolean, nullable=False),
        Column("cancelled", BigInteger),
        Column("status", Integer),
        Column("body", LargeBinary),
    )
    op.create_index("bindings_decision", "bindings", ["decision_id"])
    op.create_index("bindings_expires", "bindings", ["expires_ms"])


def _plans() -> None:
    op.create_table(
        "plans",
        Column("plan_id", String, primary_key=True),
        Column("team", String, nullable=False),
        Column("principal", String, nullable=False),
        Column("state", String, nullable=False),
        Column("digest", String, nullable=False),
        Column("document", LargeBinary, nullable=False),
        Column("made_ms", BigInteger, nullable=False),
        Column("expires_ms", BigInteger, nullable=False),
        Column("claimed_by", String),
        Column("stopped_by", String),
    )
    op.create_index("plans_principal", "plans", ["principal", "made_ms"])
    op.create_index("plans_claimed", "plans", ["claimed_by"])
    op.create_index("plans_expires", "plans", ["expires_ms"])
    op.create_table(
        "cursors",
        Column("cursor", String, primary_key=True),
        Column("owner", String, nullable=False),
        Column("value", LargeBinary, nullable=False),
        Column("expires_ms", BigInteger, nullable=False),
    )
    op.create_index("cursors_expires", "cursors", ["expires_ms"])


def _decisions() -> None:
    op.create_table(
        "decisions",
        Column("decision_id", String, primary_key=True),
        Column("team", String, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("document", LargeBinary, nullable=False),
    )
    op.create_index("decisions_at", "decisions", ["at_ms", "decision_id"])
    op.create_index("decisions_team", "decisions", ["team", "at_ms", "decision_id"])
