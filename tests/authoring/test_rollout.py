"""Every file and command of docs/rollout.md, on a log that the shadow rule was judged in."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from gateway.core.request import ActionRequest, ByFilter, ByIds, Principal
from gateway.policy.format.load import load_policies
from tests.authoring.logs import HOUR_MS, TS, log_of
from tests.cli.configs import CONFIG
from tests.cli.running import command

PAGE = Path(__file__).parents[2] / "docs" / "rollout.md"
FILES = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
COMMANDS = re.findall(r"```console\n\$ qstash-gateway ([^\n]*)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
FAILING = "replay"

BATCH, BILLING = Principal("batch", "nightly"), Principal("billing", "ci")


def exact(url: str) -> ActionRequest:
    """An exact cancel of one workflow."""
    return ActionRequest(ByFilter(workflow_urls=(url,), exact=True), 100)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page, and a log of four requests judged by them."""
    root = tmp_path_factory.mktemp("rollout")
    for name, text in FILES:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(root / "policies" / "teams.yaml", root / "policies-next")
    (root / "config.yaml").write_text(CONFIG)
    one_run = ActionRequest(ByIds(("wfr_billing_1",)), 1)
    (root / "var").mkdir()
    log_of(
        root / "var" / "audit",
        load_policies(root / "policies"),
        [
            (BATCH, exact("https://pay.example.com/run"), TS[0]),
            (BATCH, exact("https://batch.example.com/run"), TS[0]),
            (BILLING, one_run, TS[1]),
            (BILLING, one_run, TS[1] + 24 * HOUR_MS),
        ],
    )
    return root


def test_the_page_has_its_four_steps() -> None:
    """Shadow, statistics, reason, enforcement: each with something to run."""
    assert [line.partition(" ")[0] for line, _ in COMMANDS] == ["test", "audit", "explain", "replay"]
    assert len(re.findall(r"^## [1-4]\. ", PAGE.read_text(), flags=re.MULTILINE)) == 4


@pytest.mark.parametrize(("line", "output"), COMMANDS, ids=[line.partition(" ")[0] for line, _ in COMMANDS])
def test_each_command_of_the_page_prints_what_the_page_shows(place: Path, line: str, output: str) -> None:
    """A reader who follows the page sees the page."""
    done = command(*shlex.split(line), cwd=place)
    assert (done.stdout, done.stderr) == (output, "")
    assert done.returncode == (1 if line.startswith(FAILING) else 0)
