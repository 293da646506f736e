"""Freezes, the beats of the gateways, and what each of them reads with its beat."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, Executable, and_, delete, func, or_, select, update

from gateway.core.errors import StateUnavailable
from gateway.state.freezes import FORGOTTEN_MS, Freeze, Gateway, Scope, Snapshot, Stop
from gateway.state.plans import OVER
from gateway.store.engine import Database
from gateway.store.listening import CHANNEL
from gateway.store.tables import FREEZES, GATEWAYS, NUMBERS, PLANS, AnyRow, insert, now_ms

_RECORDED = {"freeze": FREEZES.c.freeze_recorded, "thaw": FREEZES.c.thaw_recorded}


class SqlFreezes:
    """The port `Freezes` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, instance: str, number: int) -> Snapshot:
        """Say that this gateway is there and has the freezes up to `number` in force; return what it has to know."""
        return await self._database.write(lambda connection: _beat(connection, instance, number))

    async def leave(self, instances: Collection[str]) -> None:
        """Say that these gateways have ended: nobody waits for them, and none is named as silent."""
        left = delete(GATEWAYS).where(GATEWAYS.c.instance.in_(list(instances)))
        await self._database.write(lambda connection: done(connection, left))

    async def changed(self, most_s: float) -> None:
        """Wait until something may have changed, at most so long."""
        await self._database.changes.wait(most_s)

    async def freeze(self, freeze: Freeze) -> Freeze:
        """Keep a freeze; return it with its number. One whose ID is there already is left as it is."""
        kept = await self._database.write(lambda connection: _freeze(connection, freeze))
        self._database.changes.tell()
        return kept

    async def thaw(self, freeze_id: str, by: str) -> Freeze | None:
        """End a freeze; return it, or None if there is none in force with that ID."""
        ended = await self._database.write(lambda connection: _thaw(connection, freeze_id, by))
        self._database.changes.tell()
        return ended

    async def recorded(self, freeze_id: str, what: str) -> None:
        """Note that its beginning (`freeze`) or its end (`thaw`) is on record."""
        noted = update(FREEZES).where(FREEZES.c.freeze_id == freeze_id).values({_RECORDED[what]: True})
        await self._database.write(lambda connection: done(connection, noted))


def done(connection: Connection, statement: Executable) -> None:
    """Carry a statement out that returns nothing."""
    connection.execute(statement)


def notify(connection: Connection) -> None:
    """Have the gateways that listen look again once this transaction is done; SQLite has nobody to tell."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, "")))


def _freeze(connection: Connection, freeze: Freeze) -> Freeze:
    number = _next(connection)
    values = {
        "freeze_id": freeze.freeze_id,
        "team": freeze.scope.team,
        "rule": freeze.scope.rule,
        "reason": freeze.reason,
        "by": freeze.by,
        "at_ms": freeze.at_ms,
        "until_ms": freeze.until_ms,
        "number": number,
        "freeze_recorded": False,
        "thaw_recorded": False,
    }
    connection.execute(insert(connection, FREEZES).values(values).on_conflict_do_nothing())
    notify(connection)
    return _freeze_of(connection.execute(select(FREEZES).where(FREEZES.c.freeze_id == freeze.freeze_id)).one())


def _thaw(connection: Connection, freeze_id: str, by: str) -> Freeze | None:
    number = _next(connection)
    in_force = and_(FREEZES.c.freeze_id == freeze_id, FREEZES.c.thawed_ms.is_(None), _not_over())
    ended = (
        update(FREEZES).where(in_force).values(thawed_ms=now_ms(), thawed_by=by, number=number).returning(*FREEZES.c)
    )
    row = connection.execute(ended).one_or_none()
    notify(connection)
    return None if row is None else _freeze_of(row)


def _next(connection: Connection) -> int:
    """Return the number of this change. The row stays locked, so whoever reads a number sees all below it."""
    counted = update(NUMBERS).where(NUMBERS.c.name == "freezes").values(value=NUMBERS.c.value + 1)
    number: int = connection.execute(counted.returning(NUMBERS.c.value)).scalar_one()
    return number


def _beat(connection: Connection, instance: str, number: int) -> Snapshot:
    seen = insert(connection, GATEWAYS).values(instance=instance, seen_ms=now_ms(), number=number)
    seen = seen.on_conflict_do_update(index_elements=["instance"], set_={"seen_ms": now_ms(), "number": number})
    now = connection.execute(seen.returning(GATEWAYS.c.seen_ms)).scalar_one()
    # The number first: a change in between is then one that is read again, and never one that is taken for read.
    reached = connection.execute(select(NUMBERS.c.value).where(NUMBERS.c.name == "freezes")).scalar_one_or_none()
    if reached is None:
        # Cut short: without this row it would read like a store without freezes.
        raise StateUnavailable("refused")
    rows = connection.execute(select(FREEZES).where(_to_be_known()).order_by(FREEZES.c.number)).all()
    fleet = select(GATEWAYS).where(GATEWAYS.c.seen_ms > now - FORGOTTEN_MS).order_by(GATEWAYS.c.instance)
    wished = and_(PLANS.c.claimed_by == instance, PLANS.c.stopped_by.is_not(None), PLANS.c.state.not_in(OVER))
    return Snapshot(
        now_ms=now,
        number=reached,
        freezes=tuple(map(_freeze_of, rows)),
        unrecorded=frozenset(one for row in rows for one in _unrecorded(row)),
        gateways=tuple(Gateway(row.instance, row.seen_ms, row.number) for row in connection.execute(fleet)),
        stops=tuple(
            Stop(row.plan_id, row.stopped_by)
            for row in connection.execute(select(PLANS.c.plan_id, PLANS.c.stopped_by).where(wished))
        ),
    )


def _not_over() -> ColumnElement[bool]:
    return or_(FREEZES.c.until_ms.is_(None), FREEZES.c.until_ms > now_ms())


def _to_be_known() -> ColumnElement[bool]:
    unrecorded = or_(
        FREEZES.c.freeze_recorded.is_(False), and_(FREEZES.c.thawed_ms.is_not(None), FREEZES.c.thaw_recorded.is_(False))
    )
    return or_(and_(FREEZES.c.thawed_ms.is_(None), _not_over()), unrecorded)


def _unrecorded(row: AnyRow) -> list[tuple[str, str]]:
    """Return what of a freeze is on no record. An end by `until` needs none: the first record says it."""
    missing = [] if row.freeze_recorded else ["freeze"]
    missing += ["thaw"] if row.thawed_ms is not None and not row.thaw_recorded else []
    return [(row.freeze_id, what) for what in missing]


def _freeze_of(row: AnyRow) -> Freeze:
    return Freeze(
        freeze_id=row.freeze_id,
        scope=Scope(row.team, row.rule),
        reason=row.reason,
        by=row.by,
        at_ms=row.at_ms,
        until_ms=row.until_ms,
        number=row.number,
        thawed_ms=row.thawed_ms,
        thawed_by=row.thawed_by,
    )
