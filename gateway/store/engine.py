"""The database: its connections, its transactions, and the one mapping of everything that can go wrong with them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakValueDictionary

from sqlalchemy import URL, Connection, event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from gateway.core.errors import StateUnavailable
from gateway.state.password import password_of
from gateway.state.settings import StateSettings
from gateway.store.deadline import CALL_S, Deadline
from gateway.store.listening import Changes, Listening, LocalChanges

BUSY_MS = 1_000
"""How long SQLite waits for another process that writes, in milliseconds."""

READERS = 4
"""How many connections to a SQLite file there may be; one at a time writes."""

_IS_OURS = (
    "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'gateway_revision')"
    " OR NOT EXISTS (SELECT 1 FROM sqlite_master)"
)
"""Whether a SQLite file is the gateway's, or empty: the mode of anybody else's is not changed."""

_HELD: ContextVar[list[Driver] | None] = ContextVar("held", default=None)
"""The connections of the call that is being made, so that each can be cut from the moment it is open."""

T = TypeVar("T")
Work = Callable[[Connection], T]


class Driver(Protocol):
    """A connection of asyncpg, as far as it is used here."""

    def terminate(self) -> None:
        """Close the socket at once."""


class Database:
    """A database and the transactions in it. `shared` says whether it is one that several gateways use.

    A piece of work is a plain function of a connection: it runs in one transaction, within the deadline. With `proof`
    the first transaction begins with that: it raises unless the database is one to be used.
    """

    def __init__(self, engine: AsyncEngine, changes: Changes, *, shared: bool, connections: int = READERS) -> None:
        self.changes = changes
        self.shared = shared
        self._engine = engine
        self._deadline = Deadline()
        self.proof: Work[None] | None = None
        # SQLite has one writer: those of this process queue here, not at the file, where the order is luck.
        self._writing: AbstractAsyncContextManager[object] = nullcontext() if shared else asyncio.Lock()
        self._most_in_line = max(1, connections // 2)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def read(self, work: Work[T]) -> T:
        """Return what the work finds. Raises: StateUnavailable."""
        return await self._call(work, writes=False, keep=lambda _: True)

    async def write(self, work: Work[T], *, keep: Callable[[T], bool] = lambda _: True, queue: str | None = None) -> T:
        """Return what the work did; it is undone where `keep` says so of the result. Raises: StateUnavailable.

        Work that waits for one row of the database names it as its `queue`: all of a queue use at most half of the
        connections, so that what else asks the database meanwhile finds one.
        """
        return await self._call(work, writes=True, keep=keep, queue=queue)

    async def _call(
        self,
        work: Work[T],
        *,
        writes: bool,
        keep: Callable[[T], bool],
        queue: str | None = None,
    ) -> T:
        held: list[Driver] = []

        def cut() -> bool:
            """Close the connection of the call, if it has one by now."""
            for driver in held:
                driver.terminate()
            return bool(held)

        try:
            return await self._deadline.within(self._attempt(work, held, writes=writes, keep=keep, queue=queue), cut)
        except StateUnavailable:
            raise
        except Exception as fault:
            raise StateUnavailable(cause_of(fault)) from fault

    async def _attempt(
        self,
        work: Work[T],
        held: list[Driver],
        *,
        writes: bool,
        keep: Callable[[T], bool],
        queue: str | None = None,
    ) -> T:
        def transact(connection: Connection) -> T:
            """Do the work in one transaction, and keep or undo it."""
            if writes:
                connection.execution_options(gateway_writes=True)
            with connection.begin() as transaction:
                if self.proof is not None:
                    self.proof(connection)
                    self.proof = None
                result = work(connection)
                if not keep(result):
                    transaction.rollback()
            return result

        _HELD.set(held)
        async with self._turn(queue), self._writing if writes else nullcontext(), self._engine.connect() as connection:
            if self.shared:
                held.append(cast("Driver", (await connection.get_raw_connection()).driver_connection))
            try:
                return await connection.run_sync(transact)
            finally:
                held.clear()

    def _turn(self, queue: str | None) -> AbstractAsyncContextManager[object]:
        if queue is None:
            return nullcontext()
        return self._turns.setdefault(queue, asyncio.Semaphore(self._most_in_line))

    async def run_unbounded(self, work: Work[T], *, writes: bool = True) -> T:
        """Return what the work did, however long it takes: for commands of people. Raises what the database raises."""
        return await self._attempt(work, [], writes=writes, keep=lambda _: True)

    async def aclose(self) -> None:
        """Close the connections. Never raises."""
        await self.changes.aclose()
        await self._deadline.ended()
        closing = asyncio.ensure_future(self._engine.dispose())
        closing.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.wait({closing}, timeout=CALL_S)


def database_of(settings: StateSettings) -> Database:
    """Return the database of these settings; nothing is connected yet."""
    if settings.url is None:
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(settings.file)),
            pool_size=READERS,
            max_overflow=0,
            pool_reset_on_return=None,
        )
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return Database(engine, LocalChanges(), shared=False)
    connect = connector(settings)
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=settings.connections,
        max_overflow=0,
        pool_timeout=CALL_S,
        pool_reset_on_return=None,
    )
    event.listen(engine.sync_engine, "checkout", _leave_out_closed)
    return Database(engine, Listening(connect), shared=True, connections=settings.connections)


def connector(settings: StateSettings) -> Callable[[], Awaitable[Any]]:
    """Return what opens a connection of asyncpg. The password is read anew each time, so that it may change."""
    # Loaded here: with SQLite there is none of it.
    import asyncpg

    url = settings.url or ""
    options = dict(parse_qsl(urlsplit(url).query))

    async def connect() -> Any:  # noqa: ANN401 - asyncpg's connection, which SQLAlchemy takes over
        """Open one connection. Who does not wait for it any more does not end that: see `_opened`."""
        opening = asyncpg.connect(
            url,
            # Not None: then neither the environment nor a file in the home directory is asked for one.
            password=password_of(settings),
            timeout=CALL_S,
            ssl=None if "sslmode" in options else "prefer",
            server_settings={
                "application_name": "qstash-gateway",
                "statement_timeout": "1500",
                # A gateway that is stopped in the middle of a transaction must not hold its locks.
                "idle_in_transaction_session_timeout": "2000",
            },
        )
        return await _opened(opening)

    return connect


async def _opened(opening: Coroutine[Any, Any, Driver]) -> Driver:
    """Return a connection that is being opened; the call that waits for it can cut it from then on.

    Opening is not cancelled in the middle: asyncpg would leave a future behind whose exception nobody reads, that of
    its question about TLS. It ends by its own time limit, and a connection that comes too late is closed.
    """
    task = asyncio.get_running_loop().create_task(opening)
    try:
        driver = await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_come_too_late)
        raise
    if (held := _HELD.get()) is not None:
        held.append(driver)
    return driver


def _come_too_late(task: asyncio.Task[Driver]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()


def cause_of(fault: BaseException) -> str:
    """Return the fixed word for a fault of the database: `timeout`, `unreachable` or `refused`."""
    if isinstance(fault, exc.DBAPIError) and fault.connection_invalidated:
        return "unreachable"
    original = fault.orig if isinstance(fault, exc.DBAPIError) and fault.orig is not None else fault
    if isinstance(fault, exc.TimeoutError | TimeoutError):
        return "timeout"
    if isinstance(original, sqlite3.OperationalError) and "locked" in str(original):
        return "timeout"
    return "unreachable" if isinstance(original, OSError) else "refused"


def _prepare_sqlite(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    # Transactions are begun by `_begin_sqlite`, not by Python's module.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    cursor.execute(_IS_OURS)
    if cursor.fetchone() == (1,):
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("gateway_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _leave_out_closed(connection: DBAPIConnection, entry: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
    """Have the pool open another connection in the place of one that the server has closed meanwhile."""
    if entry.driver_connection is not None and entry.driver_connection.is_closed():
        raise exc.DisconnectionError
