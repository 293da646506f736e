"""What `serve` refuses to start with, and that `check` says the same before."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.cli.configs import CONFIG, DIGEST, POLICY, position, write
from tests.cli.running import command

PROBLEM = re.compile(r"[^:\n]+:[1-9][0-9]*:[1-9][0-9]*: \S.*")


def assert_refused(config: Path, *expected: str) -> None:
    """`serve` and `check` exit with 3, and every line they print is a problem with its position."""
    for name, stream in (("serve", "stderr"), ("check", "stdout")):
        done = command(name, "--config", str(config))
        said = getattr(done, stream)
        assert done.returncode == 3, said
        assert all(PROBLEM.fullmatch(line) for line in said.splitlines() if not line.startswith(" ")), said
        assert all(part in said for part in expected), said


@pytest.mark.parametrize(
    "digest",
    [
        pytest.param("<64 hex digits>", id="as-in-the-example"),
        pytest.param("0" * 64, id="one-digit-repeated"),
        pytest.param("f" * 64, id="another-digit-repeated"),
        pytest.param(DIGEST.upper(), id="upper-case"),
        pytest.param(DIGEST[:-1], id="too-short"),
        pytest.param("", id="empty"),
    ],
)
def test_a_placeholder_is_no_key(tmp_path: Path, digest: str) -> None:
    """A configuration copied from an example cannot go into service before its keys are made."""
    config = CONFIG.replace(DIGEST, digest)
    place = position(config, f'"{digest}"')
    assert_refused(write(tmp_path, config=config), f"config.yaml:{place}: ")


def test_a_token_file_that_is_missing_refuses_the_start(tmp_path: Path) -> None:
    """The problem stands where the configuration names the file."""
    config = write(tmp_path, token=None)
    assert_refused(config, f"config.yaml:{position(CONFIG, '{file: token}')}: ", "cannot be read")


def test_a_token_file_that_is_a_directory_refuses_the_start(tmp_path: Path) -> None:
    """What cannot be read as a file is no token, also for a superuser."""
    config = write(tmp_path, token=None)
    (tmp_path / "token").mkdir()
    assert_refused(config, "token", "cannot be read")


@pytest.mark.parametrize("content", [pytest.param("", id="empty"), pytest.param("\n", id="blank")])
def test_a_token_file_without_a_token_refuses_the_start(tmp_path: Path, content: str) -> None:
    """An empty token would be sent as no token at all."""
    assert_refused(write(tmp_path, token=content), "config.yaml:5:")


def test_a_token_variable_that_is_not_set_refuses_the_start(tmp_path: Path) -> None:
    """The environment is read at the start, and nothing takes the place of what is missing there."""
    config = CONFIG.replace("{file: token}", "{env: QSTASH_GATEWAY_TEST_UNSET}")
    assert_refused(write(tmp_path, config=config), "config.yaml:5:", "QSTASH_GATEWAY_TEST_UNSET")


def test_every_error_of_a_policy_file_is_named_at_once(tmp_path: Path) -> None:
    """Two faults in one file are two lines, each with its own position."""
    policy = POLICY + "  - {id: typo, workflowURL: {any: true}}\n  - {id: alone}\n"
    config = write(tmp_path, policy=policy)
    first, second = position(policy, "workflowURL"), position(policy, "{id: alone}")
    assert_refused(config, f"billing.yaml:{first}: ", f"billing.yaml:{second}: ")


def test_a_duplicate_key_never_wins_silently(tmp_path: Path) -> None:
    """A second `policies` is an error at its own place, not the last word."""
    config = CONFIG + "policies: elsewhere\n"
    assert_refused(write(tmp_path, config=config), f"config.yaml:{position(config, 'policies: elsewhere')}: ")


def test_check_names_the_errors_of_all_files_at_once(tmp_path: Path) -> None:
    """Configuration and policies are judged together, so that one look is enough."""
    config = CONFIG.replace(DIGEST, "0" * 64)
    policy = POLICY.replace("exact:", "exactly:")
    done = command("check", "--config", str(write(tmp_path, config=config, policy=policy, token=None)))
    assert done.returncode == 3
    assert "config.yaml:9:" in done.stdout
    assert f"billing.yaml:{position(policy, 'exactly')}: " in done.stdout


def test_a_configuration_that_is_not_there_is_an_invalid_one(tmp_path: Path) -> None:
    """A mistyped file name is said with the same kind of line."""
    assert_refused(tmp_path / "nowhere.yaml", "nowhere.yaml:1:1: ")


def test_a_taken_port_fails_the_start(tmp_path: Path) -> None:
    """The machine's fault, not the file's: exit code 1, in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = CONFIG.replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}")
        done = command("serve", "--config", str(write(tmp_path, config=config)))
    assert done.returncode == 1
    assert done.stderr.startswith("qstash-gateway: ")
    assert "Traceback" not in done.stderr


def test_check_passes_what_serve_would_take(tmp_path: Path) -> None:
    """A summary without secrets, and exit code 0."""
    done = command("check", "--config", str(write(tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok: 1 rule for billing; 1 key; policy digest " in done.stdout


def test_a_warning_never_fails_check(tmp_path: Path) -> None:
    """Under 2026-09 `check` says which rule bounds a filter cancel by `count` alone, and still exits with 0."""
    config = CONFIG.replace('"2025"', '"2026-09"').replace(f'"{DIGEST}"', f'"{DIGEST}", expires: 2020-01-01')
    done = command("check", "--config", str(write(tmp_path, config=config)))
    assert done.returncode == 0
    assert "warning: billing/own bounds a filter cancel by count alone" in done.stdout
    assert "warning: key billing/ci: expired on 2020-01-01" in done.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("policies: policies", "policies: pölicies"),
        ("{file: token}", "{file: tökén}"),
        ("directory: audit", "directory: aüdit"),
        ("listen: 127.0.0.1:0", "listen: unix:g.söck"),
    ],
)
def test_a_name_that_the_environment_cannot_write_is_a_problem_at_its_place(tmp_path: Path, old: str, new: str) -> None:
    """Python takes the names of files in the encoding of the locale, where it is told to."""
    config = write(tmp_path, config=CONFIG.replace(old, new))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command("serve", "--config", str(config), env=ascii_only)
    assert done.returncode == 3
    assert PROBLEM.fullmatch(done.stderr.strip())
    assert done.stderr.strip().endswith(
        "no file has this name in ascii, which the environment asks for: set PYTHONUTF8=1"
    )
