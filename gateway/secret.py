"""Where a secret is kept, and the one way to read it: configuration objects hold the source, never the secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.document.file import read_file
from gateway.document.nodes import Place
from gateway.errors import InvalidConfiguration

MAX_SECRET_BYTES = 4096

# What templates and examples leave behind; a token that only looks poor is the account owner's business.
_PLACEHOLDER = re.compile(r"<.*>|\$\{.*\}|\{\{.*\}\}|[x*.]+|your[-_].*|change[-_]?me|replace[-_]?me|placeholder|todo")


@dataclass(frozen=True, slots=True)
class SecretSource:
    """A file, or the name of an environment variable; exactly one of them. `at` is where the configuration says so."""

    file: Path | None
    env: str | None
    at: Place = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret comes from a file or from the environment")

    def __str__(self) -> str:
        return f"the file {self.file}" if self.file else f"the environment variable {self.env}"


def read_secret(source: SecretSource, environ: Mapping[str, str]) -> str:
    """The secret, without the one line end that editors put at the end of a file.

    Raises: InvalidConfiguration, at the place of the source and without any part of the secret, if it cannot be read
    or can be no secret.
    """
    text = _file_text(source, source.file) if source.file else _variable(source, environ)
    fault = _fault(text)
    if fault:
        raise InvalidConfiguration([source.at.problem(f"{source} {fault}")])
    return text


def _file_text(source: SecretSource, path: Path) -> str:
    try:
        content = read_file(path, max_bytes=MAX_SECRET_BYTES + 2).content
    except InvalidConfiguration as exc:
        reasons = "; ".join(fault.message for fault in exc.problems)
        raise InvalidConfiguration([source.at.problem(f"{source}: {reasons}")]) from exc
    # latin-1 reads every byte; what is not ASCII is refused with the other faults.
    return content.decode("latin-1").removesuffix("\n").removesuffix("\r")


def _variable(source: SecretSource, environ: Mapping[str, str]) -> str:
    text = environ.get(source.env or "")
    if text is None:
        raise InvalidConfiguration([source.at.problem(f"{source} is not set")])
    return text


def _fault(text: str) -> str | None:
    if not text:
        return "is empty"
    if len(text) > MAX_SECRET_BYTES:
        return f"is longer than {MAX_SECRET_BYTES} bytes"
    if not re.fullmatch("[!-~]+", text):
        return "holds a space, control character or non-ASCII character"
    if _PLACEHOLDER.fullmatch(text.lower()):
        return "holds a placeholder, not a secret"
    return None
