"""Secrets are read from where the configuration says, whole, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.document.nodes import Place
from gateway.errors import InvalidConfiguration
from gateway.secret import MAX_SECRET_BYTES, SecretSource, read_secret

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
