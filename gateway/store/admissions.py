"""Budgets and Idempotency-Keys: what a decision takes before its intent, and how that is settled.

Takers of one budget queue at its row (`scopes`), so that each sees what those before it took. On SQLite there is one
writer anyway. Nothing is written before the verdict is known; one that refuses is undone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, case, delete, func, literal, select, update

from gateway.core.errors import StateUnavailable
from gateway.state.admissions import (
    ONCE_MS,
    Admission,
    Admitted,
    Answered,
    Binding,
    Bound,
    Closed,
    Exhausted,
    Left,
    NeedsApproval,
    Open,
    Progress,
    Reservation,
    Unapproved,
    Verdict,
    team_scope,
)
from gateway.state.freezes import GONE_MS
from gateway.store.engine import Database
from gateway.store.tables import ADMISSIONS, BINDINGS, GATEWAYS, SCOPES, AnyRow, insert, now_ms


class SqlAdmissions:
    """The port `Admissions` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, admission: Admission) -> Verdict:
        """Take the reservation and the key, both or neither. The same admission again is the same one."""
        return await self._database.write(
            lambda connection: _admit(connection, admission),
            keep=lambda verdict: isinstance(verdict, Admitted),
            queue=None if admission.reservation is None else _queue(admission.reservation),
        )

    async def withdraw(self, decision_id: str) -> None:
        """Give back what a decision took: nothing was sent, and no intent stands in the record."""
        await self._database.write(lambda connection: _withdraw(connection, decision_id))

    async def close(self, decision_id: str, closed: Closed) -> None:
        """Settle a decision by what is certain now. A later call may know more; what was certain stays."""
        await self._database.write(lambda connection: _close(connection, decision_id, closed))

    async def left(self, drawn: Sequence[Reservation]) -> Sequence[Left]:
        """Return what is left of the budget that each of these reservations would take from, in turn."""
        return await self._database.read(lambda connection: _each_left(connection, drawn))

    async def bound(self, key_sha256: str) -> Bound | None:
        """Return who has the key, if it is taken."""
        return await self._database.read(lambda connection: _bound(connection, key_sha256, _now(connection)))

    async def open_of(self, instances: Collection[str]) -> Sequence[Open]:
        """Return the admissions of these gateways that are neither closed nor withdrawn."""
        asked = select(ADMISSIONS.c.decision_id, ADMISSIONS.c.instance).where(
            ADMISSIONS.c.instance.in_(list(instances)), ADMISSIONS.c.closed.is_(False)
        )
        return await self._database.read(
            lambda connection: [Open(row.decision_id, row.instance) for row in connection.execute(asked)]
        )


def _now(connection: Connection) -> int:
    return connection.execute(select(now_ms())).scalar_one()


def _admit(connection: Connection, admission: Admission) -> Verdict:
    reservation, binding = admission.reservation, admission.binding
    locked_at = None if reservation is None else _locked(connection, *_scopes(reservation))
    now, is_mine, left = _known(connection, admission, locked_at)
    if is_mine:
        return Admitted(left)
    if binding is not None and (bound := _bound(connection, binding.key_sha256, now)) is not None:
        return bound
    if reservation is not None and left is not None:
        if not _suffices(left, reservation):
            return Exhausted(left)
        if (needed := _needed(connection, reservation, now)) is not None:
            return needed
        left = _after(left, reservation, now)
    while binding is not None and not _bind(connection, admission, binding, now):
        # Another gateway took the key between the look and now. It may have given it back by the next line.
        if (taken := _bound(connection, binding.key_sha256, now)) is not None:
            return taken
    connection.execute(insert(connection, ADMISSIONS).values(_row_of(admission, now)))
    return Admitted(left)


def _known(connection: Connection, admission: Admission, locked_at: int | None) -> tuple[int, bool, Left | None]:
    """Return the time, whether the decision was admitted before, and what is left of its budget: in one question.

    The time is that of the lock, where there was one to wait for.

    Raises: StateUnavailable: it was, and then given back.
    """
    other = ADMISSIONS.alias()
    mine = select(other.c.withdrawn).where(other.c.decision_id == admission.decision_id).scalar_subquery()
    reservation, left = admission.reservation, None
    at: ColumnElement[int] = now_ms() if locked_at is None else literal(locked_at, BigInteger)
    if reservation is None:
        now, withdrawn = connection.execute(select(at, mine)).one()
    else:
        *taken, now, withdrawn = connection.execute(_taken_of(reservation, at).add_columns(at, mine)).one()
        left = _left_after(reservation, now, *taken)
    if withdrawn:
        raise StateUnavailable("refused")
    return now, withdrawn is not None, left


def _locked(connection: Connection, first: str, *others: str) -> int | None:
    """Return the time at which the budgets were this transaction's alone. The clock is read after the wait for them.

    None: there was nothing to wait for, because the transaction is the only one that writes.
    """
    if connection.dialect.name == "sqlite":
        return None
    now = 0
    for scope in (first, *others):
        touched = insert(connection, SCOPES).values(scope=scope, touched_ms=now_ms())
        touched = touched.on_conflict_do_update(index_elements=["scope"], set_={"touched_ms": now_ms()})
        now = connection.execute(touched.returning(SCOPES.c.touched_ms)).scalar_one()
    return now


def _scopes(reservation: Reservation) -> list[str]:
    """Return the scopes to lock: that of the budget and, where approval may be needed, that of rule and team.

    They are locked in the order of their names, so that no two transactions wait for each other.
    """
    if reservation.unapproved is None:
        return [reservation.scope]
    return sorted({reservation.scope, team_scope(reservation.rule, reservation.team)})


def _queue(reservation: Reservation) -> str:
    """Return the scope that most requests wait for: that of the team, where the one of the budget is narrower."""
    if reservation.unapproved is None or reservation.scope == reservation.rule:
        return reservation.scope
    return team_scope(reservation.rule, reservation.team)


def _needed(connection: Connection, reservation: Reservation, now: int) -> NeedsApproval | None:
    """Return what keeps the reservation from being made without approval, if something does."""
    free = reservation.unapproved
    if free is None or not reservation.runs:
        return None
    before = _of_the_team(connection, reservation, free, now)
    return NeedsApproval(before) if before + reservation.runs > free.over else None


def _of_the_team(connection: Connection, reservation: Reservation, free: Unapproved, now: int) -> int:
    table = ADMISSIONS.c
    of_team = table.team.is_(None) | (table.team == reservation.team)
    window = (table.rule == reservation.rule, table.at_ms > now - free.within_ms, of_team)
    return int(connection.execute(select(func.coalesce(func.sum(table.runs), 0)).where(*window)).scalar_one())


def _row_of(admission: Admission, now: int) -> dict[str, object]:
    reservation = admission.reservation
    windows = [] if reservation is None else [reservation.budget.per_ms]
    if reservation is not None and reservation.unapproved is not None:
        windows.append(reservation.unapproved.within_ms)
    return {
        "decision_id": admission.decision_id,
        "instance": admission.instance,
        "at_ms": now,
        "expires_ms": now + max(ONCE_MS, *windows) if windows else now + ONCE_MS,
        "closed": False,
        "withdrawn": False,
        "scope": None if reservation is None else reservation.scope,
        "rule": None if reservation is None else reservation.rule,
        "runs": 0 if reservation is None else reservation.runs,
        "requests": 0 if reservation is None else 1,
        "team": None if reservation is None else reservation.team,
    }


def _left(connection: Connection, reservation: Reservation, now: int) -> Left:
    return _left_after(reservation, now, *connection.execute(_taken_of(reservation, now)).one())


def _taken_of(reservation: Reservation, now: int | ColumnElement[int]) -> Select[Any]:
    """Return the question what is taken of a budget: runs, requests, and when the last of it was taken."""
    table = ADMISSIONS.c
    counted = (table.scope == reservation.scope, table.at_ms > now - reservation.budget.per_ms)
    last = func.max(case((table.runs + table.requests > 0, table.at_ms)))
    taken = func.coalesce(func.sum(table.runs), 0), func.coalesce(func.sum(table.requests), 0)
    return select(*taken, last).where(*counted)


def _left_after(reservation: Reservation, now: int, runs: int, requests: int, latest: int | None) -> Left:
    budget = reservation.budget
    return Left(
        runs=None if budget.runs is None else max(0, budget.runs - int(runs)),
        requests=None if budget.requests is None else max(0, budget.requests - int(requests)),
        resets_ms=now if latest is None else latest + budget.per_ms,
    )


def _each_left(connection: Connection, drawn: Sequence[Reservation]) -> Sequence[Left]:
    now = _now(connection)
    return [_left(connection, one, now) for one in drawn]


def _suffices(left: Left, reservation: Reservation) -> bool:
    return (left.runs is None or reservation.runs <= left.runs) and (left.requests is None or left.requests >= 1)


def _after(left: Left, reservation: Reservation, now: int) -> Left:
    return Left(
        runs=None if left.runs is None else left.runs - reservation.runs,
        requests=None if left.requests is None else left.requests - 1,
        resets_ms=now + reservation.budget.per_ms,
    )


def _bind(connection: Connection, admission: Admission, binding: Binding, now: int) -> bool:
    """Return whether the key is this decision's now. It waits for another transaction that is about to take it."""
    connection.execute(
        delete(BINDINGS).where(BINDINGS.c.key_sha256 == binding.key_sha256, BINDINGS.c.expires_ms <= now)
    )
    taken = insert(connection, BINDINGS).values(
        key_sha256=binding.key_sha256,
        request_sha256=binding.request_sha256,
        decision_id=admission.decision_id,
        instance=admission.instance,
        expires_ms=now + ONCE_MS,
        closed=False,
    )
    taken = taken.on_conflict_do_nothing().returning(BINDINGS.c.decision_id)
    return connection.execute(taken).one_or_none() is not None


def _bound(connection: Connection, key_sha256: str, now: int) -> Bound | None:
    sender = BINDINGS.outerjoin(GATEWAYS, BINDINGS.c.instance == GATEWAYS.c.instance)
    asked = select(*BINDINGS.c, func.coalesce(GATEWAYS.c.seen_ms, 0).label("seen_ms")).select_from(sender)
    row = connection.execute(
        asked.where(BINDINGS.c.key_sha256 == key_sha256, BINDINGS.c.expires_ms > now)
    ).one_or_none()
    return None if row is None else _bound_of(row, now)


def _bound_of(row: AnyRow, now: int) -> Bound:
    answer = None if row.status is None else Answered(row.status, row.body)
    return Bound(
        decision_id=row.decision_id,
        request_sha256=row.request_sha256,
        progress=_progress(answer, closed=row.closed),
        gone=not row.closed and now - row.seen_ms > GONE_MS,
        answer=answer,
        cancelled=row.cancelled,
    )


def _progress(answer: Answered | None, *, closed: bool) -> Progress:
    if answer is not None:
        return Progress.ANSWERED
    return Progress.UNKNOWN if closed else Progress.UNDER_WAY


def _withdraw(connection: Connection, decision_id: str) -> None:
    """Give an admission back, unless it was closed: what was sent stays on the account.

    A row stays behind. An `admit` that ran out of time may still be at work, and then finds that it comes too late.
    """
    connection.execute(delete(BINDINGS).where(BINDINGS.c.decision_id == decision_id, BINDINGS.c.closed.is_(False)))
    nothing = {"closed": True, "withdrawn": True, "runs": 0, "requests": 0}
    expires = now_ms() + ONCE_MS
    given = insert(connection, ADMISSIONS).values(
        decision_id=decision_id, instance="", at_ms=now_ms(), expires_ms=expires, **nothing
    )
    connection.execute(
        given.on_conflict_do_update(index_elements=["decision_id"], set_=nothing, where=ADMISSIONS.c.closed.is_(False))
    )


def _close(connection: Connection, decision_id: str, closed: Closed) -> None:
    admission = update(ADMISSIONS).where(ADMISSIONS.c.decision_id == decision_id, ADMISSIONS.c.withdrawn.is_(False))
    binding = update(BINDINGS).where(BINDINGS.c.decision_id == decision_id)
    if closed.free_binding:
        connection.execute(
            delete(BINDINGS).where(
                BINDINGS.c.decision_id == decision_id, BINDINGS.c.cancelled.is_(None), BINDINGS.c.status.is_(None)
            )
        )
        admission = admission.values(requests=case((ADMISSIONS.c.cancelled.is_(None), 0), else_=ADMISSIONS.c.requests))
    if closed.answer is not None:
        answer = {"status": closed.answer.status, "body": closed.answer.body}
        connection.execute(binding.where(BINDINGS.c.status.is_(None)).values(answer))
    if closed.runs is not None:
        certain = {"cancelled": closed.runs}
        connection.execute(binding.where(BINDINGS.c.cancelled.is_(None)).values(certain))
        counted = case((ADMISSIONS.c.scope.is_(None), 0), else_=closed.runs)
        admission = admission.where(ADMISSIONS.c.cancelled.is_(None)).values(certain | {"runs": counted})
    connection.execute(admission.values(closed=True))
    connection.execute(binding.values(closed=True))
