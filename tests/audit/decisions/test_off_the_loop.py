"""What is looked up for one caller holds up nobody else: the event loop does no part of it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from gateway.audit.decisions.finding import Decisions
from gateway.audit.decisions.keeper import Keeper
from gateway.audit.decisions.latest import Latest
from gateway.callers.in_force import InForce
from gateway.core.request import Principal
from gateway.edge.inbound import Inbound, Intake
from gateway.edge.pages.decisions import DecisionPages
from tests.audit.decisions.chains import Chain, Told, an_id, intent


@dataclass(slots=True)
class Noting(Latest):
    """The newest lines, which note the threads on which they are searched."""

    threads: list[int] = field(default_factory=list)

    def of(self, decision_id: str) -> list[bytes]:
        """Searches them."""
        self.threads.append(threading.get_ident())
        return Latest.of(self, decision_id)


class NoOperators:
    """Settings under which nobody is an operator."""

    def is_operator(self, principal: Principal) -> bool:
        return False


def test_a_poll_for_a_decision_in_memory_costs_the_event_loop_nothing(tmp_path: Path) -> None:
    """Searching megabytes of lines takes milliseconds, and a caller who waits for an outcome asks often."""
    latest = Noting()
    latest.add(Chain(tmp_path).write(("start", {}), intent(1)))
    keeper = Keeper(tmp_path, latest, operators_log=Told())
    pages = DecisionPages(cast("Intake", None), Decisions(tmp_path, latest, keeper))

    async def polled() -> int:
        scope = {"type": "http", "headers": [], "query_string": b"", "path_params": {"decision": an_id(1)}}
        inbound = Inbound(scope, asyncio.Queue().get, an_id(2), None, cast("InForce", NoOperators()))
        inbound.principal = Principal("billing", "ci")
        return (await pages.one(inbound)).status

    assert asyncio.run(polled()) == 200
    pages.close()
    assert latest.threads
    assert threading.get_ident() not in latest.threads
