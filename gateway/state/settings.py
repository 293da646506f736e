"""The `state` section of the configuration, complete: where the store is, and how it is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gateway.files.nodes import Place


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
