"""The part that keeps the index of decisions up with the chains: a thread that reads what was written, and rests.

It reads files as any other process would, so neither a request nor a record ever waits for it, and nothing that goes
wrong here reaches them. Of several gateways with one directory, one writes the index. The others read it as it is: they
may miss what was written within the last second or two, but no chain as a whole.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit.decisions.index import LOCK, NAME, Index, Position, discard, positions
from gateway.audit.decisions.latest import MOST_BYTES, Latest
from gateway.audit.decisions.slices import START, Changed, Files, check_end, cuts_of, has_lines, is_behind, next_slice
from gateway.audit.segment import chains_in
from gateway.core.ports import Alarm
from gateway.process import Net, word

EVERY_S = 60.0
RETRY_S = 5.0
"""How often the thread looks for new lines, and how long it waits after a fault."""
SOON_S = 0.5
SOON_BYTES = MOST_BYTES // 3
"""It looks sooner once this process wrote so many bytes, because the newest lines are in memory for a while only."""
GROWN_S = 1.0
"""After this time it looks as soon as a file has grown, because other gateways read the index."""
ASKED_S = 1.0
"""It looks at once if somebody asks for decisions and the last look is older, because others may write chains too."""
REST, REST_IDLE = 19, 1
"""For how long it rests, as a multiple of the time that it worked: while others use the processor, and while not."""
LOOK_S = 0.005
BUSY = 0.3
"""The part of a rest in which the other threads used a processor, above which they count as busy."""
MOST_WATCHED = 64
ALL_EACH = 32
"""Only the newest chains are looked at each time; all of them each so many times, and when a file came or went."""
SETTLED_S = 1.0
"""A directory that was changed so shortly before it was listed is listed again: its time may be too coarse to tell."""

_KEPT = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY))
_KEPT |= {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM}
"""The errors of SQLite for which the file is not to blame; after any other, the index is made anew."""


def _is_damage(fault: sqlite3.Error) -> bool:
    code: int | None = getattr(fault, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _KEPT


@dataclass(slots=True)
class _Listing:
    """The chains of the directory, as they were listed when it had the time `mtime_ns`, -1 if they may have changed."""

    mtime_ns: int = -1
    chains: Mapping[str, Files] = field(default_factory=dict)


class Keeper:
    """The thread that writes the index of `directory`. `caught_up` says whether decisions may be looked up in it.

    For the process that writes it: at the last look, every chain was indexed to its end. For another: the index is
    readable, and has every chain.
    """

    def __init__(self, directory: Path, latest: Latest, *, operators_log: Alarm) -> None:
        self.caught_up = False
        self.fault: str | None = None
        self._directory = directory
        self._latest = latest
        self._wanted = threading.Event()
        self._looked_s = 0.0
        self._operators_log = operators_log
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._index: Index | None = None
        self._lock: int | None = None
        self._listing = _Listing()
        self._positions: dict[str, Position] = {}
        self._passes = 0
        self._damaged = False
        self._seen: list[int] = []
        self._multiple: float = REST

    def start(self) -> None:
        """Start the thread. If there is none to be had, the index falls behind and operators are told."""
        with Net() as net:
            self._thread = threading.Thread(target=self._run, name="decisions-index", daemon=True)
            self._thread.start()
            return
        self._failed(net.caught)

    def stop(self, *, most_s: float = 0.0) -> None:
        """Let the thread end, and wait for that at most so long."""
        self._stopped.set()
        self._wanted.set()
        if self._thread is not None and most_s:
            self._thread.join(most_s)

    def look_now(self) -> None:
        """Have the thread look for new lines at once, unless it has just done so."""
        if time.monotonic() - self._looked_s > ASKED_S:
            self._wanted.set()

    def looks(self, most_s: float) -> bool:
        """Wait until the thread has looked anew, and return whether it has. Never call it on the event loop."""
        until_s = time.monotonic() + most_s
        looks = self._passes
        self._wanted.set()
        while self._passes == looks and time.monotonic() < until_s:
            time.sleep(LOOK_S)
        return self._passes > looks

    def unread(self, fault: sqlite3.Error) -> None:
        """Take note that the index could not be read. If the file is to blame, it is made anew."""
        if _is_damage(fault):
            self._damaged, self.caught_up = True, False
            self._wanted.set()

    def notices(self) -> list[str]:
        """Return the notice for operators, if the index cannot be kept."""
        if self.fault is None:
            return []
        what = f"the index of decisions cannot be kept ({self.fault})"
        more = "cancels and the record do not depend on it, and the log names the file (decisions_index_failed)"
        return [f"{what}: older decisions are answered with 503; {more}"]

    def _run(self) -> None:
        while not self._stopped.is_set():
            with Net() as net:
                self.keep_up()
                self.fault = None
                self._passes += 1
            if net.fault is None:
                self._wait()
            else:
                self._failed(net.fault)
                self._stopped.wait(RETRY_S)
        self._close()

    def _wait(self) -> None:
        """Wait until it is time to look for new lines."""
        began_s, written = time.monotonic(), self._latest.written_bytes
        while (waited_s := time.monotonic() - began_s) < EVERY_S and self._latest.written_bytes - written < SOON_BYTES:
            if waited_s >= GROWN_S and self._has_grown():
                return
            if self._wanted.wait(SOON_S):
                self._wanted.clear()
                return

    def _has_grown(self) -> bool:
        return not self.caught_up or self._listing.mtime_ns < 0 or self._sizes() != self._seen

    def _sizes(self) -> list[int]:
        """Return what changes when one of the newest chains grows or a file comes or goes; look at no content."""
        chains, sizes = self._listing.chains, []
        newest = [chains[chain][max(chains[chain])] for chain in sorted(chains, reverse=True)[:MOST_WATCHED]]
        for path in (self._directory, *newest):
            with suppress(OSError):
                status = path.stat()
                sizes += [status.st_mtime_ns if path is self._directory else status.st_size]
        return sizes

    def keep_up(self) -> None:
        """Index what the chains have that is not indexed.

        Raises:
            sqlite3.Error: the index cannot be read or written.
            OSError: the directory cannot be read, or the index not made.
        """
        self._looked_s = time.monotonic()
        index = self._opened()
        changed = self._listed()
        self._seen = self._sizes()
        if index is None:
            self.caught_up = self._others_is_whole()
            return
        if changed:
            self._drop_missing(index)
            self._drop_changed(index)
        for chain in self._behind(changed):
            with suppress(OSError):  # it went away, or cannot be read: a start names it, and `audit verify` says why
                self._read(index, chain)
        self.caught_up = not self._stopped.is_set()

    def _close(self) -> None:
        """Close the index, so that another process may write it."""
        self._close_index()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_index(self) -> None:
        if self._index is not None:
            with suppress(sqlite3.Error):
                self._index.close()
            self._index = None

    def _opened(self) -> Index | None:
        """Return the index, or None while another process writes it."""
        if self._damaged:
            self._close_index()
        if self._index is not None and self._index.is_in(self._directory):
            return self._index
        self._close_index()
        if not self._has_lock():
            return None
        if self._damaged:
            discard(self._directory)
            self._damaged = False
        self._index = index = Index.open(self._directory)
        self._positions, self._listing = index.positions(), _Listing()
        return index

    def _has_lock(self) -> bool:
        if self._lock is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            lock = os.open(self._directory / LOCK, flags, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            self._lock = lock
        return True

    def _failed(self, fault: BaseException) -> None:
        self.caught_up = False
        if isinstance(fault, sqlite3.Error) and _is_damage(fault):
            self._damaged = True
        self._close_index()
        cause = str(getattr(fault, "sqlite_errorname", None) or word(fault)).lower()
        # Where the disk does not name a file itself, it is the index.
        path = str(getattr(fault, "filename", None) or self._directory / NAME)
        if cause != self.fault:
            self._operators_log.error("decisions_index_failed", cause=cause, file=path)
        self.fault = cause

    def _listed(self) -> bool:
        """List the directory if it has changed; return whether it has, or all chains are due to be looked at."""
        mtime_ns = self._directory.stat().st_mtime_ns
        if mtime_ns == self._listing.mtime_ns and self._passes % ALL_EACH:
            return False
        settled = time.time_ns() - mtime_ns > SETTLED_S * 1e9
        chains = {chain: dict(files) for chain, files in chains_in(self._directory.iterdir()).items()}
        self._listing = _Listing(mtime_ns if settled else -1, chains)
        return True

    def _others_is_whole(self) -> bool:
        """Return whether the index that another process writes can be read and has every chain, if not to its end."""
        try:
            self._positions = positions(self._directory)
        except sqlite3.OperationalError:
            return False  # it has not made the index yet
        missing = self._listing.chains.keys() - self._positions.keys()
        return not any(has_lines(self._listing.chains[chain]) for chain in missing)

    def _behind(self, changed: bool) -> list[str]:  # noqa: FBT001 - the result of `_listed`
        """Return the chains that may have more than is indexed, the newest first."""
        chains = sorted(self._listing.chains, reverse=True)
        return [chain for chain in (chains if changed else chains[:MOST_WATCHED]) if self._is_behind(chain)]

    def _is_behind(self, chain: str) -> bool:
        with suppress(OSError):
            return is_behind(self._listing.chains[chain], self._positions.get(chain, START))
        return False

    def _drop_missing(self, index: Index) -> None:
        """Forget the chains that are not there: they were retired, and the index claims nothing about them."""
        for chain in self._positions.keys() - self._listing.chains.keys():
            index.forget(chain)
            del self._positions[chain]

    def _drop_changed(self, index: Index) -> None:
        """Forget the chains whose last line is not the one that was read. They are read again, from their start."""
        for chain, position in list(self._positions.items()):
            began_s = time.monotonic()
            try:
                check_end(self._listing.chains[chain], position)
            except OSError:
                continue
            except Changed:
                index.forget(chain)
                del self._positions[chain]
            self._rest(time.monotonic() - began_s)

    def _read(self, index: Index, chain: str) -> None:
        """Index a chain from where it ended. If it does not go on there, forget it, and read it from its start."""
        files, position = self._listing.chains[chain], self._positions.get(chain, START)
        cuts = cuts_of(files) if position == START else None
        while not self._stopped.is_set():
            began_s = time.monotonic()
            try:
                piece = next_slice(files, position, cuts=cuts)
            except Changed:
                if cuts is not None:
                    return
                index.forget(chain)
                self._positions.pop(chain, None)
                position, cuts = START, cuts_of(files)
                continue
            if piece is None:
                return
            index.add(chain, piece.position, piece.rows)
            position = self._positions[chain] = piece.position
            self._rest(time.monotonic() - began_s)

    def _rest(self, worked_s: float) -> None:
        """Rest for a multiple of the time worked, a large one while the other threads of the process are busy."""
        rest_s, cpu_s = worked_s * self._multiple, time.process_time()
        self._stopped.wait(rest_s)
        busy = (time.process_time() - cpu_s) > BUSY * rest_s
        self._multiple = REST if busy else REST_IDLE
