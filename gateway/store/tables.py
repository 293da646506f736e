"""The tables of the store, the clock that its times are taken from, and the revision that they have."""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
)
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

REVISION = "0004"
"""The revision of these tables: four digits, and each migration has the next higher number."""

AnyRow: TypeAlias = "Row[*tuple[Any, ...]]"

METADATA = MetaData()

REVISIONS = Table("gateway_revision", METADATA, Column("version_num", String(32), primary_key=True))
"""The one row that says which revision a database has; alembic writes it."""

NUMBERS = Table(
    "numbers", METADATA, Column("name", String, primary_key=True), Column("value", BigInteger, nullable=False)
)
"""The counter of changes of freezes (`freezes`). Its row is locked by whoever changes one, so numbers are in order."""

FREEZES = Table(
    "freezes",
    METADATA,
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

GATEWAYS = Table(
    "gateways",
    METADATA,
    Column("instance", String, primary_key=True),
    Column("seen_ms", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
)

SCOPES = Table(
    "scopes", METADATA, Column("scope", String, primary_key=True), Column("touched_ms", BigInteger, nullable=False)
)
"""One row a budget: on PostgreSQL it is locked while something is taken of the budget, so that takers queue."""

ADMISSIONS = Table(
    "admissions",
    METADATA,
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
    Column("team", String),
    Index("admissions_scope", "scope", "at_ms"),
    Index("admissions_rule", "rule", "at_ms"),
    Index("admissions_expires", "expires_ms"),
    Index("admissions_instance", "instance", "closed"),
)
"""`runs` and `requests` are what counts against the budget: reserved at first, and what is certain afterwards.

Rows of the first revision have no `team`; they count for every team under the rule.
"""

BINDINGS = Table(
    "bindings",
    METADATA,
    Column("key_sha256", String, primary_key=True),
    Column("request_sha256", String, nullable=False),
    Column("decision_id", String, nullable=False),
    Column("instance", String, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("closed", Boolean, nullable=False),
    Column("cancelled", BigInteger),
    Column("status", Integer),
    Column("body", LargeBinary),
    Index("bindings_decision", "decision_id"),
    Index("bindings_expires", "expires_ms"),
)

PLANS = Table(
    "plans",
    METADATA,
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
    Index("plans_principal", "principal", "made_ms"),
    Index("plans_claimed", "claimed_by"),
    Index("plans_expires", "expires_ms"),
)

APPROVALS = Table(
    "approvals",
    METADATA,
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
    Index("approvals_requester", "requester", "request_sha256"),
    Index("approvals_team", "team", "until_ms"),
    Index("approvals_until", "until_ms"),
)
"""One row a plan that waits, or has waited. `by` are the names of the teams, with a space around each.

With `asked` it is on record that it waits.
"""

VOICES = Table(
    "voices",
    METADATA,
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
    Index("voices_of", "plan_id", "principal", "word", unique=True),
)

CURSORS = Table(
    "cursors",
    METADATA,
    Column("cursor", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("cursors_expires", "expires_ms"),
)

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("decision_id", String, primary_key=True),
    Column("team", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Index("decisions_at", "at_ms", "decision_id"),
    Index("decisions_team", "team", "at_ms", "decision_id"),
)

NOTICES = Table(
    "notices",
    METADATA,
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
    Index("notices_due", "receiver", "delivered", "due_ms"),
    Index("notices_subject", "receiver", "subject", "at_ms"),
)
"""One row for each notice and receiver. A delivered one stays a while, without its document, so that it is known."""

TIMERS = Table(
    "timers",
    METADATA,
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
    Index("timers_name", "field", "name"),
    Index("timers_due", "due_ms"),
)
"""One row a pause that ends by itself, until it has."""


class now_ms(FunctionElement[int]):  # noqa: N801 - it is written like a function of SQL
    """The store's clock in Unix milliseconds, read by the statement and not at the begin of a transaction."""

    type = BigInteger()
    inherit_cache = True
    name = "now_ms"


@compiles(now_ms, "postgresql")
def _postgresql_now(element: now_ms, compiler: SQLCompiler, **_: object) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"


@compiles(now_ms, "sqlite")
def _sqlite_now(element: now_ms, compiler: SQLCompiler, **_: object) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)"


def insert(connection: Connection, table: Table) -> Any:  # noqa: ANN401 - the two dialects share no type
    """Return an INSERT of the connection's dialect, which knows ON CONFLICT and RETURNING."""
    return (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)


def create(connection: Connection) -> None:
    """Make the tables of a new database, and the rows that are always there."""
    METADATA.create_all(connection)
    connection.execute(plain_insert(NUMBERS).values(name="freezes", value=0))
    connection.execute(plain_insert(REVISIONS).values(version_num=REVISION))
