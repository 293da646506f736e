"""`keys new`: what it prints is what the gateway takes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.cli.running import command
from tests.support.gateway import RunningGateway, Setup

KEY = re.compile(r"^ +(qgk_([a-z0-9-]+)_[A-Za-z0-9_-]{43})$", re.MULTILINE)
ENTRY = re.compile(r"^ +- \{.*\}$", re.MULTILINE)
EXACT = "/v2/workflows/runs?workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"


@dataclass
class PastedSetup(Setup):
    """A configuration whose keys are lines as `keys new` printed them."""

    lines: tuple[str, ...] = ()

    def write(self) -> Path:
        path = super().write()
        path.write_text(
            path.read_text().replace("  keys:\n", "  keys:\n" + "".join(f"{line}\n" for line in self.lines))
        )
        return path


def new_key(*arguments: str) -> tuple[str, str]:
    """The key and the YAML line that `keys new` prints."""
    done = command("keys", "new", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    (key,), (line,) = KEY.finditer(done.stdout), ENTRY.findall(done.stdout)
    assert done.stdout.count(key[1]) == 1
    return key[1], line


@pytest.mark.parametrize(
    ("key_id", "team", "expires", "status"),
    [
        pytest.param("billing-ci", "billing", None, 200, id="plain"),
        pytest.param("0100", "billing", None, 200, id="id-like-a-number"),
        pytest.param("no", "billing", "2999-12-31", 200, id="id-like-a-word-of-yaml"),
        pytest.param("old", "billing", "2020-01-01", 401, id="expired"),
        pytest.param("other", "search", None, 403, id="another-team"),
    ],
)
def test_a_pasted_line_authenticates_its_key(
    simulator: SimulatorServer, tmp_path: Path, key_id: str, team: str, expires: str | None, status: int
) -> None:
    """The line works where it is pasted, below `callers.keys`, for that key, that team and until that day."""
    key, line = new_key("--team", team, "--id", key_id, *(("--expires", expires) if expires else ()))
    setup = PastedSetup(simulator.url, tmp_path / "gateway", teams=(), lines=(line,))
    with RunningGateway(setup) as gateway:
        answer = gateway.request(target=EXACT, team=None, headers={"Authorization": f"Bearer {key}"})
        records = gateway.records()
    assert answer.status == status
    if status != 401:
        assert [record.get("principal") for record in records[1:2]] == [f"{team}/{key_id}"]
    assert key.encode() not in gateway.said()


def test_the_line_holds_the_digest_and_never_the_key() -> None:
    """Whoever reads the configuration learns nothing that authenticates."""
    key, line = new_key("--team", "billing", "--id", "ci")
    assert hashlib.sha256(key.encode()).hexdigest() in line
    assert key not in line


def test_no_two_keys_are_the_same() -> None:
    """The same words on the command line make another key each time."""
    first, second = (new_key("--team", "billing", "--id", "ci")[0] for _ in range(2))
    assert first != second
