"""The closed decisions of the whole fleet, for whichever gateway is asked."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, tuple_

from gateway.state.plans import KeptDecision
from gateway.store.engine import Database
from gateway.store.tables import DECISIONS, AnyRow, insert


class SqlDecisions:
    """The port `DecisionsKept` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_decisions(self, decisions: Sequence[KeptDecision]) -> None:
        """Keep decisions, or what is known of them by now."""
        if decisions:
            await self._database.write(lambda connection: _keep(connection, decisions))

    async def decision(self, decision_id: str) -> KeptDecision | None:
        """Return one decision."""
        asked = select(DECISIONS).where(DECISIONS.c.decision_id == decision_id)
        row = await self._database.read(lambda connection: connection.execute(asked).one_or_none())
        return None if row is None else _decision_of(row)

    async def decisions(self, team: str | None, most: int, before: tuple[int, str] | None) -> Sequence[KeptDecision]:
        """Return decisions of a team (None: any), the newest first, older than `before` (`at_ms`, ID)."""
        asked = select(DECISIONS).order_by(DECISIONS.c.at_ms.desc(), DECISIONS.c.decision_id.desc()).limit(most)
        if team is not None:
            asked = asked.where(DECISIONS.c.team == team)
        if before is not None:
            asked = asked.where(tuple_(DECISIONS.c.at_ms, DECISIONS.c.decision_id) < tuple_(*before))
        return await self._database.read(lambda connection: [_decision_of(row) for row in connection.execute(asked)])


def _keep(connection: Connection, decisions: Sequence[KeptDecision]) -> None:
    # The last one of an ID counts. In the order of IDs, so that two gateways that keep the same ones cannot block.
    newest = {one.decision_id: one for one in decisions}
    rows = [
        {"decision_id": one.decision_id, "team": one.team, "at_ms": one.at_ms, "document": one.document}
        for _, one in sorted(newest.items())
    ]
    kept = insert(connection, DECISIONS).values(rows)
    told = {name: kept.excluded[name] for name in ("team", "at_ms", "document")}
    connection.execute(kept.on_conflict_do_update(index_elements=["decision_id"], set_=told))


def _decision_of(row: AnyRow) -> KeptDecision:
    return KeptDecision(row.decision_id, row.team, row.at_ms, row.document)
