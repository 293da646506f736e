"""The password of the store's server, read from its file each time that it is needed, so that it may change."""

from __future__ import annotations

from gateway.core.errors import InvalidConfiguration
from gateway.files.source import has_byte_order_mark, read_file, sentence
from gateway.state.settings import StateSettings

MAX_PASSWORD_BYTES = 4096

_WHAT, _CHECK = "the password of the state", "check 'state.password', or --password-file"


def password_of(settings: StateSettings) -> str:
    """Return the password, without the line end of its file; empty if no file is named.

    Raises:
        InvalidConfiguration: the file cannot be read or cannot be a password. The problem stands at the place of the
            section, is one sentence, and shows no part of the password.
    """
    if settings.password is None:
        return ""
    try:
        content = read_file(settings.password, max_bytes=MAX_PASSWORD_BYTES).content
    except InvalidConfiguration as exc:
        raise InvalidConfiguration([settings.at.problem(f"{sentence(_WHAT, exc)}: {_CHECK}")]) from exc
    line = content.removesuffix(b"\n").removesuffix(b"\r")
    if (fault := _fault(line)) is not None:
        raise InvalidConfiguration([settings.at.problem(f"{_WHAT} {fault}: {_CHECK}")])
    return line.decode("utf-8", errors="surrogateescape")


def _fault(line: bytes) -> str | None:
    """Return why this cannot be a password, in words that show nothing of it; None if it can be one."""
    if not line:
        return "is empty"
    if has_byte_order_mark(line):
        return "begins with a byte order mark, which is no part of it: save it as plain text"
    if any(byte < 0x20 or byte == 0x7F for byte in line):
        return "holds a line end or another control character: its file is one line"
    return None
