"""Makes the pictures of docs/console.md: `python -m tests.console.screenshots docs/pictures`.

A day of made-up decisions is written before the gateway starts, so that there is something to see.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from playwright.sync_api import expect

from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.audit.segment import segment_path
from gateway.simulator.runs import Run
from tests.console.browser import chromium, window
from tests.console.people import INVOICE, house
from tests.upstream.runs.reading import run

CHAIN = "01890000-0000-7000-8000-00000000000a"
HOURS = 23
WINDOW = {"width": 1180, "height": 820}
MANY = [
    Run(
        f"wfr_{number:04}", INVOICE, run(1).created_ms + number * 977, labels=("nightly",) if number % 3 else ("batch",)
    )
    for number in range(240)
]

Members = Mapping[str, object]


def uuid_at(unix_s: float, random_: random.Random) -> str:
    """A UUID of version 7 of that time."""
    digits = f"{int(unix_s * 1000):012x}7{random_.getrandbits(12):03x}8{random_.getrandbits(60):015x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def day(now_s: float) -> Iterator[Record]:
    """The records of the day before now."""
    chance = random.Random(7)  # noqa: S311 - a picture
    at_s = now_s - HOURS * 3600
    yield Record(int(at_s * 1e9), "start", {"version": "0.2.0"})
    while at_s < now_s - 600:
        at_s += min(600, chance.expovariate(1 / 600))
        name = uuid_at(at_s, chance)
        team = chance.choice(("billing", "billing", "billing", "search"))
        refused, runs = chance.random() < 0.2, int(chance.expovariate(1 / 30)) + 1
        asked = {"workflowUrl": [INVOICE], "workflowUrlExactMatch": True, "count": 100}
        begun = {
            "decision_id": name,
            "team": team,
            "principal": f"{team}/{chance.choice(('ann', 'ben', 'ci'))}",
            "asked": {"count": 100} if refused else asked,
            "enforced": "deny" if refused else "permit",
            "decision": "deny" if refused else "permit",
            "rule": "guardrails/everything" if refused else f"{team}/own",
            "shadow": None,
            "reason": None if refused else "stuck behind a slow bank",
            "orders": [] if refused else ["count=100"],
            "policy_digest": "0" * 64,
        }
        yield Record(int(at_s * 1e9), "denied" if refused else "intent", begun)
        if not refused:
            ended = {"decision_id": name, "outcome": "cancelled", "upstream_status": 200, "cancelled": runs}
            yield Record(int((at_s + 0.3) * 1e9), "outcome", {**ended, "over_cancelled": 0})
    yield Record(int((at_s + 1) * 1e9), "stop", {"open": 0})


def write_day(directory: Path) -> None:
    """Writes a chain of the day before now."""
    directory.mkdir(mode=0o700, parents=True)
    lines, _ = Sealer(CHAIN, key=None).seal(GENESIS, day(time.time()))
    segment_path(directory, CHAIN, 1).write_bytes(b"".join(lines))


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        write_day(Path(name) / "gateway" / "audit")
        with house(Path(name) / "gateway", runs=MANY, policy_max=1000) as home:
            with window(browser, home, "platform", viewport=WINDOW, color_scheme="light") as one:

                def take(picture: str) -> None:
                    """Take what is in the window."""
                    one.page.screenshot(path=directory / f"console-{picture}.png")

                one.open("/freezes")
                one.page.get_by_label("Why, for callers").fill("The bank is slow: nothing of search until it is back")
                one.page.get_by_label("Only this team").fill("search")
                one.page.get_by_role("button", name="Freeze", exact=True).click()
                expect(one.page.get_by_role("button", name="Thaw")).to_be_visible()
                take("freezes")
                one.open("/policies")
                one.page.get_by_text("Text of billing.yaml").click()
                take("policies")
                one.open("/")
                expect(one.page.locator(".chart canvas")).to_have_count(2)
                expect(one.page.get_by_role("status")).to_contain_text("Live")
                take("overview")
            with window(browser, home, viewport=WINDOW, color_scheme="light") as one:
                one.open("/new")
                one.page.get_by_label("URL of the workflow").fill(INVOICE)
                one.page.get_by_label("At most so many runs").fill("200")
                one.page.get_by_label("Why, for the record").fill("stuck behind a slow bank")
                take("new")
                one.page.get_by_role("button", name="Look the runs up").click()
                expect(one.page.get_by_role("heading", name="Cancel exactly these runs")).to_be_visible()
                take("plan")
                one.page.get_by_label("type the number of runs").fill("200")
                one.page.get_by_role("button", name="Cancel 200 runs").click()
                one.page.get_by_role("link", name="The decision on record").click()
                expect(one.page.get_by_role("heading", name="Record")).to_be_visible()
                take("decision")


if __name__ == "__main__":
    main()
