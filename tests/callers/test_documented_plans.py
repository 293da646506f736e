"""The page's calls about plans are pasted into a shell, and answer with the members that the page names."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from pathlib import Path

from gateway.execution.plans.draft import State
from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.callers.documented import AUDIENCE, PAGE
from tests.cli.running import ended, require_curl
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.upstream.runs.reading import run

_, SECTION = PAGE.read_text().split("## A plan, with curl\n")
SECTION = SECTION.partition("\n## ")[0]
POLICY = """\
version: 1
name: billing
teams: [billing]
allow:
  - id: own
    workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}
    count: {cap: 200}
    resolve: true
    runs: {max: 9}
"""


def answers(directory: Path) -> list[dict]:
    """What the block prints, pasted for a gateway whose account has three runs of the workflow."""
    block = re.search(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    assert block is not None
    directory.mkdir()
    reading = "CANARY" + secrets.token_hex(24)
    (directory / "read-token").write_text(reading)
    account = Simulator([run(1), run(2), run(3)])
    with SimulatorServer(account, token=REAL_TOKEN, read_token=reading) as upstream:
        more = ", read_token: {file: read-token}"
        setup = Setup(upstream.url, directory, policies={"b.yaml": POLICY}, teams=("billing",), upstream=more)
        with RunningGateway(setup) as gateway:
            lines = block[1].replace(AUDIENCE, gateway.url)
            done = ended(["sh", "-ec", lines], cwd=directory, env={"GATEWAY_KEY": gateway.key()})
    assert done.returncode == 0, done.stderr
    decoder, text, found = json.JSONDecoder(), done.stdout.strip(), []
    while text:
        members, end = decoder.raw_decode(text)
        found.append(members)
        text = text[end:].strip()
    return found


def test_the_block_plans_shows_and_applies_as_pasted(tmp_path: Path) -> None:
    """The plan names the three runs, is shown again, cancels exactly those, and the preview then finds none."""
    require_curl(shutil.which("curl"))
    planned, shown, applied, preview = answers(tmp_path / "gateway")
    assert (planned["state"], planned["runs"], planned["narrowed"]["count"]) == ("ready", 3, [500, 200])
    assert shown["plan"] == planned["plan"]
    assert applied["cancelled"] == 3
    assert (preview["status"], preview["code"], preview["runs"]) == (409, "preview", 0)
    rows = [row.split("|")[1] for row in SECTION.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == planned.keys()


def test_the_page_names_every_state_of_a_plan() -> None:
    """A new state has to be said to callers."""
    assert [state.value for state in State if f"`{state.value}`" not in SECTION] == []
