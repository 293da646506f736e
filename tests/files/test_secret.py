"""Secrets are read from where the configuration says, whole, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.core.errors import InvalidConfiguration
from gateway.files.nodes import Place
from gateway.files.secret import MAX_SECRET_BYTES, SecretSource, read_secret

AT = Place("config.yaml", 5, 10)


@pytest.mark.parametrize("content", [b"abc-123", b"abc-123\n", b"abc-123\r\n"])
def test_one_line_end_is_not_part_of_the_secret(tmp_path: Path, content: bytes) -> None:
    """Editors end a file with a line end; nothing else is cut."""
    (tmp_path / "token").write_bytes(content)
    assert read_secret(SecretSource(tmp_path / "token", None, AT), {}) == "abc-123"


REFUSED = {
    "empty": (b"", "is empty"),
    "only a line end": (b"\n", "is empty"),
    "two line ends": (b"abc\n\n", "holds a space, control character or non-ASCII character"),
    "inner space": (b"abc def", "holds a space, control character or non-ASCII character"),
    "leading space": (b" abc", "holds a space, control character or non-ASCII character"),
    "NUL": (b"abc\0", "holds a space, control character or non-ASCII character"),
    "not ASCII": ("abcé".encode(), "holds a space, control character or non-ASCII character"),
    "too long": (b"a" * (MAX_SECRET_BYTES + 1), f"is longer than {MAX_SECRET_BYTES} bytes"),
    "placeholder": (b"changeme\n", "holds a placeholder, not a secret"),
    "placeholder in brackets": (b"<token>", "holds a placeholder, not a secret"),
    "unexpanded variable": (b"${QSTASH_TOKEN}", "holds a placeholder, not a secret"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_no_secret_is_refused_where_the_configuration_names_it(tmp_path: Path, name: str) -> None:
    """The problem stands at the source's place and names the file, never its content."""
    content, expected = REFUSED[name]
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(InvalidConfiguration) as raised:
        read_secret(SecretSource(path, None, AT), {})
    assert str(raised.value) == f"config.yaml:5:10: the file {path} {expected}"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """An unreadable token ends the start."""
    with pytest.raises(InvalidConfiguration, match=r"config\.yaml:5:10: .* cannot be read: No such file"):
        read_secret(SecretSource(tmp_path / "token", None, AT), {})


def test_the_environment_is_a_source_like_a_file() -> None:
    """A set variable is read, an unset or empty one refused."""
    source = SecretSource(None, "QSTASH_TOKEN", AT)
    assert read_secret(source, {"QSTASH_TOKEN": "abc"}) == "abc"
    with pytest.raises(InvalidConfiguration, match="the environment variable QSTASH_TOKEN is not set"):
        read_secret(source, {})
    with pytest.raises(InvalidConfiguration, match="the environment variable QSTASH_TOKEN is empty"):
        read_secret(source, {"QSTASH_TOKEN": ""})


def test_a_source_is_exactly_one() -> None:
    """Neither both nor none can be constructed."""
    with pytest.raises(ValueError):
        SecretSource(Path("a"), "B", AT)
    with pytest.raises(ValueError):
        SecretSource(None, None, AT)


@pytest.mark.parametrize("name", ["qstash-token", "prod/qstash_read_token.txt", "UPSTASH-TOKEN"])
@pytest.mark.parametrize("key", ["upstream.token", "upstream.read_token"])
def test_a_file_that_is_missing_is_named_with_its_key(tmp_path: Path, key: str, name: str) -> None:
    """Which file, which key names it and where: a name made of words that such files are called by is shown."""
    with pytest.raises(InvalidConfiguration) as raised:
        read_secret(SecretSource(tmp_path / name, None, AT, key), {})
    says = f"the file {tmp_path / name} ({key}) cannot be read: No such file or directory"
    assert str(raised.value) == f"config.yaml:5:10: {says}"


@pytest.mark.parametrize(
    "name", ["hunter2", "secrets/hunter2", "hunter2/token", "eyJVc2VySUQiOiI0MmY3YzBkZSJ9", "qstash_abc"]
)
def test_a_name_that_may_be_the_secret_is_not_shown(tmp_path: Path, name: str) -> None:
    """Its key is named, and as much of the path as is there; the sentence reads as one."""
    with pytest.raises(InvalidConfiguration) as raised:
        read_secret(SecretSource(tmp_path / name, None, AT, "upstream.token"), {})
    where = f"in or under {tmp_path} (its name is not shown, it may be the secret)"
    says = f"the file that upstream.token names, {where}, cannot be read: No such file or directory"
    assert str(raised.value) == f"config.yaml:5:10: {says}"


def test_a_variable_that_is_not_set_is_named() -> None:
    """Unless its name may be the secret, pasted in the place of a name: then the key that has it is."""
    for variable, says in {"QSTASH": "QSTASH", "hunter2": "that upstream.token names"}.items():
        with pytest.raises(InvalidConfiguration) as raised:
            read_secret(SecretSource(None, variable, AT, "upstream.token"), {})
        assert str(raised.value) == f"config.yaml:5:10: the environment variable {says} is not set"


def test_what_is_no_file_reads_as_a_sentence(tmp_path: Path) -> None:
    """A directory, a pipe, a file that anyone may change: no colon stands where a verb follows."""
    (tmp_path / "open").write_text("token")
    (tmp_path / "open").chmod(0o666)
    os.mkfifo(tmp_path / "pipe")
    for path, says in {
        tmp_path: f"the file {tmp_path} (upstream.token) cannot be read: Is a directory",
        tmp_path / "pipe": f"the file {tmp_path / 'pipe'} (upstream.token) is not a regular file",
        tmp_path / "open": f"the file {tmp_path / 'open'} (upstream.token): anyone on this machine",
    }.items():
        with pytest.raises(InvalidConfiguration) as raised:
            read_secret(SecretSource(path, None, AT, "upstream.token"), {})
        assert str(raised.value).startswith(f"config.yaml:5:10: {says}")
