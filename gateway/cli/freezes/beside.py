"""Freezes straight in the store, beside the gateways that share it: they read them, and put them on record."""

from __future__ import annotations

import os
import time
from pathlib import Path

import uuid_utils

from gateway.core.errors import StateFailure
from gateway.fleet.recorded import BY_COMMAND
from gateway.state.freezes import Freeze, Scope
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store


async def freeze(settings: StateSettings, scope: Scope, *, reason: str, until_ms: int | None) -> Freeze:
    """Keep a freeze; a SQLite file that is not there is made beside a record, and nowhere else.

    Raises: StateFailure, StateUnavailable, OSError.
    """
    is_new = settings.file is not None and not settings.file.exists()
    if is_new and settings.file is not None and not any(settings.file.parent.glob("*.jsonl")):
        # A path with a slip in it would be a freeze that nobody reads.
        raise StateFailure(
            f"nothing is frozen: no gateway reads {settings.file}, because there is no record beside it; name the "
            "state.db in the gateway's audit directory"
        )
    store = await open_store(settings, create=True)
    try:
        if is_new and settings.file is not None:
            _given(settings.file)
        at_ms = time.time_ns() // 1_000_000
        return await store.freeze(Freeze(str(uuid_utils.uuid7()), scope, reason, _me(), at_ms, until_ms))
    finally:
        await store.aclose()


async def thaw(settings: StateSettings, freeze_id: str) -> Freeze | None:
    """End a freeze; return it, or None if there is none in force. Raises: StateFailure, StateUnavailable."""
    store = await open_store(settings, create=False)
    try:
        return await store.thaw(freeze_id, _me())
    finally:
        await store.aclose()


def _me() -> str:
    return f"{BY_COMMAND}{os.getuid()}"


def _given(file: Path) -> None:
    """Give a new file to whoever has its directory: made by root, the gateway could not open it."""
    if os.geteuid() == 0:
        owner = file.parent.stat()
        for one in file.parent.glob(f"{file.name}*"):
            os.chown(one, owner.st_uid, owner.st_gid)
