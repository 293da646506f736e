"""Plans that wait for approval, and what people say of them.

Whoever changes what is known of a waiting plan holds the row of the plan, as a gateway does that claims it. So a plan
is applied or rejected, and never both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, false, func, select, update

from gateway.state.approvals import MOST_OF_A_TEAM, MOST_OF_ONE, SHOWN_MS, End, Full, Unheard, Voice, Waiting
from gateway.state.freezes import GONE_MS
from gateway.state.plans import KeptPlan
from gateway.store.engine import Database
from gateway.store.freezes import done
from gateway.store.plans import put_plan
from gateway.store.tables import APPROVALS, GATEWAYS, PLANS, SCOPES, VOICES, AnyRow, insert, now_ms

MOST_LISTED = 256
"""The most waiting plans that are listed at a time, and whose ends are recorded at a time."""

BY_ITSELF = "gateway"
"""Who stopped a plan whose approval has ended without a person's word."""

_OPEN = APPROVALS.c.end.is_(None) & PLANS.c.claimed_by.is_(None) & PLANS.c.stopped_by.is_(None)
_BOTH = APPROVALS.outerjoin(PLANS, APPROVALS.c.plan_id == PLANS.c.plan_id)


class SqlApprovals:
    """The port `Approvals` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def wait_for_approval(self, waiting: Waiting, plan: KeptPlan) -> Waiting | Full:
        """Take a plan that is to wait from now on, or return the one that waits already for an identical cancel."""
        queue = _scope(waiting.team)
        return await self._database.write(lambda connection: _wait(connection, waiting, plan), queue=queue)

    async def confirm_wait(self, plan_id: str) -> None:
        """Let a plan wait, because that is on record: from now on it is listed, and what people say of it is taken."""
        asked = update(APPROVALS).where(APPROVALS.c.plan_id == plan_id).values(asked=True)
        await self._database.write(lambda connection: done(connection, asked))

    async def waiting(self, plan_id: str) -> Waiting | None:
        """Return what is known of a plan that waits or has waited."""
        return await self._database.read(lambda connection: _waiting(connection, plan_id))

    async def waiting_like(self, requester: str, request_sha256: str, instance: str) -> Waiting | None:
        """Return the newest plan of an identical cancel that waits in time, or was rejected and would still wait.

        One that this gateway has claimed is among them: it alone knows whether the answer to the claim was lost.
        """
        return await self._database.read(lambda connection: _like(connection, requester, request_sha256, instance))

    async def waiting_for(self, team: str | None) -> Sequence[Waiting]:
        """Return the plans that wait for people of this team (None: of any), the newest first."""
        return await self._database.read(lambda connection: _listed(connection, team))

    async def hear(self, voice: Voice) -> Waiting | Unheard:
        """Take what somebody says of a plan; it counts once it is confirmed. Said again it changes nothing."""
        return await self._database.write(lambda connection: _hear(connection, voice))

    async def confirm(self, voice_id: str) -> Waiting | None:
        """Let it count, because it is on record; return the plan as it is then. A rejection ends a plan that waits."""
        return await self._database.write(lambda connection: _confirm(connection, voice_id))

    async def end_waiting(self, plan_id: str, end: End, instance: str) -> bool:
        """End the wait of a plan for good, so that nobody applies it; return whether it has not ended before.

        A plan that another gateway than this one has claimed does not wait. Of a claim of its own the caller knows that
        its answer was lost.
        """
        return await self._database.write(lambda connection: _end(connection, plan_id, end, by=BY_ITSELF, own=instance))

    async def expired(self, instance: str) -> Sequence[Waiting]:
        """Return the plans whose time is up, for this gateway to record: its own, and those of dead ones."""
        return await self._database.write(lambda connection: _expired(connection, instance))


def _scope(team: str) -> str:
    """Return the scope in which the plans of a team that wait are counted."""
    return f"approvals team:{team}"


def _now(connection: Connection) -> int:
    return connection.execute(select(now_ms())).scalar_one()


def _wait(connection: Connection, waiting: Waiting, plan: KeptPlan) -> Waiting | Full:
    # One at a time for a team: each sees the plans of those before it.
    touched = insert(connection, SCOPES).values(scope=_scope(waiting.team), touched_ms=now_ms())
    touched = touched.on_conflict_do_update(index_elements=["scope"], set_={"touched_ms": now_ms()})
    now = connection.execute(touched.returning(SCOPES.c.touched_ms)).scalar_one()
    known = _waiting(connection, waiting.plan_id) or _like(connection, waiting.requester, waiting.request_sha256)
    if known is not None:
        return known
    counted = select(func.count()).select_from(_BOTH).where(_OPEN, APPROVALS.c.until_ms > now)
    if _number(connection, counted.where(APPROVALS.c.requester == waiting.requester)) >= MOST_OF_ONE:
        return Full(MOST_OF_ONE, "you")
    if _number(connection, counted.where(APPROVALS.c.team == waiting.team)) >= MOST_OF_A_TEAM:
        return Full(MOST_OF_A_TEAM, "your team")
    until = now + waiting.within_ms
    put_plan(connection, plan, shown_until_ms=until + SHOWN_MS)
    row = {
        "plan_id": waiting.plan_id,
        "instance": waiting.instance,
        "team": waiting.team,
        "requester": waiting.requester,
        "person": waiting.person,
        "request_sha256": waiting.request_sha256,
        "rule": waiting.rule,
        "by": f" {' '.join(waiting.by)} ",
        "needed": waiting.needed,
        "plan_digest": waiting.plan_digest,
        "policy_digest": waiting.policy_digest,
        "within_ms": waiting.within_ms,
        "asked_ms": now,
        "until_ms": until,
        "asked": False,
    }
    connection.execute(insert(connection, APPROVALS).values(row))
    kept = _waiting(connection, waiting.plan_id)
    assert kept is not None
    return kept


def _number(connection: Connection, asked: Select[Any]) -> int:
    return int(connection.execute(asked).scalar_one())


def _found() -> Select[Any]:
    return select(*APPROVALS.c, PLANS.c.claimed_by).select_from(_BOTH)


def _waiting(connection: Connection, plan_id: str) -> Waiting | None:
    return _first(connection, _found().where(APPROVALS.c.plan_id == plan_id))


def _like(connection: Connection, requester: str, request_sha256: str, own: str | None = None) -> Waiting | None:
    rejected = (APPROVALS.c.end == End.REJECTED.value) & PLANS.c.claimed_by.is_(None)
    asked = _found().where(
        APPROVALS.c.requester == requester,
        APPROVALS.c.request_sha256 == request_sha256,
        APPROVALS.c.until_ms > now_ms(),
        _OPEN | rejected | (APPROVALS.c.end.is_(None) & _claimed_by(own) & PLANS.c.stopped_by.is_(None)),
    )
    return _first(connection, asked.order_by(APPROVALS.c.asked_ms.desc(), APPROVALS.c.plan_id.desc()))


def _claimed_by(own: str | None) -> ColumnElement[bool]:
    """Return the condition that this gateway (None: none) has claimed a plan."""
    return false() if own is None else PLANS.c.claimed_by == own


def _first(connection: Connection, asked: Select[Any]) -> Waiting | None:
    row = connection.execute(asked.limit(1)).one_or_none()
    return None if row is None else _waiting_of(connection, row, _now(connection))


def _listed(connection: Connection, team: str | None) -> Sequence[Waiting]:
    asked = _found().where(_OPEN, APPROVALS.c.asked, APPROVALS.c.until_ms > now_ms())
    if team is not None:
        asked = asked.where(APPROVALS.c.by.contains(f" {team} ", autoescape=True))
    newest = asked.order_by(APPROVALS.c.asked_ms.desc(), APPROVALS.c.plan_id.desc()).limit(MOST_LISTED)
    return [_waiting_of(connection, row, _now(connection)) for row in connection.execute(newest).all()]


def _waiting_of(connection: Connection, row: AnyRow, now: int) -> Waiting:
    said = select(VOICES).where(VOICES.c.plan_id == row.plan_id).order_by(VOICES.c.at_ms, VOICES.c.voice_id)
    return Waiting(
        plan_id=row.plan_id,
        instance=row.instance,
        team=row.team,
        requester=row.requester,
        person=row.person,
        request_sha256=row.request_sha256,
        rule=row.rule,
        by=tuple(row.by.split()),
        needed=row.needed,
        plan_digest=row.plan_digest,
        policy_digest=row.policy_digest,
        within_ms=row.within_ms,
        asked_ms=row.asked_ms,
        until_ms=row.until_ms,
        now_ms=now,
        claimed_by=row.claimed_by,
        asked=row.asked,
        end=None if row.end is None else End(row.end),
        voices=tuple(Voice(**one._mapping) for one in connection.execute(said)),  # noqa: SLF001 - SQLAlchemy's public name
    )


def _held(connection: Connection, plan_id: str) -> Waiting | None:
    """Return a plan that waits in time and on record, held by this transaction until its end; None if it does not."""
    if connection.execute(_row(plan_id)).one_or_none() is None:
        return None
    found = _first(connection, _found().where(APPROVALS.c.plan_id == plan_id, APPROVALS.c.asked, _OPEN))
    return None if found is None or found.late else found


def _row(plan_id: str) -> Select[Any]:
    """Return the question that holds the row of a plan."""
    return select(PLANS.c.plan_id).where(PLANS.c.plan_id == plan_id).with_for_update()


def _hear(connection: Connection, voice: Voice) -> Waiting | Unheard:
    found = _held(connection, voice.plan_id)
    if found is None or (found.plan_digest, found.policy_digest) != (voice.plan_digest, voice.policy_digest):
        return Unheard.GONE
    before = [one for one in found.voices if (one.principal, one.word) == (voice.principal, voice.word)]
    if any(one.confirmed for one in before):
        return found
    # Also those that are not on record yet: of two that are taken at once both would count.
    others = [one.person for one in found.voices if one.word == "approve" and one.principal != voice.principal]
    if voice.principal == found.requester or voice.person in (found.person, *others):
        return Unheard.SAME_PERSON
    values = {
        "voice_id": voice.voice_id,
        "person": voice.person,
        "credential": voice.credential,
        "reason": voice.reason,
        "plan_digest": voice.plan_digest,
        "policy_digest": voice.policy_digest,
        "at_ms": now_ms(),
        "confirmed": False,
    }
    said = insert(connection, VOICES).values(
        plan_id=voice.plan_id, principal=voice.principal, word=voice.word, **values
    )
    again = said.on_conflict_do_update(index_elements=["plan_id", "principal", "word"], set_=values)
    connection.execute(again)
    return found


def _confirm(connection: Connection, voice_id: str) -> Waiting | None:
    one = connection.execute(select(VOICES).where(VOICES.c.voice_id == voice_id)).one_or_none()
    if one is None:
        return None
    # In the order in which `_hear` takes them, so that neither waits for the other.
    connection.execute(_row(one.plan_id))
    connection.execute(update(VOICES).where(VOICES.c.voice_id == voice_id).values(confirmed=True))
    if one.word == "reject":
        _end(connection, one.plan_id, End.REJECTED, by=one.principal)
    return _waiting(connection, one.plan_id)


def _end(connection: Connection, plan_id: str, end: End, *, by: str, own: str | None = None) -> bool:
    free: ColumnElement[bool] = (PLANS.c.claimed_by.is_(None) | _claimed_by(own)) & PLANS.c.stopped_by.is_(None)
    state = "rejected" if end is End.REJECTED else "expired"
    stopped = update(PLANS).where(PLANS.c.plan_id == plan_id, free).values(stopped_by=by, state=state)
    if connection.execute(stopped).rowcount != 1:
        return False
    ended = update(APPROVALS).where(APPROVALS.c.plan_id == plan_id, APPROVALS.c.end.is_(None)).values(end=end.value)
    return connection.execute(ended).rowcount == 1


def _expired(connection: Connection, instance: str) -> Sequence[Waiting]:
    due = (APPROVALS.c.end.is_(None), APPROVALS.c.until_ms <= now_ms())
    beating = select(GATEWAYS.c.instance).where(GATEWAYS.c.seen_ms > now_ms() - GONE_MS)
    connection.execute(update(APPROVALS).where(*due, APPROVALS.c.instance.not_in(beating)).values(instance=instance))
    waits = select(PLANS.c.plan_id).where(PLANS.c.claimed_by.is_(None), PLANS.c.stopped_by.is_(None))
    over = update(APPROVALS).where(*due, APPROVALS.c.instance == instance, APPROVALS.c.plan_id.not_in(waits))
    connection.execute(over.values(end=End.OVER.value))
    asked = _found().where(*due, APPROVALS.c.instance == instance).order_by(APPROVALS.c.until_ms).limit(MOST_LISTED)
    return [_waiting_of(connection, row, _now(connection)) for row in connection.execute(asked).all()]
