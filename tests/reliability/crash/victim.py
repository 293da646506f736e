"""A gateway process that can be traced, stopped, limited and killed, and the files it writes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gateway.audit.journal import new_chain_name
from tests.reliability.crash.load import ready
from tests.support.gateway import Setup

START_S = 20.0
POLL_S = 0.002


class Nursery:
    """Starts gateways by forking; all of one set-up and its audit directory."""

    def __init__(self, setup: Setup, *, chain_bytes: int, loaded: Sequence[str] = ()) -> None:
        """`loaded` are modules that all of them have from the process that forks."""
        self.setup = setup
        self._loaded = loaded
        self._config = setup.write()
        self._chain_bytes = chain_bytes
        self._victims: list[Victim] = []

    async def open(self) -> None:
        """Starts the process that forks."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.reliability.crash.entry",
            *self._loaded,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    async def close(self) -> None:
        """Ends it, and every gateway that is left."""
        for victim in self._victims:
            await victim.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def bear(self, *, traced: bool = False) -> Victim:
        """A new gateway; if `traced`, it is stopped before it has read anything and waits for `go_on`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        output = self.setup.directory / "stderr"
        output.unlink(missing_ok=True)
        name = new_chain_name()
        order = {"config": str(self._config), "output": str(output), "traced": traced, "name": name}
        order["chain_bytes"] = self._chain_bytes
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        pid = int(await self._process.stdout.readline())
        victim = Victim(pid, output, self.audit_directory, name=name, key=self.setup.keys[self.setup.teams[0]])
        self._victims.append(victim)
        if traced:
            await victim.until_stopped()
        return victim

    @property
    def audit_directory(self) -> Path:
        """Where the record is."""
        return self.setup.directory / "audit"


class Victim:
    """One gateway process; its chains are `name`-001, -002 and so on."""

    def __init__(self, pid: int, output: Path, audit_directory: Path, *, name: str, key: str) -> None:
        self.pid = pid
        self.key = key
        self.port = 0
        self.output = output
        self._directory = audit_directory
        self._name = name
        self._descriptor = os.pidfd_open(pid)
        self._ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._descriptor, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set_result(None)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._ended.done()

    async def until_ended(self, wait_s: float) -> bool:
        """Waits for the end; whether it came."""
        await asyncio.wait([self._ended], timeout=wait_s)
        return self.ended

    async def until_ready(self) -> bool:
        """Waits until it is ready, which is after its recovery; False if it ended instead."""
        async with asyncio.timeout(START_S):
            while not self.ended:
                self.port = self.port or self._said_port()
                if self.port and await ready(self.port):
                    return True
                await asyncio.sleep(POLL_S)
        return False

    def _said_port(self) -> int:
        if not self.output.exists():
            return 0
        for line in self.output.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("}\n") and "port" in (members := json.loads(line)):
                return int(members["port"])
        return 0

    async def until_stopped(self) -> None:
        """Waits for its SIGSTOP."""
        async with asyncio.timeout(START_S):
            while not self._stopped():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(POLL_S)

    def _stopped(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL, and its end."""
        self._signal(signal.SIGKILL)
        await self._ended

    async def stop(self, wait_s: float = START_S) -> bool:
        """SIGTERM; whether it ended."""
        self._signal(signal.SIGTERM)
        return await self.until_ended(wait_s)

    def _signal(self, number: int) -> None:
        if not self.ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def limit_file_size(self, size_bytes: int) -> None:
        """The kernel takes a write only up to this size of a file, and refuses the rest."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    def segments(self) -> list[Path]:
        """The files of its chains so far, in order."""
        return sorted(self._directory.glob(f"{self._name}-*.jsonl"))

    def next_segments(self, number: int) -> list[Path]:
        """The newest file, if there is one, and the first of each chain that will come after it."""
        newest = self.segments()[-1:]
        begun = max((int(path.name.partition(".")[0].rpartition("-")[2]) for path in newest), default=0)
        coming = (f"{self._name}-{begun + more:03d}.000001.jsonl" for more in range(1, number + 1))
        return [*newest, *map(self._directory.joinpath, coming)]

    def possible_segments(self, number: int) -> list[Path]:
        """The same, with the files that follow a suspect one."""
        files = [path.name.split(".") for path in self.next_segments(number)]
        return [
            self._directory / f"{chain}.{int(first) + more:06d}.{kind}"
            for chain, first, kind in files
            for more in range(3)
        ]

    def tracer_ids(self) -> list[str]:
        """Who traces its threads; "0" is nobody."""
        found = []
        for status in Path(f"/proc/{self.pid}/task").glob("*/status"):
            with suppress(OSError):  # the thread has ended
                found.append(status.read_text().split("TracerPid:")[1].split()[0])
        return found


class Tracer:
    """strace on a running victim: does something to some of its system calls."""

    def __init__(self, victim: Victim, trace: Path) -> None:
        self._victim = victim
        self._trace = trace

    async def attach(self, *injections: str, paths: Sequence[Path] = ()) -> None:
        """Injections as strace takes them, `write:signal=KILL:when=2`; with `paths` only calls on those files count."""
        calls = ",".join(injection.partition(":")[0] for injection in injections)
        only = [part for path in paths for part in ("-P", str(path))]
        what = [f"--inject={injection}" for injection in injections]
        options = ["-f", "-q", "-o", str(self._trace), "-e", f"trace={calls}", *only, *what]
        self._process = await asyncio.create_subprocess_exec(
            "strace", *options, "-p", str(self._victim.pid), stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(START_S):
            while "0" in self._victim.tracer_ids():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(POLL_S)
        await asyncio.sleep(POLL_S)

    async def injected(self) -> int:
        """How many calls were tampered with, once the victim has ended."""
        return (await self._seen()).count("(INJECTED)")

    async def died(self) -> bool:
        """Whether a signal ended the victim, and not the victim itself; once it has ended."""
        ended = re.compile(rf"^{self._victim.pid} +\+\+\+ killed by ", re.MULTILINE)
        return ended.search(await self._seen()) is not None

    async def _seen(self) -> str:
        await self._process.wait()
        return self._trace.read_text()
