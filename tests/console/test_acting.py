"""What people do: stop, freeze, thaw, and cancel after a preview that they confirm; all without a script."""

from __future__ import annotations

from pathlib import Path

from gateway.simulator.exchange import Ending, Fault
from gateway.simulator.runs import Run
from tests.console.people import INVOICE, WATCHED, forms, house
from tests.support.waiting import until
from tests.upstream.runs.reading import run


def test_a_cancel_takes_a_preview_and_the_number_of_its_runs(tmp_path: Path) -> None:
    """A wrong number, or that of another plan, sends nothing; the right one cancels exactly those, once."""
    with house(tmp_path / "gateway") as home:
        person = home.person()
        path = person.plan(reason="stuck since noon")
        assert "wfr_00001" in person.words
        for wrong in ("2", "03", "three", "-3", ""):
            answer = person.fill(f"{path}/apply", runs=wrong)
            assert (answer.status, "Nothing was sent" in person.words) == (400, True)
        digest = {**forms(person.page)[f"{path}/apply"], "digest": "0" * 64}
        assert person.post(f"{path}/apply", {**digest, "runs": "3"}).status == 400
        assert not home.account.cancelled
        assert person.fill(f"{path}/apply", runs="3").status == 303
        until(lambda: "3 runs cancelled." in person.get(path).body.decode())
        assert len(home.account.cancelled) == 3
        assert f"{path}/apply" not in forms(person.page)
        [intent] = home.gateway.records("intent")
        assert (intent["principal"], intent["reason"]) == ("billing/billing-key", "stuck since noon")


def test_a_plan_under_way_is_stopped_before_its_next_order(tmp_path: Path) -> None:
    """The page says how far it is, has Stop, and then what came of it."""
    runs = [Run(f"wfr_{number:03}", INVOICE, run(1).created_ms + number) for number in range(100)]
    with house(tmp_path / "slow", runs=runs) as home:
        home.account.script(Fault(acts=True, ending=Ending.ANSWER, delay_before_ms=2000))
        person = home.person()
        path = person.plan(count="100")
        assert person.fill(f"{path}/apply", runs="100").status == 303
        person.follow()
        assert "applying" in person.words
        assert "data-under-way" in person.text
        assert '<meta http-equiv="refresh"' in person.text
        assert person.fill(f"{path}/stop").status == 303
        until(lambda: "What came of it" in person.get(path).body.decode())


def test_somebody_elses_plan_is_not_stopped_but_by_operators(tmp_path: Path) -> None:
    """As the call has it."""
    with house(tmp_path / "gateway") as home:
        person, search, platform = home.person(), home.person("search"), home.person("platform")
        path = person.plan()
        search.get("/me")
        assert search.post(f"{path}/stop", forms(search.page)["/logout"]).status == 404
        platform.get(path)
        assert platform.fill(f"{path}/stop").status == 303
        assert "stopped" in platform.follow().body.decode()


def test_a_freeze_stops_cancels_until_it_is_thawed(tmp_path: Path) -> None:
    """The page of the plan says by whom and why it was refused."""
    with house(tmp_path / "gateway") as home:
        person, platform = home.person(), home.person("platform")
        path = person.plan()
        platform.get("/freezes")
        assert platform.fill("/freezes", reason="QStash is ill", team="nobody").status == 422
        assert "No key and no issuer" in platform.words
        assert platform.fill("/freezes", reason="QStash is ill", team="billing").status == 303
        platform.follow()
        assert "team billing, all rules QStash is ill By platform/platform-key" in platform.words
        person.fill(f"{path}/apply", runs="3")
        until(lambda: "What came of it" in person.get(path).body.decode())
        assert "QStash is ill" in person.words
        assert not home.account.cancelled
        assert "1 freeze in force" in person.get("/").body.decode()
        [thaw] = [action for action in forms(platform.page) if action.endswith("/thaw")]
        assert platform.fill(thaw).status == 303
        assert "Nothing is frozen" in platform.follow().body.decode()


def test_what_policy_refuses_the_form_says(tmp_path: Path) -> None:
    """With the sentence of the call, and what was typed still there."""
    with house(tmp_path / "gateway") as home:
        person = home.person()
        person.get("/new")
        assert person.fill("/new", url="https://billing.example.com/api/other").status == 403
        assert "billing/own comes nearest" in person.words
        assert 'value="https://billing.example.com/api/other"' in person.text
        assert person.fill("/new", label="a b").status in (400, 403)
        assert home.gateway.records("intent") == []


def test_a_request_is_explained_and_that_is_recorded(tmp_path: Path) -> None:
    """With each rule's part; nothing is sent."""
    with house(tmp_path / "gateway") as home:
        person = home.person()
        person.get("/policies")
        assert person.fill("/policies/explain", request="DELETE /v2/workflows/runs").status == 200
        assert "guardrails/everything decides deny matched" in person.words
        assert len(home.gateway.records("explained")) == 1


def test_a_cancel_that_needs_it_is_approved_by_somebody_else_who_sees_its_runs(tmp_path: Path) -> None:
    """The requester is told by whom; nobody can approve their own, and a page that is only read approves nothing."""
    with house(tmp_path / "gateway", policy=WATCHED) as home:
        person, search, platform = home.person(), home.person("search"), home.person("platform")
        path = person.plan(reason="stuck since noon")
        person.fill(f"{path}/apply", runs="3")
        until(lambda: "awaiting approval" in person.get(path).body.decode())
        assert "0 of 1 by people of platform" in person.words
        assert f"{path}/apply" not in forms(person.page)
        assert person.post(f"{path}/approvals", {**forms(person.page)["/logout"], "decision": "approve"}).status >= 400
        assert search.get(path).status == 404
        platform.get("/plans")
        assert "Waiting for your approval" in platform.words
        for _ in range(10):
            platform.get(path)
        assert "billing/billing-key wants it: stuck since noon" in platform.words
        assert "wfr_00003" in platform.words
        assert f"{path}/apply" not in forms(platform.page)
        assert not home.account.cancelled
        assert platform.fill(f"{path}/approvals", decision="approve", reason="seen").status == 200
        assert "Approved by platform/platform-key" in platform.words
        person.get(path)
        assert "Approved by platform/platform-key" in person.words
        assert "awaiting approval" not in person.words  # nobody is waited for any more
        assert person.fill(f"{path}/apply", runs="3").status == 303
        until(lambda: "3 runs cancelled." in person.get(path).body.decode())
        assert len(home.account.cancelled) == 3


def test_a_cancel_that_is_rejected_is_not_carried_out(tmp_path: Path) -> None:
    """And says by whom, and why."""
    with house(tmp_path / "gateway", policy=WATCHED) as home:
        person, platform = home.person(), home.person("platform")
        path = person.plan()
        person.fill(f"{path}/apply", runs="3")
        until(lambda: "awaiting approval" in person.get(path).body.decode())
        platform.get(path)
        assert platform.fill(f"{path}/approvals", decision="reject", reason="not today").status == 200
        assert "Rejected by platform/platform-key" in person.get(path).body.decode()
        assert "not today" in person.words
        assert f"{path}/apply" not in forms(person.page)
        assert not home.account.cancelled


def test_an_operator_is_not_offered_to_apply_what_is_somebody_elses(tmp_path: Path) -> None:
    """Only to stop it."""
    with house(tmp_path / "gateway") as home:
        person, platform = home.person(), home.person("platform")
        path = person.plan()
        platform.get(path)
        assert {f"{path}/stop", f"{path}/apply"} & forms(platform.page).keys() == {f"{path}/stop"}
