"""The pages about another action than a cancel speak of what it does, and confirm it by the number of its things."""

from __future__ import annotations

import json
from pathlib import Path

from tests.console.people import INVOICE, POLICY, House, Person, house
from tests.support.holdings import failed_run
from tests.support.waiting import until

TIDY = f"""\
{POLICY}  - {{id: tidy, action: delete_dlq, workflowUrl: {{exact: ["{INVOICE}"]}}, resolve: true, runs: {{max: 100}}}}
"""


def planned(home: House, person: Person) -> str:
    """Opens the page of a plan to delete two entries; its path."""
    home.account.holdings.dlq.clear()
    home.account.holdings.add([failed_run(name, INVOICE) for name in ("d1", "d2")])
    body = json.dumps({"request": f"workflowUrl={INVOICE}", "action": "delete_dlq", "reason": "old"}).encode()
    headers = {"Content-Type": "application/json"}
    plan = home.gateway.request("POST", "/gateway/v1/plans", headers=headers, body=body).json()["plan"]
    person.get(f"/plans/{plan}")
    return f"/plans/{plan}"


def test_entries_are_deleted_from_the_page_of_their_plan(tmp_path: Path) -> None:
    """It names the action and each entry; a wrong number sends nothing, the right one deletes exactly those."""
    with house(tmp_path / "gateway", policy=TIDY) as home:
        person = home.person()
        path = planned(home, person)
        for words in ("delete dlq", "Delete exactly these entries", "Delete 2 entries", "the number of entries", "d1"):
            assert words in person.words, words
        assert person.fill(f"{path}/apply", runs="3").status == 400
        assert "type 2, the number of entries, to delete exactly these" in person.words
        assert person.fill(f"{path}/apply", runs="2").status == 303
        until(lambda: "2 entries deleted." in person.get(path).body.decode())
        assert home.account.holdings.dlq.keys().isdisjoint({"d1", "d2"})


def test_decisions_and_plans_name_the_action(tmp_path: Path) -> None:
    """In the lists, on the page of a decision, and in the numbers of the overview, which count runs alone."""
    with house(tmp_path / "gateway", policy=TIDY) as home:
        person = home.person()
        path = planned(home, person)
        person.fill(f"{path}/apply", runs="2")
        until(lambda: "2 entries deleted." in person.get(path).body.decode())
        person.get("/plans")
        assert "delete dlq" in person.words
        until(lambda: "delete dlq" in person.get("/decisions").body.decode())
        [intent] = home.gateway.records("intent")
        person.get(f"/decisions/{intent['decision_id']}")
        assert "Action delete dlq" in person.words
        assert "Deleted entries 2" in person.words
        person.get("/")
        assert "0 runs cancelled" in person.words
