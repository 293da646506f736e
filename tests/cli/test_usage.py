"""How commands are called, and what their exit codes say."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.running import command, ended

COMMANDS = ("serve", "demo", "simulate", "check", "test", "explain", "cancel", "replay", "keys", "probe", "audit")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="nothing"),
        pytest.param(("cancle",), id="unknown-command"),
        pytest.param(("cancel",), id="cancel-everything"),
        pytest.param(("cancel", "--count", "5"), id="cancel-count-alone"),
        pytest.param(("cancel", "--run-id", "wfr_a", "--label", "a"), id="cancel-label-beside-run-ids"),
        pytest.param(("cancel", "--url", "https://a.example/", "--prefix", "https://a.example/"), id="cancel-two-ways"),
        pytest.param(("cancel", "--url", "a.example"), id="cancel-no-url"),
        pytest.param(("cancel", "--label", "a,b"), id="cancel-two-labels-in-one"),
        pytest.param(("cancel", "--label", "a", "--count", "0"), id="cancel-count-zero"),
        pytest.param(("cancel", "--label", "a", "--older-than", "1 hour"), id="cancel-no-duration"),
        pytest.param(("cancel", "--label", "a", "--reason", ""), id="cancel-blank-reason"),
        pytest.param(("cancel", "--label", "a", "--json"), id="cancel-json-would-ask"),
        pytest.param(("serve",), id="serve-without-config"),
        pytest.param(("serve", "--config"), id="serve-without-file"),
        pytest.param(("check",), id="check-without-config"),
        pytest.param(("probe",), id="probe-without-config"),
        pytest.param(("probe", "--url", "gateway:8080"), id="probe-no-address"),
        pytest.param(("probe", "--url", "unix:x", "--config", "c.yaml"), id="probe-two-ways"),
        pytest.param(("test",), id="test-without-path"),
        pytest.param(("test", "--format", "tap", "policies"), id="test-unknown-format"),
        pytest.param(("explain", "--config", "c.yaml", "label=a"), id="explain-without-team"),
        pytest.param(("explain", "--config", "c.yaml", "--team", "a"), id="explain-without-request"),
        pytest.param(("replay", "audit"), id="replay-without-policies"),
        pytest.param(("replay", "--policies", "new"), id="replay-without-log"),
        pytest.param(("replay", "--policies", "new", "--fail-on", "deny", "audit"), id="replay-fail-on-unknown"),
        pytest.param(("demo", "--port", "http"), id="demo-port-no-number"),
        pytest.param(("demo", "--port", "65536"), id="demo-port-too-large"),
        pytest.param(("simulate", "--port", "-1"), id="simulate-negative-port"),
        pytest.param(("demo", "now"), id="demo-extra-word"),
        pytest.param(("simulate", "--contract", "2024"), id="simulate-unknown-contract"),
        pytest.param(("simulate", "--runs", "-1"), id="simulate-negative-runs"),
        pytest.param(("simulate", "--latency-ms", "1e3"), id="simulate-latency-no-number"),
        pytest.param(("keys",), id="keys-alone"),
        pytest.param(("keys", "new", "--team", "billing"), id="key-without-id"),
        pytest.param(("keys", "new", "--id", "ci"), id="key-without-team"),
        pytest.param(("keys", "new", "--team", "billing", "--id", "a b"), id="key-id-with-space"),
        pytest.param(("keys", "new", "--team", "*", "--id", "ci"), id="key-for-every-team"),
        pytest.param(
            ("keys", "new", "--team", "billing", "--id", "ci", "--expires", "tomorrow"), id="key-expires-word"
        ),
        pytest.param(
            ("keys", "new", "--team", "billing", "--id", "ci", "--expires", "2027-02-30"), id="key-expires-no-day"
        ),
    ],
)
def test_a_mistyped_command_exits_with_2_and_does_nothing(arguments: tuple[str, ...]) -> None:
    """Usage goes to standard error, and standard output stays empty for whoever reads it."""
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
    assert "Traceback" not in done.stderr
    assert not re.search("invalid [a-z_]+ value", done.stderr), "the name of one of our functions"


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "verify"),
        ("audit", "show", "nowhere"),
        ("audit", "report"),
        ("audit", "report", "nowhere"),
        ("audit", "report", "--format", "html", "."),
        ("audit", "policy", "ab"),
        ("audit", "policy", "ab", "."),
        ("audit", "export", "--format", "ocsf", "."),
        ("audit", "export", "."),
        ("audit", "follow"),
        ("audit", "follow", "nowhere"),
    ],
    ids=" ".join,
)
def test_audit_commands_keep_2_for_a_torn_tail(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Where 1, 2 and 3 say what was found, a mistyped command exits with 64."""
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (64, "")


def test_help_names_every_command() -> None:
    """A stranger finds the commands by asking."""
    done = command("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


def test_the_version_is_that_of_the_distribution() -> None:
    """`--version` prints one line and exits with 0."""
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"qstash-gateway {version('qstash-gateway')}\n")


def test_the_installed_command_and_the_module_are_the_same() -> None:
    """`qstash-gateway` and `python -m gateway` run one program."""
    installed = ended([str(Path(sys.executable).parent / "qstash-gateway"), "--help"])
    assert (installed.returncode, installed.stdout) == (0, command("--help").stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("audit", "show", "closed"), id="show"),
        pytest.param(("audit", "stats", "closed"), id="stats"),
        pytest.param(("audit", "report", "closed"), id="report"),
        pytest.param(("audit", "export", "--format", "ocsf", "closed"), id="export"),
        pytest.param(("audit", "follow", "closed"), id="follow"),
        pytest.param(("audit", "verify", "--checkpoint", "absent", "audit"), id="verify"),
        pytest.param(("audit", "retire", "--before", "2026-01-01", "--mac-key", "absent", "audit"), id="retire"),
        pytest.param(("demo", "--tour", "--keep", "file"), id="demo"),
        pytest.param(("init", "file"), id="init"),
        pytest.param(("replay", "--policies", "policies", "closed"), id="replay"),
    ],
)
def test_a_fault_of_the_system_is_told_without_its_number(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What it is about and what is wrong, as a person says it."""
    for name in ("audit", "policies"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "audit" / "a.000001.jsonl").write_text("")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr
    assert "Errno" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("cancel", "--nope", "EVIL"), id="unknown-option"),
        pytest.param(("EVIL",), id="unknown-command"),
        pytest.param(("audit", "show", "--nope", "EVIL"), id="unknown-option-of-audit"),
        pytest.param(("audit", "show", "EVIL"), id="no-log"),
        pytest.param(("audit", "show", "--since", "EVIL", "."), id="no-time"),
        pytest.param(("audit", "report", "EVIL"), id="no-log-to-report"),
        pytest.param(("audit", "policy", "EVIL", "."), id="no-digest"),
        pytest.param(("audit", "policy", "ab", "EVIL"), id="no-texts"),
        pytest.param(("audit", "follow", "EVIL"), id="nothing-to-follow"),
        pytest.param(("check", "--config", "EVIL"), id="no-configuration"),
        pytest.param(("test", "EVIL"), id="no-cases"),
        pytest.param(("init", "EVIL"), id="new-directory"),
        pytest.param(("explain", "--config", "new/config.yaml", "--team", "EVIL", "label=a"), id="unknown-team"),
        pytest.param(("explain", "--config", "new/config.yaml", "--team", "a", "EVIL=a"), id="unknown-name"),
        pytest.param(("probe", "--url", "unix:EVIL"), id="no-socket"),
        pytest.param(("keys", "new", "--team", "EVIL", "--id", "a"), id="no-team"),
    ],
)
def test_nothing_that_was_typed_moves_the_terminal(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """It may have been pasted: tabs, colours and what moves the cursor are spelled out wherever they are repeated."""
    assert command("init", "new", cwd=tmp_path).returncode == 0
    done = command(*(word.replace("EVIL", "a\x1b[2J\tb\u202e") for word in arguments), cwd=tmp_path)
    said = (done.stdout + done.stderr).replace("\n", "")
    assert said
    assert said.isprintable()
