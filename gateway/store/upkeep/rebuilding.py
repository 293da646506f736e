"""Budgets that were lost with their store, put back from what the record says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import ColumnElement, Connection, Executable

from gateway.state.admissions import Restored
from gateway.state.settings import StateSettings
from gateway.store.opened import failure_of, open_database
from gateway.store.tables import ADMISSIONS, SCOPES, insert, now_ms

LIVES_MS = 366 * 86_400_000
"""How long what was put back stays in the store, in milliseconds: the record does not say how long its window is."""


async def restore(settings: StateSettings, taken: Sequence[Restored]) -> int:
    """Put back what the store does not have, or knows less of; return how much that was, all of it or nothing.

    Raises: StateFailure: the store cannot be used.
    """
    database = await open_database(settings, create=True)
    try:
        return await database.run_unbounded(lambda connection: _restore(connection, taken))
    except Exception as fault:
        raise failure_of(settings, fault) from fault
    finally:
        await database.aclose()


def _restore(connection: Connection, taken: Sequence[Restored]) -> int:
    put_back = 0
    for one in taken:
        put_back += connection.execute(_kept(connection, one)).one_or_none() is not None
        scope = insert(connection, SCOPES).values(scope=one.scope, touched_ms=now_ms()).on_conflict_do_nothing()
        connection.execute(scope)
    return put_back


def _kept(connection: Connection, one: Restored) -> Executable:
    """Return the statement that keeps what the record says of a decision; it returns a row where that is news.

    A store that comes from a backup may have the decision as it was then: under way, or with an unknown outcome.
    """
    row = {**asdict(one), "withdrawn": False, "expires_ms": one.at_ms + LIVES_MS}
    kept = insert(connection, ADMISSIONS).values(row).returning(ADMISSIONS.c.decision_id)
    if not one.closed:
        nothing: Executable = kept.on_conflict_do_nothing()
        return nothing
    known = {name: row[name] for name in ("runs", "requests", "cancelled", "closed")}
    less: ColumnElement[bool] = ADMISSIONS.c.closed.is_(False)
    if one.cancelled is not None:
        less = less | ADMISSIONS.c.cancelled.is_(None)
    updated: Executable = kept.on_conflict_do_update(
        index_elements=["decision_id"], set_=known, where=ADMISSIONS.c.withdrawn.is_(False) & less
    )
    return updated
