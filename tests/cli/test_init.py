"""`init` writes what `check` and `test` accept, and never over anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.command import main


@pytest.mark.parametrize("team", ["billing", "search-2"])
def test_a_new_team_starts_from_files_that_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str], team: str) -> None:
    """With a token in its file the configuration is good, every case holds, and every rule has one."""
    start = tmp_path / "new"
    assert main(["init", str(start), "--team", team]) == 0
    assert main(["check", "--config", str(start / "config.yaml")]) == 3
    assert "qstash-token" in capsys.readouterr().out
    (start / "qstash-token").write_text("a-token-of-this-test\n")
    (start / "qstash-token").chmod(0o600)
    assert main(["check", "--config", str(start / "config.yaml")]) == 0
    lints = [line for line in capsys.readouterr().out.splitlines() if ": warning: " in line]
    assert all("[team-without-caller]" in line for line in lints)
    assert main(["test", str(start / "policies")]) == 0
    assert "0 failed, 0 rules unreached" in capsys.readouterr().out


def test_every_file_names_a_schema_that_is_there(tmp_path: Path) -> None:
    """An editor completes from the first line on, without a network."""
    assert main(["init", str(tmp_path)]) == 0
    for path in tmp_path.rglob("*.yaml"):
        first = path.read_text().splitlines()[0]
        assert (path.parent / first.removeprefix("# yaml-language-server: $schema=")).is_file()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """One file that stands there keeps all others from being written."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "guardrails.yaml").write_text("mine\n")
    assert main(["init", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["guardrails.yaml"]


@pytest.mark.parametrize("team", ["A", "a/b", "guardrails", "", "a-"])
def test_a_team_that_no_file_could_be_named_after_is_a_usage_error(tmp_path: Path, team: str) -> None:
    """The name becomes a file, a policy and a host."""
    with pytest.raises(SystemExit) as raised:
        main(["init", str(tmp_path), "--team", team])
    assert raised.value.code == 2
