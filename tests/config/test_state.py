"""The section `state` of the configuration: one file or one server, and never a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import load_config
from gateway.core.errors import InvalidConfiguration
from gateway.state.settings import StateSettings

MINIMAL = """\
version: 1
listen: 127.0.0.1:8080
upstream: {url: "https://qstash.upstash.io", token: {file: token}}
callers: {keys: []}
policies: policies
audit: {directory: var/audit}
"""


def loaded(directory: Path, section: str) -> StateSettings | None:
    path = directory / "gateway.yaml"
    path.write_text(f"{MINIMAL}{section}\n")
    return load_config(path).state


def faults(directory: Path, section: str) -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        loaded(directory, section)
    return "\n".join(f"{one.line}:{one.column}: {one.message}" for one in caught.value.problems)


def test_without_the_key_there_is_no_store(tmp_path: Path) -> None:
    """Nothing of it is made up."""
    assert loaded(tmp_path, "") is None


def test_a_file_is_beside_the_record(tmp_path: Path) -> None:
    """A relative one; an absolute one is where it says."""
    beside = loaded(tmp_path, 'state: {url: "sqlite:state.db"}')
    assert beside is not None
    assert (beside.file, beside.url) == (tmp_path / "var/audit/state.db", None)
    absolute = loaded(tmp_path, 'state: {url: "sqlite:/var/lib/gateway/state.db"}')
    assert absolute is not None
    assert absolute.file == Path("/var/lib/gateway/state.db")


def test_a_server_has_its_password_in_a_file(tmp_path: Path) -> None:
    """Relative to the configuration, like every secret."""
    url = "postgresql://gateway@db.example:5433/gateway?sslmode=verify-full"
    state = loaded(tmp_path, f'state: {{url: "{url}", password: {{file: secret}}, connections: 3}}')
    assert state is not None
    assert (state.file, state.url, state.password, state.connections) == (None, url, tmp_path / "secret", 3)
    for socket in ("postgresql://gateway@/gateway?host=/run/postgresql", "postgresql://gateway@[::1]/gateway"):
        assert loaded(tmp_path, f'state: {{url: "{socket}"}}') is not None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gateway:HUNTER2@db/gateway",
        "postgresql://gateway:@db/HUNTER2",
        "postgresql://gateway%3AHUNTER2@db/gateway",
        "postgresql://gateway@db/gateway?password=HUNTER2",
        "postgresql://gateway@db/gateway?passfile=/HUNTER2",
        "postgresql://a:HUNTER2@b@db/gateway",
    ],
)
def test_a_password_in_the_url_is_an_error_that_does_not_show_it(tmp_path: Path, url: str) -> None:
    """In whatever place a library would read it."""
    told = faults(tmp_path, f'state: {{url: "{url}"}}')
    assert told == "7:14: a password must not stand in the URL: put it into a file, named by 'password: {file}'"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://gateway@db/HUNTER2", "expected sqlite:FILE, or postgresql://USER@HOST/DATABASE; nothing else"),
        ("postgres://gateway@db/HUNTER2", "expected sqlite:FILE, or postgresql://USER@HOST/DATABASE; nothing else"),
        ("postgresql+psycopg://gateway@db/HUNTER2", "expected sqlite:FILE, or postgresql://USER@HOST/DATABASE"),
        ("HUNTER2.db", "expected sqlite:FILE, or postgresql://USER@HOST/DATABASE; nothing else"),
        ("sqlite:", "expected sqlite:FILE, with the path of a file and nothing else"),
        ("sqlite:///HUNTER2.db", "expected sqlite:FILE, with the path of a file and nothing else"),
        ("sqlite:HUNTER2.db?mode=memory", "expected sqlite:FILE, with the path of a file and nothing else"),
        ("sqlite::memory:", "expected sqlite:FILE, with the path of a file and nothing else"),
        ("postgresql://db/HUNTER2", "with a user and a database"),
        ("postgresql://HUNTER2@db/", "with a user and a database"),
        ("postgresql://HUNTER2@/gateway", "the URL names no host"),
        ("postgresql://HUNTER2@db:port/gateway", "this is no URL"),
        ("postgresql://HUNTER2@db/gateway?sslmode=maybe", "'sslmode' is one of disable, prefer, require"),
        ("postgresql://HUNTER2@db/gateway?options=-c", "only host, sslmode, sslrootcert are known, each once"),
        ("postgresql://HUNTER2@db/gateway?host=a&host=b", "only host, sslmode, sslrootcert are known, each once"),
    ],
)
def test_another_store_is_an_error_that_shows_nothing_of_it(tmp_path: Path, url: str, told: str) -> None:
    """Somebody may have pasted a secret."""
    found = faults(tmp_path, f'state: {{url: "{url}"}}')
    assert found.startswith("7:14: ")
    assert told in found
    assert "HUNTER2" not in found
