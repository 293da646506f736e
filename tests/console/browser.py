"""A real browser, the system's own, in front of the console; what it complains of and asks for elsewhere is kept.

Predicates that are texts would be evaluated within the page, which its policy for contents forbids: locators are not.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.console.people import House
from tests.support.project import ROOT

AXE = ROOT / "tests" / "clients" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 30_000

expect.set_options(timeout=PATIENCE_MS)


def require(found: object, what: str) -> str:
    """Skips without a tool; where CI=true that is a failure."""
    if found:
        return str(found)
    sentence = f"the console cannot be looked at: {what} is missing"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the system."""
    path = require(shutil.which("chromium"), "chromium")
    with sync_playwright() as playwright:
        # As root it has no sandbox of its own; it opens nothing but what a test has made.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """A window of somebody, with a session of its own."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda said: self._heard(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self._asked(request.url))

    def _heard(self, kind: str, text: str) -> None:
        # A page that is refused is told of as a failed load; what matters is what the policy refuses, and faults.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.complaints.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith(self.base + "/"):
            self.elsewhere.append(url)

    def check(self) -> None:
        """Nothing was complained of, and nobody else was asked for anything."""
        assert (self.complaints, self.elsewhere) == ([], [])

    def open(self, path: str) -> None:
        """A page."""
        self.page.goto(self.base + path)

    def log_in(self, key: str) -> None:
        """The login, in the way of most people."""
        self.open("/login")
        self.page.get_by_label("Your key").fill(key)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", name="Overview")).to_be_visible()

    def tab_to(self, name: str, role: str = "") -> None:
        """Goes on by the keyboard until what has this name has the focus."""
        wanted = self.page.get_by_role(role, name=name) if role else self.page.get_by_label(name)  # type: ignore[arg-type]
        for _ in range(60):
            if wanted.and_(self.page.locator(":focus")).count():
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"{name} cannot be reached by the keyboard")

    def run(self, expression: str) -> Any:
        """Evaluates beside the page's policy, which would refuse it."""
        session = self.page.context.new_cdp_session(self.page)
        how = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        said = session.send("Runtime.evaluate", how)
        session.detach()
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def findings(self) -> list[tuple[str, str, list[str]]]:
        """What axe finds serious or critical: which rule, how bad, and where."""
        self.run(require(AXE.exists() and AXE.read_text(), "axe (npm)"))
        found = self.run("axe.run(document).then((found) => found.violations)")
        return [
            (one["id"], one["impact"], [node["html"][:200] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextmanager
def window(browser: Browser, house: House, team: str | None = "billing", **options: Any) -> Iterator[Window]:
    """A window of somebody who is logged in; of no team, of somebody who is not."""
    context = browser.new_context(**options)
    try:
        one = Window(context.new_page(), f"http://127.0.0.1:{house.port}")
        if team is not None:
            one.log_in(house.gateway.key(team))
        yield one
        one.check()
    finally:
        context.close()
