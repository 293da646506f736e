"""The store as it is used: all parts of the port over one database, which was looked at before it is trusted.

The migrations are not loaded here: which revision a database has is one row in it.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from contextlib import suppress
from functools import partial
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Table, delete, exc, inspect, select, text

from gateway.core.errors import InvalidConfiguration, StateAway, StateFailure, StateUnavailable
from gateway.state.approvals import SHOWN_MS
from gateway.state.freezes import FORGOTTEN_MS
from gateway.state.notices import KEPT_DELIVERED_MS, UNSERVED_MS
from gateway.state.password import password_of
from gateway.state.plans import DECISIONS_LIVE_MS
from gateway.state.settings import StateSettings
from gateway.state.timed.timers import SHOWN_MS as SHOWN_TIMERS_MS
from gateway.state.timed.timers import Stage
from gateway.store import tables
from gateway.store.admissions import SqlAdmissions
from gateway.store.deadline import CALL_S
from gateway.store.decisions import SqlDecisions
from gateway.store.engine import Database, cause_of, database_of
from gateway.store.freezes import SqlFreezes
from gateway.store.outbox.notices import SqlNotices
from gateway.store.people.approvals import SqlApprovals
from gateway.store.plans import SqlPlans
from gateway.store.tables import (
    ADMISSIONS,
    APPROVALS,
    BINDINGS,
    CURSORS,
    DECISIONS,
    FREEZES,
    GATEWAYS,
    NOTICES,
    PLANS,
    REVISION,
    REVISIONS,
    SCOPES,
    TIMERS,
    VOICES,
    now_ms,
)
from gateway.store.timed.timers import SqlTimers

PURGED_EVERY_S = 60.0
MOST_PURGED = 500
MOST_PLANS_PURGED = 4
"""How many rows of a table are deleted at a time, so that nobody waits long for it; a plan may have 2 MB."""

FREEZES_LIVE_MS = 30 * 86_400_000
"""How long a freeze that is over and on record stays in the store, in milliseconds."""

EMPTY, READ_ONLY = "empty", "read-only"
"""What is found in the place of a revision."""

_NOT_NOW = ("57P01", "57P02", "57P03", "53300")
"""The codes of PostgreSQL for a server that starts, ends, or has no connection left: it may in a moment."""

_MIGRATE = "run 'qstash-gateway state migrate --config FILE'"
_OPENING_S = 4 * CALL_S
_AGAIN_S = (0.02, 0.2)


class SqlStore(SqlFreezes, SqlAdmissions, SqlApprovals, SqlPlans, SqlDecisions, SqlNotices, SqlTimers):
    """The whole port over one database; what has expired is deleted once a minute."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._purges = asyncio.get_running_loop().create_task(self._purge_for_ever())

    @property
    def shared(self) -> bool:
        """Whether the store is one that a fleet shares."""
        return self._database.shared

    async def purge(self) -> None:
        """Delete all that has expired, a few rows at a time. Raises: StateUnavailable: some of it may be left."""
        for table, condition in _expired():
            most = MOST_PLANS_PURGED if table is PLANS else MOST_PURGED
            while await self._database.write(partial(_purge, table, condition, most)) == most:
                pass  # others write in between: they queue

    async def aclose(self) -> None:
        """Close the connections. Never raises."""
        self._purges.cancel()
        await asyncio.wait({self._purges})
        await self._database.aclose()

    async def _purge_for_ever(self) -> None:
        while True:
            await asyncio.sleep(PURGED_EVERY_S)
            # What is left is deleted the next time; nothing else depends on it.
            with suppress(StateUnavailable):
                await self.purge()


async def open_store(settings: StateSettings, *, create: bool) -> SqlStore:
    """Open the store and return it. With `create` a SQLite file that is not there is made, with its tables.

    Raises: StateFailure: it cannot be used; one sentence says why, and what to do.
    """
    database = await open_database(settings, create=create)
    return SqlStore(database)


def store_to_come(settings: StateSettings) -> SqlStore:
    """Return a store that does not answer yet: its calls raise StateUnavailable until it does.

    It is looked at then, as `open_store` would, before the first call does anything.
    """
    database = database_of(settings)

    def proof(connection: Connection) -> None:
        """Raise StateUnavailable unless it is a store of this version."""
        wrong = wrong_with(settings, look(connection, create=False))
        if wrong is not None:
            raise StateUnavailable("refused", problem=wrong)

    database.proof = proof
    return SqlStore(database)


async def open_database(settings: StateSettings, *, create: bool) -> Database:
    """Open the database below a store, as `open_store` does. Raises: StateFailure."""
    check_password(settings)
    if settings.file is not None:
        prepare_file(settings.file, create=create)
    database = database_of(settings)
    try:
        async with asyncio.timeout(_OPENING_S):
            found = await _found(database, create=create)
    except Exception as fault:
        await database.aclose()
        raise failure_of(settings, fault) from fault
    if (wrong := wrong_with(settings, found)) is not None:
        await database.aclose()
        raise StateFailure(wrong)
    return database


async def _found(database: Database, *, create: bool) -> str | None:
    """Return what `look` finds.

    A SQLite file that others write at this moment is one that can be written: then it is enough to read it, which waits
    for nobody. Only who finds no tables yet has to come to write, and asks again after a moment, by chance not together
    with the others.
    """
    while True:
        try:
            return await database.run_unbounded(lambda one: look(one, create=create))
        except Exception as fault:
            if database.shared or cause_of(fault) != "timeout":
                raise
        found = await database.run_unbounded(lambda one: look(one, create=False), writes=False)
        if found != EMPTY or not create:
            return found
        await asyncio.sleep(random.uniform(*_AGAIN_S))  # noqa: S311 - it only keeps processes apart


def check_password(settings: StateSettings) -> None:
    """Raise StateFailure if the file of the password cannot be read, or cannot be a password."""
    try:
        password_of(settings)
    except InvalidConfiguration as fault:
        raise StateFailure("; ".join(problem.message for problem in fault.problems)) from fault


def failure_of(settings: StateSettings, fault: BaseException) -> StateFailure:
    """Return the sentence for a database that cannot be opened."""
    original = fault.orig if isinstance(fault, exc.DBAPIError) and fault.orig is not None else fault
    told = str(original).strip()
    if settings.file is not None:
        if re.search("readonly|read-only|unable to open", told):
            return StateFailure(
                f"the state {settings.shown} cannot be written: let the gateway's user write the file and its directory"
            )
        if "not a database" in told:
            return StateFailure(f"{settings.shown} is no SQLite database: name another file in 'state.url'")
    elif re.search("authentication failed|no password|pg_hba", told):
        return StateFailure(
            f"PostgreSQL refuses the user of {settings.shown}: check the user and 'state.password', or --password-file"
        )
    elif re.search("database .* does not exist", told):
        return StateFailure(f"the database of {settings.shown} does not exist: create it, then {_MIGRATE}")
    if cause_of(fault) in ("unreachable", "timeout") or getattr(original, "sqlstate", "") in _NOT_NOW:
        return StateAway(f"the state {settings.shown} does not answer: check that it runs and can be reached")
    return StateFailure(f"the state {settings.shown} cannot be used ({type(original).__name__}): see the server's log")


def prepare_file(file: Path, *, create: bool) -> None:
    """Make an empty file for the gateway alone, in a directory as the audit log makes it, if there is none."""
    if not create:
        if not file.exists():
            raise StateFailure(f"the state {file} does not exist: start the gateway, which makes it, or {_MIGRATE}")
        return
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as fault:
        raise StateFailure(f"the state {file} cannot be made: {fault.strerror}; make its directory writable") from fault


def look(connection: Connection, *, create: bool) -> str | None:
    """Return the revision of the database, `empty` if it holds nothing, `read-only`, and None if it is foreign."""
    # SQLite says it by itself: this transaction was begun with the right to write.
    on_server = connection.dialect.name == "postgresql"
    if on_server and connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on":
        return READ_ONLY
    names = inspect(connection).get_table_names()
    if not names and create and not on_server:
        tables.create(connection)
        return REVISION
    if REVISIONS.name not in names:
        return None if names else EMPTY
    return connection.execute(select(REVISIONS.c.version_num)).scalar_one_or_none()


def wrong_with(settings: StateSettings, found: str | None) -> str | None:
    """Return what is wrong with a database of this revision, if anything is."""
    if found == REVISION:
        return None
    if found == READ_ONLY:
        return f"the state {settings.shown} is read-only: name the server that takes writes in 'state.url'"
    if found == EMPTY:
        return f"the state {settings.shown} has no tables yet: {_MIGRATE}"
    if found is None or not re.fullmatch("[0-9]{4}", found):
        return f"{settings.shown} is the database of something else: give the gateway one of its own in 'state.url'"
    if found < REVISION:
        return (
            f"the state {settings.shown} is older (revision {found}) than this version needs ({REVISION}): {_MIGRATE}"
        )
    return (
        f"the state {settings.shown} is newer (revision {found}) than this version knows ({REVISION}): "
        "run the version of the gateway that made it"
    )


def _expired() -> list[tuple[Table, ColumnElement[bool]]]:
    now = now_ms()
    waits = select(APPROVALS.c.plan_id).where(APPROVALS.c.end.is_(None))
    over = (FREEZES.c.thawed_ms.is_not(None) & FREEZES.c.thaw_recorded) | (FREEZES.c.until_ms < now)
    return [
        (ADMISSIONS, ADMISSIONS.c.expires_ms < now),
        (BINDINGS, BINDINGS.c.expires_ms < now),
        (APPROVALS, APPROVALS.c.end.is_not(None) & (APPROVALS.c.until_ms < now - SHOWN_MS)),
        (VOICES, VOICES.c.plan_id.not_in(select(APPROVALS.c.plan_id))),
        (CURSORS, CURSORS.c.expires_ms < now),
        (DECISIONS, DECISIONS.c.at_ms < now - DECISIONS_LIVE_MS),
        (SCOPES, SCOPES.c.touched_ms < now - DECISIONS_LIVE_MS),
        (GATEWAYS, GATEWAYS.c.seen_ms < now - 2 * FORGOTTEN_MS),
        (NOTICES, NOTICES.c.delivered & (NOTICES.c.due_ms < now - KEPT_DELIVERED_MS)),
        (NOTICES, NOTICES.c.due_ms < now - UNSERVED_MS),
        (TIMERS, (TIMERS.c.stage != Stage.WAITING.value) & (TIMERS.c.at_ms < now - SHOWN_TIMERS_MS)),
        (FREEZES, FREEZES.c.freeze_recorded & over & (FREEZES.c.at_ms < now - FREEZES_LIVE_MS)),
        # What takes longest is the last, so that it keeps nothing else from being deleted.
        (PLANS, (PLANS.c.expires_ms < now) & PLANS.c.plan_id.not_in(waits)),
    ]


def _purge(table: Table, condition: ColumnElement[bool], most: int, connection: Connection) -> int:
    """Delete rows, at most so many; return how many it were."""
    [key] = table.primary_key.columns
    some = select(key).where(condition).limit(most)
    if connection.dialect.name == "postgresql":
        some = some.with_for_update(skip_locked=True)
    return connection.execute(delete(table).where(key.in_(some))).rowcount
