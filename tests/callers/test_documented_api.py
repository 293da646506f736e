"""The page about the gateway's own calls has every one of them, and what it shows is run as it stands there."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.edge.described.calls import CALLS
from gateway.edge.described.document import document
from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.cli.running import ended, require_curl
from tests.edge.described import Described
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.project import ROOT
from tests.upstream.runs.reading import run

ADDRESS = "https://qstash-gateway.example.com"
FIRST, *SECTIONS = re.split(r"^## ", (ROOT / "docs" / "api.md").read_text(), flags=re.MULTILINE)
HEADINGS = [tuple(section.partition("\n")[0].split(" ")) for section in SECTIONS]
SHOWN = list(zip(HEADINGS, SECTIONS, strict=True))
"""The sections in turn: each may use what those before it have set."""

POLICY = """\
version: 1
name: billing
teams: [billing]
allow:
  - id: own
    workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}
    resolve: true
    runs: {max: 9}
"""
WATCHED = """\
version: 1
name: search
teams: [search]
allow:
  - id: watched
    workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}
    resolve: true
    runs: {max: 9}
    approve: {by: [billing]}
"""
OPERATORS = 'state: {url: "sqlite:state.db"}\noperators: {teams: [billing]}\n'
OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice"
APART = "\x1e"


def block(section: str, language: str) -> str:
    """The only block of a language in a section."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway whose team, which is one of operators, has three runs; another waits for its approval."""
    directory, reading = tmp_path / "gateway", "CANARY" + secrets.token_hex(24)
    directory.mkdir()
    (directory / "read-token").write_text(reading)
    account = Simulator([run(1), run(2), run(3)])
    with SimulatorServer(account, token=REAL_TOKEN, read_token=reading) as upstream:
        more = ", read_token: {file: read-token}"
        setup = Setup(
            upstream.url,
            directory,
            policies={"b.yaml": POLICY, "s.yaml": WATCHED},
            teams=("billing", "search"),
            upstream=more,
            more=OPERATORS,
        )
        with RunningGateway(setup) as running:
            waits = running.cancel(f"{OWN}&workflowUrlExactMatch=true", team="search")
            assert waits.json()["code"] == "approval_required"
            yield running
        assert len(account.cancelled) == 3


def test_every_call_has_its_section() -> None:
    """Under its method and path, once."""
    assert sorted(HEADINGS) == sorted((call.method, call.path) for call in CALLS)


def test_what_curl_is_shown_to_do_is_what_it_does(gateway: RunningGateway, tmp_path: Path) -> None:
    """All blocks pasted into one shell: each prints what the description says of a success of its call."""
    require_curl(shutil.which("curl"))
    script = f"; printf '{APART}'\n".join(block(section, "sh").rstrip() for _, section in [("", FIRST), *SHOWN])
    done = ended(["sh", "-ec", script.replace(ADDRESS, gateway.url)], cwd=tmp_path, env={"GATEWAY_KEY": gateway.key()})
    assert (done.returncode, done.stderr) == (0, "")
    described, (nothing, *printed) = Described(), done.stdout.split(APART)
    assert nothing == ""
    for (heading, _), text in zip(SHOWN, printed, strict=True):
        call = next(call for call in CALLS if (call.method, call.path) == heading)
        if call.results[0].stream:
            assert text.startswith(": open")
            continue
        if text or call.name != "openapi":
            described.check_value(described.value(call.results[0].value), json.loads(text))
    assert json.loads((tmp_path / "openapi.json").read_text()) == document()


def test_what_python_is_shown_to_do_is_what_it_does(gateway: RunningGateway, tmp_path: Path) -> None:
    """All blocks in one program: the answer to each is a success that the description says, to the last header."""
    text = "'' if answer.headers['content-type'] == 'text/event-stream' else answer.text"
    kept = f"\nsys.stderr.write(json.dumps([answer.status_code, dict(answer.headers), {text}]) + '{APART}')\n"
    blocks = [block(section, "python") + kept for _, section in SHOWN]
    program = "import json, sys\n" + block(FIRST, "python").replace(ADDRESS, gateway.url) + "".join(blocks)
    done = ended([sys.executable, "-c", program], cwd=tmp_path, env={"GATEWAY_KEY": gateway.key()})
    assert done.returncode == 0, done.stderr
    *answers, nothing = done.stderr.split(APART)
    assert nothing == ""
    described = Described()
    for ((method, path), _), text in zip(SHOWN, answers, strict=True):
        status, headers, body = json.loads(text)
        assert status < 300
        described.check(method, re.sub(r"\{[a-z]+\}", "one", path), Answer(status, headers, body.encode()))
    assert len(done.stdout.splitlines()) >= len(SHOWN)
