"""The `state` section of the configuration: where the store is, and how it is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from gateway.files.mappings import Shape, may, need
from gateway.files.nodes import Place
from gateway.files.values import Int, Text, path_field

MOST_CONNECTIONS = 100

_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):(?P<rest>.*)")
_SAFE = re.compile(r"[A-Za-z0-9_.~%/?=&@:\[\],+-]*")
_OPTIONS = ("host", "sslmode", "sslrootcert")
_TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class StateSettings:
    """The store. `file` is that of SQLite; else `url` is that of PostgreSQL, which never holds a password.

    `password` is the file that holds it, and `connections` the most that are open to PostgreSQL.
    """

    file: Path | None
    url: str | None
    at: Place = field(compare=False, repr=False)
    password: Path | None = None
    connections: int = 8

    @property
    def shown(self) -> str:
        """The store in messages: its file or its URL, neither of which holds a secret."""
        return str(self.file or self.url)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the store is: the file of a SQLite database, as written, or the URL of a PostgreSQL one."""

    file: Path | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class RawState:
    """The `state` section before paths are resolved."""

    url: Address
    at: Place
    password: Path | None = None
    connections: int = 8


def state() -> Shape[RawState]:
    """Return the shape that reads the section."""
    keys = {
        "url": need(Text(address, hidden=True)),
        "password": may(Shape(lambda file: file, {"file": need(path_field())}, hidden=True)),
        "connections": may(Int(1, MOST_CONNECTIONS)),
    }
    return Shape(RawState, keys, located=True, hidden=True)


def complete(raw: RawState, base: Path, beside: Path) -> StateSettings:
    """Return the settings: a SQLite file is relative to the audit directory `beside`, the password's to `base`."""
    file = None if raw.url.file is None else beside / raw.url.file
    password = None if raw.password is None else base / raw.password
    return StateSettings(file, raw.url.url, raw.at, password, raw.connections)


def address(text: str) -> Address:
    """Parse the URL of a store. Raises: ValueError with one sentence, which shows nothing of the text."""
    match = _SCHEME.fullmatch(text)
    if match is None or match["scheme"] not in ("sqlite", "postgresql"):
        raise ValueError("expected sqlite:FILE, or postgresql://USER@HOST/DATABASE; nothing else can keep the state")
    if match["scheme"] == "postgresql":
        return Address(url=_postgresql(text))
    file = match["rest"]
    if file.startswith(("//", ":")) or "?" in file or not file.strip("/.") or "\0" in file:
        raise ValueError("expected sqlite:FILE, with the path of a file and nothing else, like sqlite:state.db")
    return Address(file=Path(file))


def _postgresql(text: str) -> str:
    try:
        parts = urlsplit(text)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _ = parts.port
    except ValueError as exc:
        raise ValueError("this is no URL: expected postgresql://USER@HOST:PORT/DATABASE") from exc
    user = parts.netloc.rpartition("@")[0]
    if ":" in user or "%3a" in user.lower() or any(name.lower().startswith("pass") for name, _ in options):
        raise ValueError("a password must not stand in the URL: put it into a file, named by 'password: {file}'")
    if not _SAFE.fullmatch(text) or not user or not parts.path.strip("/") or parts.fragment:
        raise ValueError("expected postgresql://USER@HOST:PORT/DATABASE, with a user and a database")
    unknown = [name for name, _ in options if name not in _OPTIONS]
    if unknown or len(dict(options)) != len(options):
        raise ValueError(f"of options after '?' only {', '.join(_OPTIONS)} are known, each once")
    if dict(options).get("sslmode", "prefer") not in _TLS_MODES:
        raise ValueError(f"'sslmode' is one of {', '.join(_TLS_MODES)}")
    if not parts.hostname and "host" not in dict(options):
        raise ValueError("the URL names no host")
    return text


def stated(url: str, password: Path | None, beside: StateSettings) -> StateSettings:
    """Return settings for a URL of the command line; a file there is relative to the working directory.

    `beside` gives the number of connections. Raises: ValueError with one sentence, which shows nothing of the URL.
    """
    found = address(url)
    return StateSettings(found.file, found.url, beside.at, password, beside.connections)
