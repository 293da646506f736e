"""The source of a secret, and the one way to read it: configuration objects hold the source, never the secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.errors import InvalidConfiguration
from gateway.files.nodes import Place
from gateway.files.secrecy import looks_secret
from gateway.files.source import read_file, sentence, unnamed

MAX_SECRET_BYTES = 4096

# Templates and examples leave these behind. A token that merely looks weak is the account owner's business.
_PLACEHOLDER = (
    r"<.*>|\$\{.*\}|\{\{.*\}\}|\$[a-z_][a-z0-9_]*|\$\(.*\)|%[a-z_]+%|[x*.]+|your[-_].*|.*[-_]here|(?:insert|paste)[-_].*"
    r"|(?:change|replace)[-_]?me|placeholder|todo|null|none|undefined|(?:qstash|upstash)[-_](?:read[-_])?token"
)
_NEVER_IN_ONE = r"[\"'`{}<>()\[\]$\\,;:|]"

_FAULTS = (
    (re.compile(r"\Z"), "is empty"),
    (re.compile(rf"(?s:.{{{MAX_SECRET_BYTES + 1}}})"), f"is longer than {MAX_SECRET_BYTES} bytes"),
    (re.compile("\xef\xbb\xbf|\xff\xfe|\xfe\xff|\ufeff"), "begins with a byte order mark: save it as plain ASCII"),
    (
        # At the end of base64 '=' is padding; anywhere else a name precedes it.
        re.compile(r"\s*(?:(?:export|set)\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=(?!=*(?:\s|[\"'`;,]*\Z))"),
        "holds NAME= before the token, as a file of variables does: keep the token alone",
    ),
    (re.compile(r"\s*[\"'`]|(?s:.*)[\"'`]\s*\Z"), "holds quotes around the token: leave them out"),
    (re.compile(r"(?i:\s*(?:authorization\s*:\s*)?bearer\s)"), "holds 'Bearer' before the token: the gateway adds it"),
    (re.compile(rf"(?:{_PLACEHOLDER})\Z", re.IGNORECASE), "holds a placeholder, not a secret"),
    (re.compile(r"(?s:.*[^!-~])"), "holds a space, control character or non-ASCII character"),
    # No token has one of these (RFC 6750, 2.1); templates, shells and JSON put them around a token.
    (re.compile(rf".*{_NEVER_IN_ONE}"), "holds a quote, bracket, comma or other character that no token has"),
)
"""Texts that cannot be a token, in this order: an expression that matches from the first character, and the fault."""


@dataclass(frozen=True, slots=True)
class SecretSource:
    """A file, or the name of an environment variable; exactly one of them.

    `at` is the place in the configuration that says so, and `key` the key there (`upstream.token`).
    """

    file: Path | None
    env: str | None
    at: Place = field(compare=False, repr=False)
    key: str = ""

    def __post_init__(self) -> None:
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret comes from a file or from the environment")

    def __str__(self) -> str:
        """Return the source for a message; a name that may be the secret itself, pasted by mistake, is not shown."""
        kind = "file" if self.file else "environment variable"
        if (hidden := self._hidden()) is not None:
            return f"the {kind} {f'that {self.key} names' if self.key else 'named here'}{hidden}"
        return f"the {kind} {self.file or self.env}" + (f" ({self.key})" if self.key and self.file else "")

    def _hidden(self) -> str | None:
        """Return what to show in place of the name; None if the name may be shown."""
        if self.file:
            where = unnamed(self.file, most=0)
            return None if where is None else f", {where},"
        conventional = re.fullmatch("[A-Z][A-Z0-9_]*", self.env or "") and not looks_secret(self.env or "")
        return None if conventional else ""


def read_secret(source: SecretSource, environ: Mapping[str, str]) -> str:
    """Return the secret, without the one line end that editors put at the end of a file.

    Raises:
        InvalidConfiguration: it cannot be read or cannot be a secret. The problem stands at the place of the source and
            shows no part of the secret.
    """
    text = _file_text(source, source.file) if source.file else _variable(source, environ)
    if fault := fault_of(text):
        raise InvalidConfiguration([source.at.problem(f"{source} {fault}")])
    return text


def _file_text(source: SecretSource, path: Path) -> str:
    try:
        content = read_file(path, max_bytes=MAX_SECRET_BYTES + 2).content
    except InvalidConfiguration as exc:
        raise InvalidConfiguration([source.at.problem(sentence(str(source), exc))]) from exc
    # latin-1 decodes every byte; what is not ASCII is refused with the other faults.
    return content.decode("latin-1").removesuffix("\n").removesuffix("\r")


def _variable(source: SecretSource, environ: Mapping[str, str]) -> str:
    text = environ.get(source.env or "")
    if text is None:
        raise InvalidConfiguration([source.at.problem(f"{source} is not set")])
    return text


def fault_of(text: str) -> str | None:
    """Return why this cannot be a token, in words that show nothing of it; None if it can be one."""
    return next((says for pattern, says in _FAULTS if pattern.match(text)), None)
