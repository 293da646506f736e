"""The text of policies as it was loaded: names and exact bytes, from which their digest can be computed again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class PolicyText:
    """One policy file: its name in its directory, and its bytes."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class PolicyTexts:
    """The files of one policy directory, in the order in which they are loaded."""

    files: Sequence[PolicyText]

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) over names and bytes, each with its length before it."""
        digest = hashlib.sha256()
        for file in self.files:
            # Lengths keep the end of one part from being read as the start of the next.
            for part in (file.name.encode("utf-8", "surrogateescape"), file.content):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def to_json(self) -> bytes:
        """Return the files as JSON: `{"files": [{"name", "content"}]}`, the content in base64 (RFC 4648)."""
        files = [{"name": one.name, "content": base64.b64encode(one.content).decode("ascii")} for one in self.files]
        # A name that is no UTF-8 comes back from its escapes.
        return json.dumps({"files": files}, indent=1).encode("ascii") + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read the files from JSON. Raises: ValueError: it has another form."""
        match json.loads(content):
            case {"files": list(files)}:
                return cls(tuple(map(_file, files)))
        raise ValueError("no policy texts")


def _file(value: object) -> PolicyText:
    match value:
        case {"name": str(name), "content": str(content)}:
            try:
                return PolicyText(name, base64.b64decode(content, validate=True))
            except binascii.Error as exc:
                raise ValueError("a content is not base64") from exc
    raise ValueError("a file has a name and a content")
