"""The console in a real browser: what people do there, by mouse and by keyboard, with scripts and without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from gateway.simulator.exchange import Fault
from gateway.simulator.runs import Run
from tests.console.browser import Window, chromium, window
from tests.console.people import INVOICE, WATCHED, House, house
from tests.upstream.runs.reading import run

MANY = [Run(f"wfr_{number:03}", INVOICE, run(1).created_ms + number) for number in range(250)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all windows of these tests."""
    with chromium() as one:
        yield one


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """A house of a test's own, for what changes the account."""
    with house(tmp_path / "gateway") as one:
        yield one


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[House]:
    """One whose account has many runs, and takes two seconds for each order."""
    with house(tmp_path / "gateway", runs=MANY, policy_max=1000) as one:
        one.account.script(Fault(acts=True, delay_before_ms=2000, times=9))
        yield one


def planned(one: Window, count: str = "100") -> None:
    """Has the runs looked up."""
    one.page.get_by_role("link", name="New cancel").click()
    one.page.get_by_label("URL of the workflow").fill(INVOICE)
    one.page.get_by_label("At most so many runs").fill(count)
    one.page.get_by_role("button", name="Look the runs up").click()
    expect(one.page.get_by_role("heading", name="Cancel exactly these runs")).to_be_visible()


def test_somebody_logs_in_and_out(browser: Browser, home: House) -> None:
    """A wrong key is told in words; afterwards no page is shown any more."""
    with window(browser, home, None) as one:
        one.open("/decisions")
        one.page.get_by_label("Your key").fill("qgk_wrong_" + "x" * 43)
        one.page.get_by_role("button", name="Log in").click()
        expect(one.page.get_by_role("alert")).to_contain_text("not accepted")
        one.log_in(home.gateway.key())
        one.page.get_by_role("button", name="Log out").click()
        expect(one.page.get_by_role("heading", name="Log in")).to_be_visible()
        one.open("/me")
        expect(one.page.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_cancel_is_looked_at_confirmed_and_carried_out(browser: Browser, own: House) -> None:
    """A wrong number sends nothing; the page of the decision is one step away."""
    with window(browser, own) as one:
        planned(one)
        expect(one.page.get_by_role("cell", name="wfr_00001")).to_be_visible()
        one.page.get_by_label("type the number of runs").fill("2")
        one.page.get_by_role("button", name="Cancel 3 runs").click()
        expect(one.page.get_by_role("alert")).to_contain_text("Nothing was sent")
        assert not own.account.cancelled
        one.page.get_by_label("type the number of runs").fill("3")
        one.page.get_by_role("button", name="Cancel 3 runs").click()
        expect(one.page.get_by_text("3 runs cancelled.")).to_be_visible()
        assert len(own.account.cancelled) == 3
        one.page.get_by_role("link", name="The decision on record").click()
        expect(one.page.get_by_text("verifies", exact=True)).to_be_visible()
        expect(one.page.get_by_role("row", name="billing/own decides")).to_be_visible()


def test_progress_is_shown_as_it_comes_and_stop_ends_it(browser: Browser, slow: House) -> None:
    """Without anybody loading the page again; what was not sent is not cancelled."""
    with window(browser, slow) as one:
        planned(one, "250")
        one.page.get_by_label("type the number of runs").fill("250")
        one.page.get_by_role("button", name="Cancel 250 runs").click()
        expect(one.page.get_by_text(re.compile("^100 of 250 runs cancelled"))).to_be_visible()
        one.page.get_by_role("button", name="Stop").click()
        expect(one.page.get_by_role("heading", name="What came of it")).to_be_visible()
        expect(one.page.get_by_text("The plan was stopped")).to_be_visible()
        assert 0 < len(slow.account.cancelled) < 250


def test_the_end_of_a_plan_is_shown_by_itself(browser: Browser, slow: House) -> None:
    """With what came of it, and nothing left to stop."""
    with window(browser, slow) as one:
        planned(one, "100")
        one.page.get_by_label("type the number of runs").fill("100")
        one.page.get_by_role("button", name="Cancel 100 runs").click()
        expect(one.page.get_by_text("100 runs cancelled.")).to_be_visible()
        expect(one.page.get_by_role("button", name="Stop")).to_have_count(0)


def test_a_decision_appears_while_one_looks_on(browser: Browser, home: House) -> None:
    """On both pages that list decisions; and only of one's own team."""
    for path in ("/", "/decisions"):
        with window(browser, home) as one:
            one.open(path)
            expect(one.page.get_by_role("status")).to_contain_text("Live")
            home.gateway.cancel("label=weekly", team="search")
            reason = {"Gateway-Reason": "<b>live</b>"}
            made = home.gateway.request("DELETE", f"/v2/workflows/runs?label=l-{len(path)}", headers=reason)
            row = one.page.locator(f"tr[data-decision='{made.headers['gateway-decision']}']")
            expect(row).to_contain_text(f"label=l-{len(path)}")
            expect(one.page.get_by_text("search/search-key")).to_have_count(0)
            row.get_by_role("link").click()
            expect(one.page.get_by_role("heading", name="Decision", exact=True)).to_be_visible()
            expect(one.page.get_by_text("<b>live</b>").first).to_be_visible()


def test_charts_are_drawn_and_each_has_its_table(browser: Browser, home: House) -> None:
    """For those who do not see them."""
    home.gateway.cancel("label=a")
    with window(browser, home) as one:
        expect(one.page.locator(".chart canvas")).to_have_count(2)
        one.page.get_by_text("The numbers as a table").click()
        table = one.page.get_by_role("table", name=re.compile("^From "))
        expect(table.get_by_role("row")).to_have_count(49)
        one.page.get_by_role("link", name="7d").click()
        expect(one.page.locator(".chart canvas")).to_have_count(2)


def test_policies_are_read_and_a_request_is_explained(browser: Browser, home: House) -> None:
    """The text as it was written, and each rule's part."""
    with window(browser, home) as one:
        one.page.get_by_role("link", name="Policies").click()
        one.page.get_by_text("Text of guardrails.yaml").click()
        expect(one.page.get_by_text('message: "Name the runs."')).to_be_visible()
        expect(one.page.get_by_text("secret-rule")).to_have_count(0)
        one.page.get_by_label("How would a request").fill("DELETE /v2/workflows/runs")
        one.page.get_by_role("button", name="Explain").click()
        expect(one.page.get_by_role("row", name="guardrails/everything decides")).to_be_visible()


def test_a_freeze_is_seen_by_those_whom_it_stops(browser: Browser, own: House) -> None:
    """And only operators can end it."""
    with window(browser, own, "platform") as operator, window(browser, own) as one:
        operator.page.get_by_role("link", name="Freezes").click()
        operator.page.get_by_label("Why, for callers").fill("QStash is ill")
        operator.page.get_by_role("button", name="Freeze", exact=True).click()
        one.open("/")
        one.page.get_by_role("link", name="1 freeze in force").click()
        expect(one.page.get_by_text("QStash is ill")).to_be_visible()
        expect(one.page.get_by_role("button", name=re.compile("Thaw"))).to_have_count(0)
        operator.page.get_by_role("button", name=re.compile("^Thaw")).click()
        expect(operator.page.get_by_text("Nothing is frozen.")).to_be_visible()


def test_somebody_else_approves_exactly_the_runs_that_they_see(browser: Browser, tmp_path: Path) -> None:
    """Then the requester may cancel them; both pages can be read by all."""
    with (
        house(tmp_path / "gateway", policy=WATCHED) as watched,
        window(browser, watched) as one,
        window(browser, watched, "platform") as other,
    ):
        planned(one)
        one.page.get_by_label("type the number of runs").fill("3")
        one.page.get_by_role("button", name="Cancel 3 runs").click()
        expect(one.page.get_by_text("0 of 1 by people of platform")).to_be_visible()
        expect(one.page.get_by_role("button", name="Cancel 3 runs")).to_have_count(0)
        other.page.get_by_role("link", name="Plans").click()
        waiting = other.page.get_by_role("table", name="Newest first", exact=True)
        waiting.get_by_role("link").click()
        expect(other.page.get_by_role("cell", name="wfr_00003")).to_be_visible()
        assert (other.findings(), other.overflow()) == ([], 0)
        other.page.get_by_label("Why, for whoever asked").fill("seen")
        other.page.keyboard.press("Enter")
        expect(other.page.get_by_text("0 of 1 by people of platform")).to_be_visible()
        other.page.get_by_role("button", name="Approve exactly 3 runs").click()
        expect(other.page.get_by_text("Approved by platform/platform-key")).to_be_visible()
        one.page.reload()
        expect(one.page.get_by_text("Approved by platform/platform-key")).to_be_visible()
        assert one.findings() == []
        one.page.get_by_label("type the number of runs").fill("3")
        one.page.get_by_role("button", name="Cancel 3 runs").click()
        expect(one.page.get_by_text("3 runs cancelled.")).to_be_visible()
        assert len(watched.account.cancelled) == 3


def test_a_session_that_has_ended_leads_to_the_login(browser: Browser, own: House) -> None:
    """At the next step, and the stream says that it is not live any more."""
    with window(browser, own) as one:
        expect(one.page.get_by_role("status")).to_contain_text("Live")
        path = own.gateway.setup.directory / "config.yaml"
        kept = [line for line in path.read_text().splitlines(keepends=True) if "id: billing-key" not in line]
        path.write_text("".join(kept))
        expect(one.page.get_by_role("status")).to_contain_text("Not live any more")
        one.page.get_by_role("link", name="Me", exact=True).click()
        expect(one.page.get_by_role("heading", name="Log in")).to_be_visible()
        # The browser tells of a stream that became a page; nothing else was complained of.
        one.complaints = [said for said in one.complaints if "EventSource" not in said]


def test_by_keyboard_somebody_logs_in_and_cancels(browser: Browser, own: House) -> None:
    """From the login to what came of it."""
    with window(browser, own, None) as one:
        one.open("/login")
        expect(one.page.get_by_label("Your key")).to_be_focused()
        one.page.keyboard.type(own.gateway.key())
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_role("heading", name="Overview")).to_be_visible()
        one.tab_to("New cancel", "link")
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_role("heading", name="New cancel")).to_be_visible()
        one.tab_to("URL of the workflow")
        one.page.keyboard.type(INVOICE)
        one.tab_to("Look the runs up", "button")
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_role("heading", name="Cancel exactly these runs")).to_be_visible()
        one.tab_to("To confirm, type the number of runs")
        one.page.keyboard.type("3")
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_text("3 runs cancelled.")).to_be_visible()


def test_by_keyboard_a_plan_under_way_is_stopped(browser: Browser, slow: House) -> None:
    """The button keeps the focus while the page looks again."""
    with window(browser, slow) as one:
        planned(one, "250")
        one.tab_to("To confirm, type the number of runs")
        one.page.keyboard.type("250")
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_text("applying")).to_be_visible()
        one.tab_to("Stop", "button")
        expect(one.page.get_by_text(re.compile("^100 of 250 runs cancelled"))).to_be_visible()
        expect(one.page.get_by_role("button", name="Stop")).to_be_focused()
        one.page.keyboard.press("Space")
        expect(one.page.get_by_text("The plan was stopped")).to_be_visible()


def test_by_keyboard_an_operator_freezes_and_thaws(browser: Browser, own: House) -> None:
    """Past the pages at once, by the first link."""
    with window(browser, own, "platform") as one:
        one.open("/freezes")
        one.page.keyboard.press("Tab")
        expect(one.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        one.page.keyboard.press("Enter")
        one.tab_to("Why, for callers and the record")
        one.page.keyboard.type("by keyboard")
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_text("by keyboard")).to_be_visible()
        one.tab_to("Thaw the freeze of all teams: by keyboard", "button")
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_text("Nothing is frozen.")).to_be_visible()


def test_without_scripts_somebody_cancels_stops_and_freezes(browser: Browser, slow: House) -> None:
    """The page of a plan looks again by itself, and says the end."""
    with window(browser, slow, java_script_enabled=False) as one:
        planned(one, "250")
        one.page.get_by_label("type the number of runs").fill("250")
        one.page.get_by_role("button", name="Cancel 250 runs").click()
        expect(one.page.get_by_text(re.compile("^100 of 250 runs cancelled"))).to_be_visible()
        one.page.get_by_role("button", name="Stop").click()
        expect(one.page.get_by_text("The plan was stopped")).to_be_visible()
    with window(browser, slow, "platform", java_script_enabled=False) as one:
        one.page.get_by_role("link", name="Freezes").click()
        one.page.get_by_label("Why, for callers").fill("no scripts")
        one.page.get_by_role("button", name="Freeze", exact=True).click()
        expect(one.page.get_by_text("no scripts")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read_by_all(browser: Browser, own: House, width: int, scheme: str) -> None:
    """Axe finds nothing serious, and no page is wider than its window, on a phone and on a desk, light and dark."""
    size = {"width": width, "height": 800}
    own.gateway.cancel("label=a")
    with window(browser, own, None, viewport=size, color_scheme=scheme) as one:
        one.open("/login")
        assert (one.findings(), one.overflow()) == ([], 0)
        one.log_in(own.gateway.key("platform"))
        one.open("/freezes")
        one.page.get_by_label("Why, for callers").fill("QStash is ill")
        one.page.get_by_role("button", name="Freeze", exact=True).click()
        for path in ("/", "/decisions", "/plans", "/policies", "/freezes", "/me", "/new", "/none"):
            one.open(path)
            assert (path, one.findings(), one.overflow()) == (path, [], 0)
        one.open("/decisions")
        one.page.get_by_role("table").get_by_role("link").first.click()
        expect(one.page.get_by_role("heading", name="Record")).to_be_visible()
        assert (one.findings(), one.overflow()) == ([], 0)
    with window(browser, own, viewport=size, color_scheme=scheme) as one:
        planned(one)
        assert (one.findings(), one.overflow()) == ([], 0)
