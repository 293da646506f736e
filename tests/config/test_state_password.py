"""`check` looks at the password of the state as it looks at other secrets, without asking the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.policies import check
from gateway.config import load_config
from gateway.core.errors import InvalidConfiguration
from gateway.state.password import MAX_PASSWORD_BYTES, password_of
from tests.config.test_commands import CONFIG, checked, config, run, warned

__all__ = ["config"]

SECTION = 'state: {url: "postgresql://gateway@db.example/gateway", password: {file: state-password}}\n'
WORD = "correct-horse"


@pytest.fixture
def password(config: Path) -> Path:
    """The file of the password, which the configuration names."""
    config.write_text(CONFIG + SECTION)
    file = config.parent / "state-password"
    file.write_text(f"{WORD}\n")
    return file


def test_a_password_in_one_line_is_taken_without_its_end(
    config: Path, password: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever editors put behind it, and whatever else it is made of; no server is asked."""
    state = load_config(config).state
    assert state is not None
    for content, held in (
        (f"{WORD}\n", WORD),
        (f"{WORD}\r\n", WORD),
        (WORD, WORD),
        ("two words, 'quoted'\n", "two words, 'quoted'"),
        ("ä€\n", "ä€"),
    ):
        password.write_text(content, newline="")
        assert password_of(state) == held
        assert run("check", "--config", str(config)) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (f"{WORD}\n{WORD}\n".encode(), "holds a line end or another control character"),
        (f"{WORD}\n\n".encode(), "holds a line end or another control character"),
        (f"\ufeff{WORD}\n".encode(), "byte order mark"),
        (f"{WORD}\0".encode(), "control character"),
        (b"x" * (MAX_PASSWORD_BYTES + 1), f"is larger than {MAX_PASSWORD_BYTES} bytes"),
    ],
    ids=["empty", "a line end", "two lines", "an empty line", "byte order mark", "NUL", "too long"],
)
def test_what_cannot_be_a_password_is_a_problem_in_the_configuration(
    config: Path, password: Path, capsys: pytest.CaptureFixture[str], content: bytes, says: str
) -> None:
    """At the section, in one sentence that shows nothing of it."""
    password.write_bytes(content)
    code, [line] = checked(config, capsys)
    assert code == 3
    assert says in line
    assert line.startswith("config.yaml:9:8: the password of the state ")
    assert line.endswith("check 'state.password', or --password-file")
    assert WORD not in line


def test_a_password_that_cannot_be_read_is_a_problem(
    config: Path, password: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not there, no file, or anyone could change it: serve would end with 3."""
    password.chmod(0o602)
    assert "chmod o-w" in checked(config, capsys)[1][0]
    password.unlink()
    assert "cannot be read: No such file" in checked(config, capsys)[1][0]
    password.mkdir()
    code, [line] = checked(config, capsys)
    assert (code, "state.password" in line) == (3, True)
    state = load_config(config).state
    assert state is not None
    with pytest.raises(InvalidConfiguration):
        password_of(state)


def test_a_password_that_anyone_may_read_is_a_lint(
    config: Path, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of every secret on the disk."""
    assert warned(config, "readable-by-all") == []
    monkeypatch.setattr(check, "anyone_may_read", lambda path: path == password)
    [message] = warned(config, "readable-by-all")
    assert "state-password" in message
