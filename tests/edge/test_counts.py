"""Numbers over time: each decision in its part, within bounds, and only what one's own team did."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.audit.decisions.joined import RecordedDecision
from gateway.audit.evidence.places import verifies
from gateway.authoring.history import question_of
from gateway.core.forms.texts import PolicyText, PolicyTexts
from gateway.core.forms.times import run_time
from gateway.core.request import Principal
from gateway.edge.inbound import Inbound, Intake
from gateway.edge.pages.decisions import DecisionPages, Listed
from gateway.edge.pages.overview.counts import BUCKETS, MOST_READ, CountPages, Tally
from gateway.edge.pages.overview.policies import files
from gateway.policy.format.load import policies_of
from tests.audit.decisions.chains import Chain, denied, intent, outcome
from tests.console.people import GUARDRAILS, OTHERS, POLICY
from tests.console.standing import Held

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
STEP_MS = 24 * HOUR_MS // BUCKETS


class Pages:
    """Decisions, newest first, in pages of a hundred."""

    def __init__(self, decisions: Sequence[dict[str, object]]) -> None:
        self._decisions = list(decisions)
        self.asked: list[str | None] = []

    async def listed_before(self, caller: Principal, team: str | None, *, before: bytes, most: int) -> Listed:
        """One page."""
        self.asked.append(team)
        page, self._decisions = self._decisions[:most], self._decisions[most:]
        return Listed(cast("list[Any]", page), b"\x00" * 16 if self._decisions else None)


class Live:
    """Settings with one team of operators."""

    def is_operator(self, principal: Principal) -> bool:
        return principal.team == "platform"


class Clocked:
    """An intake of which only the clock is asked."""

    clock = Held()


def made(age_ms: int, state: str = "cancelled", cancelled: int | None = 1) -> dict[str, object]:
    """A decision of that age."""
    return {"at": run_time(NOW_MS - age_ms), "action": "cancel_runs", "state": state, "cancelled": cancelled}


def counted(pages: Pages, query: str = "", team: str = "billing") -> dict[str, Any]:
    """The answer to a call."""
    import json

    async def asked() -> bytes:
        scope = {"type": "http", "headers": [], "query_string": query.encode(), "path_params": {}}
        inbound = Inbound(scope, asyncio.Queue().get, "0" * 36, None, cast("Any", Live()))
        inbound.principal = Principal(team, "ci")
        counts = CountPages(cast("DecisionPages", pages), cast("Intake", Clocked()))
        return (await counts.counts(inbound)).body

    found = json.loads(asyncio.run(asked()))
    assert isinstance(found, dict)
    return found


def test_each_decision_is_in_its_part_of_the_time() -> None:
    """The newest in the last one, and one of before the time in none."""
    ages = (0, STEP_MS, 23 * HOUR_MS, 25 * HOUR_MS)
    found = counted(Pages([made(ages[0]), made(ages[1], "denied", 0), made(ages[2], "unknown", None), made(ages[3])]))
    assert (len(found["counts"]), found["complete"], found["step_s"]) == (BUCKETS, True, STEP_MS / 1000)
    seen = [(one["decisions"], one["denied"], one["cancelled"]) for one in found["counts"] if one["decisions"]]
    assert seen == [(1, 0, 0), (1, 1, 0), (1, 0, 1)]
    begins = [one["at"] for one in found["counts"]]
    assert (begins[0], sorted(begins)) == (found["from"], begins)


def test_what_other_actions_did_is_no_cancelled_run() -> None:
    """It is counted under the name of the action."""
    deleted = {**made(0, cancelled=5), "action": "delete_dlq"}
    last = counted(Pages([made(0, cancelled=2), deleted, made(0, cancelled=3)]))["counts"][-1]
    assert (last["cancelled"], last["done"]) == (5, {"cancel_runs": 5, "delete_dlq": 5})


def test_at_most_so_many_decisions_are_read_and_that_is_said() -> None:
    """A busy day costs one page what it costs another."""
    found = counted(Pages([made(number) for number in range(MOST_READ + 500)]))
    assert (sum(one["decisions"] for one in found["counts"]), found["complete"]) == (MOST_READ, False)
    few = counted(Pages([made(number) for number in range(150)]))
    assert (sum(one["decisions"] for one in few["counts"]), few["complete"]) == (150, True)


@pytest.mark.parametrize(("team", "asked"), [("billing", "billing"), ("platform", None)])
def test_the_numbers_are_those_of_the_team_and_of_all_for_operators(team: str, asked: str | None) -> None:
    """None stands for all."""
    pages = Pages([made(0)])
    counted(pages, team=team)
    assert pages.asked == [asked]


POLICIES = policies_of(
    PolicyTexts(
        (
            PolicyText("billing.yaml", POLICY.encode()),
            PolicyText("guardrails.yaml", GUARDRAILS.encode()),
            PolicyText("search.yaml", OTHERS.encode()),
        )
    )
)


def test_a_team_sees_the_files_that_are_made_for_it_or_for_all() -> None:
    """Byte for byte, and with the counts of their rules."""
    tally = Tally()
    for rule, shadow in (("billing/own", None), ("billing/own", "search/secret-rule")):
        begun = {"event": "intent", "rule": rule, "shadow": shadow, "enforced": "permit", "decision": "deny"}
        tally.take(RecordedDecision("x", begun))
    for team, names in (
        ("billing", ["billing", "guardrails"]),
        ("search", ["guardrails", "search"]),
        ("x", ["guardrails"]),
    ):
        assert [one["file"] for one in files(POLICIES, team, tally)] == [f"{name}.yaml" for name in names]
    billing, _, search = cast("list[dict[str, Any]]", files(POLICIES, None, tally))
    assert (billing["text"], billing["rules"][0]["hits"]) == (POLICY, 2)
    assert search["rules"][0]["shadow"] == {"refuse": 1, "admit": 0, "recount": 0}
    assert tally.decisions == 2


def test_a_chain_verifies_until_a_byte_of_it_is_changed(tmp_path: Path) -> None:
    """And one that is gone cannot be said to."""
    chain = Chain(tmp_path)
    start = ("start", {"version": "1", "chain": "sha256"})
    chain.write(start, intent(1), outcome(1), denied(2), *(denied(number) for number in range(3, 200)))
    assert verifies(tmp_path, chain.name) is True
    chain.path.write_bytes(chain.path.read_bytes().replace(b'"cancelled":1,', b'"cancelled":0,', 1))
    assert verifies(tmp_path, chain.name) is False
    chain.path.unlink()
    assert verifies(tmp_path, chain.name) is None


def test_a_chain_that_takes_too_long_is_not_said_to_verify(tmp_path: Path) -> None:
    """One thread reads for the pages of all teams, so no page reads a chain of any length; nor is it said to be bad."""
    chain = Chain(tmp_path)
    start = ("start", {"version": "1", "chain": "sha256"})
    chain.write(start, *(denied(number) for number in range(1, 200)))
    assert verifies(tmp_path, chain.name, within_s=0) is None
    assert verifies(tmp_path, chain.name, within_s=60) is True


def test_what_cannot_be_rebuilt_is_no_question() -> None:
    """So no rule's part is made up for it."""
    assert question_of({"event": "intent", "decision_id": "x"}) is None
