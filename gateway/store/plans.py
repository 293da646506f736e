"""Plans that any gateway may show, apply or stop, and the cursors of listings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, case, func, select, update

from gateway.state.freezes import GONE_MS
from gateway.state.plans import OVER, KeptPlan
from gateway.store.engine import Database
from gateway.store.freezes import done, notify
from gateway.store.tables import CURSORS, GATEWAYS, PLANS, AnyRow, insert, now_ms

MOST_LISTED_BYTES = 4_000_000
"""The most bytes of plans that are read for one list: more would hold the connection, and memory, for long."""


class SqlPlans:
    """The port `Plans` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_plan(self, plan: KeptPlan) -> None:
        """Keep a plan, or what became of it; `claimed_by` and `stopped_by` are left as the store has them."""
        await self._database.write(lambda connection: put_plan(connection, plan))

    async def plan(self, plan_id: str) -> KeptPlan | None:
        """Return a plan that is still shown."""
        return await self._database.read(lambda connection: _plan(connection, plan_id))

    async def plans_of(self, principal: str | None, most: int) -> Sequence[KeptPlan]:
        """Return the principal's plans (None: anybody's) that are still shown, the newest first.

        They are no more than `most`, and the first of them that come to `MOST_LISTED_BYTES` together.
        """
        return await self._database.read(lambda connection: _plans_of(connection, principal, most))

    async def claim(self, plan_id: str, instance: str) -> bool:
        """Return whether this gateway may apply the plan: it alone, once, unless somebody stopped it.

        The second call returns False, also to the holder. After StateUnavailable nobody knows whether it was claimed,
        so the claim is given back before it is asked for again.
        """
        claimed = (
            update(PLANS)
            .where(
                PLANS.c.plan_id == plan_id,
                PLANS.c.claimed_by.is_(None),
                PLANS.c.stopped_by.is_(None),
                PLANS.c.expires_ms > now_ms(),
            )
            .values(claimed_by=instance)
        )
        return await self._database.write(lambda connection: connection.execute(claimed).rowcount == 1)

    async def give_back(self, plan_id: str, instance: str) -> None:
        """Give the claim back, before the intent; only its holder can."""
        given = update(PLANS).where(PLANS.c.plan_id == plan_id, PLANS.c.claimed_by == instance).values(claimed_by=None)
        await self._database.write(lambda connection: done(connection, given))

    async def stop_plan(self, plan_id: str, by: str) -> KeptPlan | None:
        """Note that the plan is to be stopped, unless it is over; return it as it is then."""
        stopped = await self._database.write(lambda connection: _stop(connection, plan_id, by))
        self._database.changes.tell()
        return stopped

    async def keep_cursor(self, cursor: str, owner: str, value: bytes, lives_s: int) -> None:
        """Keep what a cursor stands for."""
        await self._database.write(lambda connection: _keep_cursor(connection, cursor, owner, value, lives_s))

    async def cursor(self, cursor: str, owner: str) -> bytes | None:
        """Return what a cursor of this owner stands for, if it still lives."""
        asked = select(CURSORS.c.value).where(
            CURSORS.c.cursor == cursor, CURSORS.c.owner == owner, CURSORS.c.expires_ms > now_ms()
        )
        return await self._database.read(lambda connection: connection.execute(asked).scalar_one_or_none())


def _shown() -> Select[Any]:
    holder = PLANS.outerjoin(GATEWAYS, PLANS.c.claimed_by == GATEWAYS.c.instance)
    seen = func.coalesce(GATEWAYS.c.seen_ms, 0)
    gone = (PLANS.c.claimed_by.is_not(None) & (seen < now_ms() - GONE_MS)).label("gone")
    return select(*PLANS.c, gone).select_from(holder).where(PLANS.c.expires_ms > now_ms())


def _plan(connection: Connection, plan_id: str) -> KeptPlan | None:
    row = connection.execute(_shown().where(PLANS.c.plan_id == plan_id)).one_or_none()
    return None if row is None else _plan_of(row)


def _plans_of(connection: Connection, principal: str | None, most: int) -> list[KeptPlan]:
    sizes = select(PLANS.c.plan_id, func.length(PLANS.c.document).label("size")).where(PLANS.c.expires_ms > now_ms())
    sizes = sizes if principal is None else sizes.where(PLANS.c.principal == principal)
    newest, wanted, left = (PLANS.c.made_ms.desc(), PLANS.c.plan_id.desc()), list[str](), MOST_LISTED_BYTES
    for row in connection.execute(sizes.order_by(*newest).limit(most)):
        left -= row.size
        if wanted and left < 0:
            break
        wanted.append(row.plan_id)
    found = connection.execute(_shown().where(PLANS.c.plan_id.in_(wanted)).order_by(*newest))
    return [_plan_of(row) for row in found]


def _plan_of(row: AnyRow) -> KeptPlan:
    return KeptPlan(
        plan_id=row.plan_id,
        team=row.team,
        principal=row.principal,
        state=row.state,
        digest=row.digest,
        document=row.document,
        made_ms=row.made_ms,
        expires_ms=row.expires_ms,
        claimed_by=row.claimed_by,
        stopped_by=row.stopped_by,
        claimant_gone=bool(row.gone),
    )


def put_plan(connection: Connection, plan: KeptPlan, *, shown_until_ms: int | None = None) -> None:
    """Keep a plan, or what became of it, until then (None: as it says itself).

    One that was rejected or has expired while it waited stays so: what is written behind may come later.
    """
    values = {
        "team": plan.team,
        "principal": plan.principal,
        "digest": plan.digest,
        "document": plan.document,
        "made_ms": plan.made_ms,
        "expires_ms": plan.expires_ms if shown_until_ms is None else shown_until_ms,
    }
    ended = PLANS.c.state.in_(("rejected", "expired")) & PLANS.c.stopped_by.is_not(None) & PLANS.c.claimed_by.is_(None)
    kept = insert(connection, PLANS).values(plan_id=plan.plan_id, state=plan.state, **values)
    changed = {**values, "state": case((ended, PLANS.c.state), else_=plan.state)}
    connection.execute(kept.on_conflict_do_update(index_elements=["plan_id"], set_=changed))


def _stop(connection: Connection, plan_id: str, by: str) -> KeptPlan | None:
    connection.execute(
        update(PLANS)
        .where(PLANS.c.plan_id == plan_id, PLANS.c.stopped_by.is_(None), PLANS.c.state.not_in(OVER))
        .values(stopped_by=by)
    )
    notify(connection)
    return _plan(connection, plan_id)


def _keep_cursor(connection: Connection, cursor: str, owner: str, value: bytes, lives_s: int) -> None:
    values = {"owner": owner, "value": value, "expires_ms": now_ms() + lives_s * 1000}
    kept = insert(connection, CURSORS).values(cursor=cursor, **values)
    connection.execute(kept.on_conflict_do_update(index_elements=["cursor"], set_=values))
