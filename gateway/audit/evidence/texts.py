"""The texts of policies, kept beside the chains under their digests: what the `policy_digest` of a record stood for.

    <audit.directory>/policies/<digest>.json

A text is durable before the record that is the first to name it. It is checked by its own name, so nobody can change
what a record was judged by without being found out.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gateway.audit.chain import is_hex
from gateway.audit.segment import Disk, NotAFile, open_segment, removed
from gateway.core.forms.texts import PolicyTexts

FOLDER = "policies"
MOST_BYTES = 256 * 1024 * 1024
"""The most bytes of one kept text; policies are a few hundred kilobytes."""


def path_of(directory: Path, digest: str) -> Path:
    """Return where the text of that digest is kept, beside the chains of a directory."""
    return directory / FOLDER / f"{digest}.json"


def kept(directory: Path) -> list[str]:
    """Return the digests whose text is kept beside the chains of a directory; none without the folder.

    Raises: OSError: the folder cannot be read.
    """
    try:
        names = [path.stem for path in (directory / FOLDER).iterdir() if path.suffix == ".json"]
    except FileNotFoundError:
        return []
    return sorted(filter(is_hex, names))


def keep(directory: Path, texts: PolicyTexts, disk: Disk) -> None:
    """Keep a text durably, unless it is there. The directory must exist. Raises: OSError: it cannot be written."""
    digest = texts.digest
    if problem(directory, digest) is None:
        return
    folder = directory / FOLDER
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        disk.sync_directory(directory)
    # A name of its own: several gateways that share the directory may keep the same text at the same time.
    unfinished = folder / f"{digest}.{secrets.token_hex(8)}.part"
    try:
        _write(unfinished, texts.to_json(), disk)
        unfinished.rename(path_of(directory, digest))
    except BaseException:
        removed(disk, unfinished)
        raise
    disk.sync_directory(folder)


def _write(path: Path, content: bytes, disk: Disk) -> None:
    """Write a new file durably. Raises: OSError: it cannot be written."""
    descriptor = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
    try:
        while content:
            content = content[disk.write(descriptor, content) :]
        disk.fdatasync(descriptor)
    finally:
        disk.close(descriptor)


def read(directory: Path, digest: str) -> PolicyTexts:
    """Return the text of a digest.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not the text of that digest.
    """
    with open_segment(path_of(directory, digest)) as file:
        content = file.read(MOST_BYTES + 1)
    texts = PolicyTexts.from_json(content)
    if texts.digest != digest:
        raise ValueError("it has another digest")
    return texts


def problem(directory: Path, digest: str) -> str | None:
    """Return what is wrong with the text of a digest; None if it is there and unchanged."""
    try:
        read(directory, digest)
    except FileNotFoundError:
        return "is missing"
    except (OSError, NotAFile) as exc:
        return f"cannot be read: {exc}"
    except (ValueError, RecursionError):
        return "was changed"
    return None
