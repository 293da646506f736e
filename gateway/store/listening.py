"""What tells that something changed: in this process, and on PostgreSQL by NOTIFY.

A LISTEN is lost without a word when its connection is, so the connection is asked again and again, and made anew. Who
waits has to look all the same after `most_s`: a notification is a hint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from gateway.store.deadline import CALL_S

CHANNEL = "gateway_state"
ASKED_EVERY_S = 2.0
"""How often the connection that listens is asked whether it is still one, in seconds."""


class Changes(Protocol):
    """What tells that something may have changed."""

    async def wait(self, most_s: float) -> None:
        """Wait for it, at most so long. Never raises."""

    def tell(self) -> None:
        """Wake those who wait in this process."""

    async def aclose(self) -> None:
        """End. Never raises."""


class LocalChanges:
    """Tells what this process changes; others use the file too, but then a look at it has to show it."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    async def wait(self, most_s: float) -> None:
        """Wait for a change, at most so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), most_s)
        self._changed.clear()

    def tell(self) -> None:
        """Wake those who wait in this process."""
        self._changed.set()

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


class Listening(LocalChanges):
    """Tells what any process changes, by LISTEN on a connection of its own, from the first wait on."""

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        super().__init__()
        self._connect = connect
        self._listens: asyncio.Task[None] | None = None

    async def wait(self, most_s: float) -> None:
        """Wait for a change, at most so long; listen from now on."""
        if self._listens is None:
            self._listens = asyncio.get_running_loop().create_task(self._listen())
        await super().wait(most_s)

    async def aclose(self) -> None:
        """Stop listening, and close the connection without waiting for the server."""
        if self._listens is not None:
            self._listens.cancel()
            await asyncio.wait({self._listens}, timeout=CALL_S)

    async def _listen(self) -> None:
        while True:
            try:
                await self._until_lost()
            except Exception:  # noqa: BLE001 - whatever it was, the remedy is a new connection
                await asyncio.sleep(ASKED_EVERY_S / 2)

    async def _until_lost(self) -> None:
        connection = await self._connect()
        try:
            await _within(connection, connection.add_listener(CHANNEL, lambda *_: self.tell()))
            # What changed before this LISTEN was told to nobody.
            self.tell()
            while True:
                await asyncio.sleep(ASKED_EVERY_S)
                await _within(connection, connection.execute("SELECT 1"))
        finally:
            connection.terminate()


async def _within(connection: Any, asking: Coroutine[Any, Any, object]) -> None:  # noqa: ANN401 - as in `connect`
    """Ask a connection, within the time of a call; what does not end is ended by closing the connection.

    It is not cancelled: asyncpg would then open another connection to have the server cancel it. Raises: TimeoutError,
    or what asyncpg raises.
    """
    task = asyncio.get_running_loop().create_task(asking)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    try:
        await asyncio.wait({task}, timeout=CALL_S)
    finally:
        if not task.done():
            connection.terminate()
    if not task.done():
        raise TimeoutError
    task.result()
