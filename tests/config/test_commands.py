"""`check` says everything that `serve` would refuse; `keys new` makes what `check` accepts."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import re
from pathlib import Path

import pytest

from gateway.cli import keys
from gateway.cli.policies import check
from gateway.config import load_config
from gateway.policy.load import load_policies

TODAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CONFIG = """\
version: 1
listen: 127.0.0.1:8080
upstream:
  url: https://qstash.upstash.io
  token: {file: token}
callers: {keys: []}
policies: policies
audit: {directory: audit}
"""
POLICY = """\
version: 1
name: t
teams: [a]
allow:
  - {id: bounded, workflowUrl: {exact: ["https://a.example/b"]}, count: {cap: 5}}
  - {id: unbounded, label: {any_of: [x]}}
  - {id: by-id, workflowRunIds: {max: 5}, count: {max: 3}, owner: unchecked}
require:
  - {id: few, count: {max: 9}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that `serve` accepts."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "token").write_text("a-real-token\n")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "t.yaml").write_text(POLICY)
    return tmp_path / "config.yaml"


def run(*arguments: str) -> int:
    """The exit code of a command line."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(required=True)
    check.register(subparsers)
    keys.register(subparsers)
    parsed = parser.parse_args(arguments)
    code: int = parsed.run(parsed)
    return code


def checked(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of `check` and its lines, paths cut, without the lines of the files that it shows."""
    code = run("check", "--config", str(config))
    lines = capsys.readouterr().out.replace(f"{config.parent}/", "").splitlines()
    return code, [line for line in lines if not line.startswith("    ")]


def test_a_good_configuration_is_summed_up(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, with the digest that the record and readiness show."""
    code, lines = checked(config, capsys)
    assert code == 0
    assert lines[-2] == "note: there is no key and no issuer, so nobody can call yet; 'keys new' makes a key"
    assert lines[-1] == f"ok: 4 rules for a; 0 keys; policy digest {load_policies(config.parent / 'policies').digest}"


def test_the_faults_of_every_file_are_reported_at_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Faults of the configuration do not hide those of the policies, which it still names."""
    config.write_text(CONFIG.replace("version: 1", "version: 01"))
    (config.parent / "policies" / "t.yaml").write_text(POLICY.replace("cap: 5", "cap: 05"))
    assert checked(config, capsys) == (
        3,
        [
            "config.yaml:1:10: expected a whole number in plain digits, found '01'",
            "policies/t.yaml:5:79: expected a whole number in plain digits, found '05'",
        ],
    )


@pytest.mark.parametrize("content", ["", "two words", "changeme\n"])
def test_an_unusable_token_fails_the_check(config: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    """`serve` would refuse it, so `check` does, where the configuration names it."""
    (config.parent / "token").write_text(content)
    code, [line] = checked(config, capsys)
    assert code == 3
    assert line.startswith("config.yaml:5:10: the file token ")


def test_a_variable_that_is_not_set_fails_the_check(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is read where the check runs."""
    monkeypatch.delenv("QSTASH_TEST_TOKEN", raising=False)
    config.write_text(CONFIG.replace("{file: token}", "{env: QSTASH_TEST_TOKEN}"))
    expected = "config.yaml:5:10: the environment variable QSTASH_TEST_TOKEN is not set"
    assert checked(config, capsys) == (3, [expected])
    monkeypatch.setenv("QSTASH_TEST_TOKEN", "a-real-token")
    assert checked(config, capsys)[0] == 0


def test_an_audit_directory_that_cannot_be_made_fails_the_check(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No record, no cancel: so no start without a place for the record."""
    config.write_text(CONFIG.replace("directory: audit", "directory: absent/audit"))
    expected = "config.yaml:8:8: the audit directory cannot be used: absent is no directory; make it"
    assert checked(config, capsys) == (3, [expected])


def test_a_mac_key_that_cannot_be_read_fails_the_check(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configured key is used or the start refused; the chain is never weaker than configured."""
    config.write_text(CONFIG.replace("directory: audit", "directory: audit, mac_key: {file: mac}"))
    code, [line] = checked(config, capsys)
    assert code == 3
    assert "the MAC key mac cannot be read" in line


def warned(config: Path, lint: str) -> list[str]:
    """The messages of one lint about a configuration."""
    loaded = load_config(config)
    findings = check.findings_of(config, loaded, load_policies(loaded.policies), now=TODAY)
    return [finding.message for finding in findings if finding.id == lint]


def test_a_filter_bounded_by_count_alone_is_named_where_count_is_advisory(config: Path) -> None:
    """Under 2026-09 upstream may ignore `count`; a list of run IDs bounds exactly under both contracts."""
    assert [text.split()[0] for text in warned(config, "count-only")] == ["t/bounded", "t/few"]
    config.write_text(CONFIG.replace("{file: token}", '{file: token}\n  contract: "2025"'))
    assert warned(config, "count-only") == []


def test_an_unchecked_owner_is_named(config: Path) -> None:
    """What a rule takes on trust is said at every check."""
    message = "t/by-id: run IDs carry no owner, and this rule does not look the runs up."
    assert warned(config, "owner-unchecked") == [message]


def test_a_call_that_outlives_the_grace_period_is_named(config: Path) -> None:
    """A timeout above the grace period lets the end cut a call off."""
    config.write_text(f"{CONFIG}shutdown_grace_s: 29\n")
    [message] = warned(config, "timeout-above-grace")
    assert message.startswith("upstream.total_timeout_s (30) is above shutdown_grace_s (29)")


def test_keys_that_soon_or_never_work_are_named(config: Path) -> None:
    """Expired, about to expire, or of a team that nothing is allowed to."""
    expiries = ["2025-12-31", "2026-01-01", "2026-01-14", "2026-01-16"]
    lines = [
        f'  - {{id: k{number}, team: {"b" if number == 3 else "a"}, sha256: "{digest}", expires: {day}}}\n'
        for number, day in enumerate(expiries)
        if (digest := hashlib.sha256(day.encode()).hexdigest())
    ]
    config.write_text(CONFIG.replace("callers: {keys: []}\n", "callers:\n  keys:\n" + "".join(lines)))
    assert warned(config, "key-expired") == ["key a/k0: expired on 2025-12-31."]
    assert warned(config, "key-expires") == [
        "key a/k1: expires on 2026-01-01.",
        "key a/k2: expires on 2026-01-14.",
    ]
    assert warned(config, "team-without-allow") == ["key b/k3: no rule allows anything to team b."]


def test_lints_stand_at_their_lines_and_fail_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is said with its place, the line and a caret; the exit code is that of a good configuration."""
    assert run("check", "--config", str(config)) == 0
    lines = capsys.readouterr().out.replace(f"{config.parent}/", "").splitlines()
    at = next(number for number, line in enumerate(lines) if "[owner-unchecked]" in line)
    assert lines[at].startswith("policies/t.yaml:7:5: warning: t/by-id: run IDs carry no owner")
    assert lines[at + 1 : at + 3] == [
        "     7 |   - {id: by-id, workflowRunIds: {max: 5}, count: {max: 3}, owner: unchecked}",
        "       |     ^",
    ]


def test_the_caret_stands_below_the_fault(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line of the file is shown as it is, also where it holds other than ASCII."""
    fault = POLICY.replace("cap: 5", "capp: 5").replace("teams: [a]", "description: Läufe\nteams: [a]")
    (config.parent / "policies" / "t.yaml").write_text(fault)
    assert run("check", "--config", str(config)) == 3
    shown = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(shown) if "unknown key 'capp': did you mean 'cap'?" in line)
    assert shown[at + 1][shown[at + 2].index("^") :].startswith("capp: 5")


def test_no_value_of_the_configuration_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A secret pasted into the wrong place reaches no build log; the keys around it are shown."""
    config.write_text(CONFIG.replace("url: https://qstash.upstash.io", "url: s3cr3t-value"))
    assert run("check", "--config", str(config)) == 3
    printed = capsys.readouterr().out
    assert "s3cr3t" not in printed
    assert "  url: ············" in printed


@pytest.mark.parametrize("broken", [False, True])
def test_other_programs_read_the_same_findings(
    config: Path, capsys: pytest.CaptureFixture[str], *, broken: bool
) -> None:
    """JSON and workflow commands carry file, line, column and message of each problem and lint."""
    if broken:
        (config.parent / "policies" / "t.yaml").write_text(POLICY.replace("cap: 5", "cap: 05"))
    code = run("check", "--config", str(config), "--format", "json")
    members = json.loads(capsys.readouterr().out)
    assert (code, members["ok"]) == (3 if broken else 0, not broken)
    listed = members["problems"] if broken else members["lints"]
    assert all({"file", "line", "column", "message"} <= one.keys() for one in listed)
    assert run("check", "--config", str(config), "--format", "github") == code
    level = "error" if broken else "warning"
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"::{level} ")]
    assert len(commands) == len(listed)
    assert f"line={listed[0]['line']},col={listed[0]['column']}" in commands[0]


@pytest.mark.parametrize("team", ["billing", "no", "123", "1e3", "y"])
def test_a_new_key_is_recognised_by_the_entry_to_paste(
    config: Path, capsys: pytest.CaptureFixture[str], team: str
) -> None:
    """The printed line loads as it is, whatever the names, and holds the digest of the printed key."""
    assert run("keys", "new", "--team", team, "--id", "null", "--expires", "2027-06-30") == 0
    printed = capsys.readouterr().out
    [key] = re.findall(r"qgk_null_[A-Za-z0-9_-]{43}", printed)
    [entry] = re.findall(r"^ *(- \{.*\})$", printed, flags=re.MULTILINE)
    config.write_text(CONFIG.replace("callers: {keys: []}\n", f"callers:\n  keys:\n  {entry}\n"))
    [loaded] = load_config(config).keys
    assert (loaded.id, loaded.team, loaded.expires) == ("null", team, dt.date(2027, 6, 30))
    assert loaded.digest == hashlib.sha256(key.encode()).digest()


def test_no_two_new_keys_are_the_same() -> None:
    """256 random bits each."""
    assert keys.new_key("a") != keys.new_key("a")


@pytest.mark.parametrize(
    "arguments",
    [("--team", "A", "--id", "a"), ("--team", "a", "--id", "a_b"), ("--team", "a", "--id", "a", "--expires", "soon")],
)
def test_a_name_that_would_not_load_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    """`keys new` never makes an entry that `serve` refuses."""
    with pytest.raises(SystemExit) as raised:
        run("keys", "new", *arguments)
    assert raised.value.code == 2
