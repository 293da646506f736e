"""The commands `state migrate`, `state check` and `state copy`."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.store.tables import REVISION
from tests.support.state.postgres import PASSWORD

CONFIGURATION = """\
version: 1
listen: 127.0.0.1:8080
upstream: {url: "https://qstash.upstash.io", token: {file: token}}
callers: {keys: []}
policies: policies
audit: {directory: audit}
"""


@pytest.fixture
def configuration(tmp_path: Path) -> str:
    path = tmp_path / "gateway.yaml"
    path.write_text(f'{CONFIGURATION}state: {{url: "sqlite:state.db"}}\n')
    return str(path)


def test_a_store_is_made_checked_and_copied(
    configuration: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each says in a line what it did; a second copy into the same store is refused."""
    file, other = tmp_path / "audit" / "state.db", tmp_path / "other.db"
    assert main(["state", "check", "--config", configuration]) == 3
    assert "does not exist: start the gateway, which makes it, or run" in capsys.readouterr().err
    assert main(["state", "migrate", "--config", configuration]) == 0
    assert main(["state", "migrate", "--config", configuration]) == 0
    assert main(["state", "check", "--config", configuration]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"the state {file} has its tables now, at revision {REVISION}",
        f"the state {file} is at revision {REVISION} already",
        f"ok: the state {file} has revision {REVISION}; nothing is in it",
    ]
    assert main(["state", "copy", "--config", configuration, "--to", f"sqlite:{other}"]) == 3
    assert f"the state {other} does not exist" in capsys.readouterr().err


def test_a_command_without_a_store_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the code of an invalid configuration."""
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIGURATION)
    assert main(["state", "migrate", "--config", str(path)]) == 3
    assert capsys.readouterr().err == f"qstash-gateway: {path} has no section 'state', so there is no store\n"


def test_a_password_on_the_command_line_is_not_shown(configuration: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor taken: others on the machine read it there."""
    url = f"postgresql://gateway:{PASSWORD.replace(' ', '')}@db/gateway"
    assert main(["state", "copy", "--config", configuration, "--to", url]) == 3
    told = capsys.readouterr().err
    assert "a password must not stand in the URL" in told
    assert PASSWORD.replace(" ", "") not in told
