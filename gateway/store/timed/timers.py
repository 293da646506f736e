"""Pauses that end by themselves: made before they are sent, taken by one gateway each, replaced by what comes later."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, case, delete, or_, select, update

from gateway.state.freezes import GONE_MS
from gateway.state.timed.timers import MOST_TIMERS, Stage, Switched, Timer, Timers
from gateway.store.engine import Database
from gateway.store.freezes import done
from gateway.store.tables import GATEWAYS, TIMERS, AnyRow, insert, now_ms

PAUSE_UNKNOWN = "pause_unknown"
"""Why a timer is stuck whose pause may not have been done."""


class SqlTimers:
    """The port `TimersKept` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prepare_timer(self, timer: Timer) -> None:
        """Keep a timer before its pause is sent."""
        row = {
            "decision_id": timer.decision_id,
            "field": timer.field,
            "name": timer.name,
            "team": timer.team,
            "subject": timer.subject,
            "key_id": timer.key_id,
            "lasts_ms": timer.lasts_ms,
            "instance": timer.instance,
            "stage": Stage.PREPARED.value,
            "at_ms": now_ms(),
        }
        await self._database.write(
            lambda connection: done(connection, insert(connection, TIMERS).values(row).on_conflict_do_nothing())
        )

    async def switched(self, switched: Switched) -> None:
        """Note what came of a pause or resume: its own timer waits from now on, or is over; so are those it replaces.

        A pause of which nobody knows whether it was done leaves a timer that is stuck.
        """
        await self._database.write(lambda connection: _switched(connection, switched))

    async def timers(self) -> Timers:
        """Return the timers, the first due first."""
        return await self._database.read(_timers)

    async def take_timer(self, decision_id: str, resume_id: str, instance: str) -> bool:
        """Return whether this gateway alone may resume what is due, under this decision."""
        return await self._database.write(lambda connection: _take(connection, decision_id, resume_id, instance))

    async def give_back_timer(self, decision_id: str, resume_id: str, wait_ms: int) -> None:
        """Give a timer back, because nothing was sent for it; it is due again after so long."""
        given = update(TIMERS).where(_taken(decision_id, resume_id))
        given = given.values(stage=Stage.WAITING.value, resume_id=None, due_ms=now_ms() + wait_ms)
        await self._database.write(lambda connection: done(connection, given))

    async def end_timer(self, decision_id: str, resume_id: str, why: str | None) -> None:
        """End a timer that was taken: what it is about was resumed, or it is stuck, and `why`."""
        taken = _taken(decision_id, resume_id)
        if why is None:
            await self._database.write(lambda connection: done(connection, delete(TIMERS).where(taken)))
            return
        stuck = update(TIMERS).where(taken).values(stage=Stage.STUCK.value, why=why)
        await self._database.write(lambda connection: done(connection, stuck))


def _taken(decision_id: str, resume_id: str) -> ColumnElement[bool]:
    return and_(
        TIMERS.c.decision_id == decision_id, TIMERS.c.resume_id == resume_id, TIMERS.c.stage == Stage.TAKEN.value
    )


def _take(connection: Connection, decision_id: str, resume_id: str, instance: str) -> bool:
    due = and_(TIMERS.c.decision_id == decision_id, TIMERS.c.stage == Stage.WAITING.value, TIMERS.c.due_ms <= now_ms())
    # The answer may have been lost the first time.
    again = and_(_taken(decision_id, resume_id), TIMERS.c.instance == instance)
    taken = update(TIMERS).where(or_(due, again))
    return (
        connection.execute(taken.values(stage=Stage.TAKEN.value, resume_id=resume_id, instance=instance)).rowcount == 1
    )


def _switched(connection: Connection, switched: Switched) -> None:
    if switched.replaces:
        others = and_(
            TIMERS.c.field == switched.field,
            TIMERS.c.name == switched.name,
            TIMERS.c.decision_id != switched.decision_id,
            TIMERS.c.stage != Stage.PREPARED.value,
        )
        connection.execute(delete(TIMERS).where(others))
    own = and_(TIMERS.c.decision_id == switched.decision_id, TIMERS.c.stage == Stage.PREPARED.value)
    match switched.certain:
        case True:
            waits = update(TIMERS).where(own)
            connection.execute(waits.values(stage=Stage.WAITING.value, due_ms=now_ms() + TIMERS.c.lasts_ms))
        case False:
            connection.execute(delete(TIMERS).where(own))
        case None:
            connection.execute(update(TIMERS).where(own).values(stage=Stage.STUCK.value, why=PAUSE_UNKNOWN))


def _timers(connection: Connection) -> Timers:
    beating = GATEWAYS.c.seen_ms > now_ms() - GONE_MS
    found = (
        select(*TIMERS.c, case((beating, 0), else_=1).label("gone"))
        .select_from(TIMERS.outerjoin(GATEWAYS, TIMERS.c.instance == GATEWAYS.c.instance))
        .order_by(case((TIMERS.c.stage == Stage.WAITING.value, 0), else_=1), TIMERS.c.due_ms, TIMERS.c.decision_id)
        .limit(MOST_TIMERS)
    )
    rows = connection.execute(found).all()
    now: int = connection.execute(select(now_ms())).scalar_one()
    return Timers(now, tuple(map(_timer_of, rows)))


def _timer_of(row: AnyRow) -> Timer:
    return Timer(
        decision_id=row.decision_id,
        field=row.field,
        name=row.name,
        team=row.team,
        subject=row.subject,
        key_id=row.key_id,
        lasts_ms=row.lasts_ms,
        instance=row.instance,
        stage=Stage(row.stage),
        due_ms=row.due_ms,
        resume_id=row.resume_id,
        why=row.why,
        gone=bool(row.gone),
    )
