"""Notices on their way to receivers: kept once, leased to one gateway at a time, in order per subject.

Of each subject only the first notice that waits can be taken, so none overtakes another, whatever is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, select, tuple_, update

from gateway.state.notices import KeptNotice, TakenNotice
from gateway.store.engine import Database
from gateway.store.freezes import done
from gateway.store.tables import NOTICES, AnyRow, insert, now_ms


class SqlNotices:
    """The port `Notices` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_notices(self, notices: Sequence[KeptNotice], most: int) -> Mapping[str, int]:
        """Keep notices; one that is known for its receiver is left as it is.

        At most so many wait for one receiver: the oldest beyond them are dropped. Return how many, by receiver.
        """
        return await self._database.write(lambda connection: _keep(connection, notices, most))

    async def take_notices(self, receiver: str, holder: str, *, most: int, lease_ms: int) -> Sequence[TakenNotice]:
        """Return notices that are due, for this holder alone for so long: of each subject the first that waits.

        What has been due for longest comes first. While nothing is due it only reads, so that the one writer of a
        file is not kept waiting for it.
        """
        first = _due(receiver).limit(1)
        if await self._database.read(lambda connection: connection.execute(first).first()) is None:
            return ()
        return await self._database.write(lambda connection: _take(connection, receiver, holder, most, lease_ms))

    async def notice_delivered(self, notice: TakenNotice) -> None:
        """Note that the receiver has taken it."""
        noted = update(NOTICES).where(_is(notice)).values(delivered=True, document=b"", due_ms=now_ms())
        await self._database.write(lambda connection: done(connection, noted))

    async def notice_postponed(self, notice: TakenNotice, holder: str, wait_ms: int) -> None:
        """Give the notice back after an attempt that failed; it is due again after so long."""
        given = update(NOTICES).where(_is(notice), NOTICES.c.leased_by == holder)
        given = given.values(attempts=notice.attempts + 1, due_ms=now_ms() + wait_ms, leased_until_ms=0)
        await self._database.write(lambda connection: done(connection, given))


def _name(notice: KeptNotice | TakenNotice) -> str:
    return f"{notice.notice_id}/{notice.receiver}"


def _is(notice: TakenNotice) -> ColumnElement[bool]:
    return and_(NOTICES.c.delivery_id == _name(notice), NOTICES.c.delivered.is_(False))


def _keep(connection: Connection, notices: Sequence[KeptNotice], most: int) -> Mapping[str, int]:
    for notice in notices:
        row = {
            "delivery_id": _name(notice),
            "notice_id": notice.notice_id,
            "receiver": notice.receiver,
            "subject": notice.subject,
            "at_ms": notice.at_ms,
            "document": notice.document,
            "due_ms": now_ms(),
            "attempts": 0,
            "leased_until_ms": 0,
            "delivered": False,
        }
        connection.execute(insert(connection, NOTICES).values(row).on_conflict_do_nothing())
    receivers = sorted({notice.receiver for notice in notices})
    dropped = {receiver: _drop_beyond(connection, receiver, most) for receiver in receivers}
    return {receiver: number for receiver, number in dropped.items() if number}


def _drop_beyond(connection: Connection, receiver: str, most: int) -> int:
    waiting = select(NOTICES.c.delivery_id).where(NOTICES.c.receiver == receiver, NOTICES.c.delivered.is_(False))
    newest_first = waiting.order_by(NOTICES.c.at_ms.desc(), NOTICES.c.notice_id.desc())
    beyond = list(connection.execute(newest_first.offset(most)).scalars())
    if beyond:
        connection.execute(delete(NOTICES).where(NOTICES.c.delivery_id.in_(beyond)))
    return len(beyond)


def _due(receiver: str) -> Select[tuple[str, str, str, bytes, int]]:
    """Return the query of what can be taken now: due, leased to nobody, and the first of its subject that waits."""
    earlier = NOTICES.alias()
    overtaken = exists().where(
        earlier.c.receiver == NOTICES.c.receiver,
        earlier.c.subject == NOTICES.c.subject,
        earlier.c.delivered.is_(False),
        tuple_(earlier.c.at_ms, earlier.c.notice_id) < tuple_(NOTICES.c.at_ms, NOTICES.c.notice_id),
    )
    columns = (NOTICES.c.delivery_id, NOTICES.c.notice_id, NOTICES.c.receiver, NOTICES.c.document, NOTICES.c.attempts)
    return (
        select(*columns)
        .where(
            NOTICES.c.receiver == receiver,
            NOTICES.c.delivered.is_(False),
            NOTICES.c.due_ms <= now_ms(),
            NOTICES.c.leased_until_ms <= now_ms(),
            ~overtaken,
        )
        # By when they are due: one that is refused again and again comes behind those that were not tried.
        .order_by(NOTICES.c.due_ms, NOTICES.c.at_ms, NOTICES.c.notice_id)
    )


def _take(connection: Connection, receiver: str, holder: str, most: int, lease_ms: int) -> Sequence[TakenNotice]:
    due = _due(receiver).limit(most)
    if connection.dialect.name == "postgresql":
        due = due.with_for_update(skip_locked=True, of=NOTICES)
    rows = connection.execute(due).all()
    leased = update(NOTICES).where(NOTICES.c.delivery_id.in_([row.delivery_id for row in rows]))
    connection.execute(leased.values(leased_by=holder, leased_until_ms=now_ms() + lease_ms))
    return [_taken_of(row) for row in rows]


def _taken_of(row: AnyRow) -> TakenNotice:
    return TakenNotice(row.notice_id, row.receiver, row.document, row.attempts)
