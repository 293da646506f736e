"""`init` writes what `check` and `test` accept, and never over anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.cli.main import main

CONTRACTS = ("2025", "2026-09")


def token(directory: Path) -> None:
    """Puts a token where the configuration says."""
    (directory / "qstash-token").write_text("a-token-of-this-test\n")
    (directory / "qstash-token").chmod(0o600)


def under(contract: str, directory: Path) -> None:
    """Has the configuration expect this contract."""
    config = directory / "config.yaml"
    config.write_text(re.sub('contract: "[0-9-]+"', f'contract: "{contract}"', config.read_text()))


@pytest.mark.parametrize("team", ["billing", "search-2"])
def test_a_new_team_starts_from_files_that_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str], team: str) -> None:
    """With a token in its file the configuration is good, every case holds, and every rule has one."""
    start = tmp_path / "new"
    assert main(["init", str(start), "--team", team]) == 0
    assert main(["check", "--config", str(start / "config.yaml")]) == 3
    assert "qstash-token" in capsys.readouterr().out
    token(start)
    for contract in CONTRACTS:
        under(contract, start)
        assert main(["check", "--config", str(start / "config.yaml")]) == 0
        assert ": warning: " not in capsys.readouterr().out
    assert main(["test", str(start / "policies")]) == 0
    assert "0 failed, 0 rules unreached" in capsys.readouterr().out


def test_what_stands_there_as_an_example_can_be_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without their # the rules on runs by ID and on failed runs hold; the latter lets the team start them again."""
    assert main(["init", str(tmp_path), "--team", "billing"]) == 0
    policy, config = tmp_path / "policies" / "billing.yaml", tmp_path / "config.yaml"
    taken = re.sub(r"(?m)^  # (- id: own-|  [a-zA-Z])", r"  \1", policy.read_text())
    assert taken.count("- id: own-") == 3
    policy.write_text(taken)
    config.write_text(config.read_text().replace("  # read_token:", "  read_token:"))
    line = "POST /v2/workflows/dlq/restart?workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Fworkflow"
    capsys.readouterr()
    assert main(["explain", "--config", str(config), "--team", "billing", line]) == 0
    assert "permit by billing-own/own-failed" in capsys.readouterr().out


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


def test_a_further_team_is_added_and_nothing_else_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files come to what is there; `check` has no warning under either contract and every case holds."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", "."]) == 0
    token(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(["init", "--team", "second", "."]) == 0
    said = capsys.readouterr().out
    assert "qstash-gateway keys new --team second --id ci" in said
    assert "qstash-gateway test policies" in said
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    added = {path.relative_to(tmp_path).as_posix() for path in after.keys() - before.keys()}
    assert added == {"policies/second.yaml", "policies/second.cases.yaml"}
    assert all(after[path] == content for path, content in before.items())
    for contract in CONTRACTS:
        under(contract, tmp_path)
        assert main(["check", "--config", "config.yaml"]) == 0
        assert ": warning: " not in capsys.readouterr().out
    assert main(["test", "policies"]) == 0
    assert "8 cases, 0 failed, 0 rules unreached" in capsys.readouterr().out


def test_a_team_that_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of its two files is enough to refuse both, and the sentence says what to do."""
    assert main(["init", str(tmp_path)]) == 0
    (tmp_path / "policies" / "second.cases.yaml").write_text("mine\n")
    capsys.readouterr()
    assert main(["init", "--team", "second", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "second.cases.yaml is there already; nothing was written." in said
    assert "edit them, or name another team" in said
    assert not (tmp_path / "policies" / "second.yaml").exists()
    assert main(["init", str(tmp_path)]) == 1
    assert f"init --team TEAM {tmp_path}" in capsys.readouterr().out


def test_a_team_is_added_where_the_configuration_keeps_its_policies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The directory is the one that the file names; where it names none that is there, nothing is written."""
    (tmp_path / "config.yaml").write_text("policies: rules\n")
    assert main(["init", "--team", "second", str(tmp_path)]) == 1
    assert "names no directory of policies" in capsys.readouterr().out
    (tmp_path / "rules").mkdir()
    assert main(["init", "--team", "second", str(tmp_path)]) == 0
    assert sorted(path.name for path in (tmp_path / "rules").iterdir()) == ["second.cases.yaml", "second.yaml"]
    assert "yaml-language-server" not in (tmp_path / "rules" / "second.yaml").read_text()


IN_THE_WAY = {
    "a file for the directory": ("afile", "afile is a file where a directory is wanted"),
    "a file above it": ("afile/new", "afile is a file where a directory is wanted"),
    "a file for a directory within": ("half", "schemas is a file where a directory is wanted"),
    "a link that leads nowhere": ("link", "cannot be written"),
}


@pytest.mark.parametrize("team", [[], ["--team", "second"]], ids=["start", "team"])
@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_is_in_the_way_leaves_nothing_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, team: list[str]
) -> None:
    """Exit code 1 and a sentence without a system call's words; every file and directory is as it was."""
    (tmp_path / "afile").write_text("mine\n")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "schemas").write_text("mine\n")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    directory, says = IN_THE_WAY[name]
    assert main(["init", *team, str(tmp_path / directory)]) == 1
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.endswith("; nothing was written\n")
    assert "Errno" not in said.err
    assert said.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_team_without_a_configuration_to_be_added_to_is_a_new_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that is said, for who meant another directory; beside policies without a configuration nothing is written."""
    assert main(["init", "--team", "second", str(tmp_path / "new")]) == 0
    said = f"There was no {tmp_path / 'new' / 'config.yaml'} to add the team second to: a new directory was begun; "
    assert f"{said}its first team is second.\n" in capsys.readouterr().out
    assert main(["init", str(tmp_path / "other")]) == 0
    assert "There was no" not in capsys.readouterr().out
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "guardrails.yaml").write_text("mine\n")
    assert main(["init", "--team", "second", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"There is no {tmp_path / 'config.yaml'}" in said
    assert "init --team" not in said
    assert [path.name for path in (tmp_path / "policies").iterdir()] == ["guardrails.yaml"]
