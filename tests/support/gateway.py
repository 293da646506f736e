"""A gateway as operators run it: its own process, a real socket, a real audit directory."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.forked import Process, started

REAL_TOKEN = "CANARY" + secrets.token_hex(24)
READ_TOKEN = "READING" + secrets.token_hex(24)
"""What the gateways of this test run send upstream, unless a test names another; it may appear nowhere else."""

POLICIES = Path(__file__).parents[2] / "policies"
START_S = 20
STOP_S = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """The body's members."""
        members = json.loads(self.body)
        assert isinstance(members, dict)
        return members


def new_key(key_id: str) -> str:
    """A caller's key."""
    return f"qgk_{key_id}_{secrets.token_urlsafe(32)}"


@dataclass
class Setup:
    """What a gateway is started with; `limits` and `audit` are YAML flow mappings, `policies` file name -> text.

    `issuers` is the line of `callers` for those whose tokens are taken.
    """

    upstream_url: str
    directory: Path
    policies: Mapping[str, str] | Path = POLICIES
    teams: Sequence[str] = ("billing", "search", "oncall", "newcomers")
    limits: str = "{per_principal: {in_flight: 64, requests_per_minute: 0}}"
    audit: str = "{directory: audit, durability: os}"
    upstream: str = ""
    more: str = ""
    listen: str = "127.0.0.1:0"
    contract: str = "2025"
    token: str = REAL_TOKEN
    environment: Mapping[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    issuers: str = ""

    def write(self) -> Path:
        """Writes configuration, policies and token file; returns the configuration's path."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.keys = {team: self.keys.get(team) or new_key(f"{team}-key") for team in self.teams}
        entries = "".join(
            f'    - {{id: {team}-key, team: {team}, sha256: "{hashlib.sha256(key.encode()).hexdigest()}"}}\n'
            for team, key in self.keys.items()
        )
        for name, token in (("token", self.token), ("read-token", READ_TOKEN)):
            token_file = self.directory / name
            if name == "token" or not token_file.exists():
                token_file.write_text(token + "\n")
                token_file.chmod(0o600)
        # The shipped policies have a rule that looks runs up.
        read_token = (
            ", read_token: {file: read-token}"
            if self.policies is POLICIES and "read_token" not in self.upstream
            else ""
        )
        path = self.directory / "config.yaml"
        path.write_text(
            "version: 1\n"
            f"listen: {self.listen}\n"
            f'upstream: {{url: "{self.upstream_url}", token: {{file: token}}, '
            f'contract: "{self.contract}"{self.upstream}{read_token}}}\n'
            f"callers:\n{self.issuers}  keys:\n{entries}"
            f"policies: {self._policies()}\naudit: {self.audit}\nlimits: {self.limits}\n{self.more}"
        )
        return path

    def _policies(self) -> str:
        if isinstance(self.policies, Path):
            return str(self.policies)
        folder = self.directory / "policies"
        folder.mkdir(exist_ok=True)
        for name, text in self.policies.items():
            (folder / name).write_text(text)
        return "policies"


class RunningGateway:
    """`serve` in a process of its own; use as a context manager. `before` stands before the command (strace).

    A `fresh` one has loaded everything by itself, whether or not that makes a difference.
    """

    process: Process

    def __init__(self, setup: Setup, *, before: Sequence[str] = (), fresh: bool = False) -> None:
        self.setup = setup
        self._before = list(before)
        self._fresh = fresh or bool(before)
        self.port = 0
        self.health_port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts (again) and waits until the port answers."""
        config = self.setup.write()
        self._out = (self.setup.directory / "stdout").open("ab")
        self._err = (self.setup.directory / "stderr").open("ab")
        offset = (self.setup.directory / "stderr").stat().st_size
        self.process = started(
            ["serve", "--config", str(config)],
            stdout=self._out,
            stderr=self._err,
            environment={**os.environ, **self.setup.environment},
            session=True,
            before=self._before,
            fresh=self._fresh,
        )
        self.port = self._listening(offset)

    def _listening(self, offset: int) -> int:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            text = (self.setup.directory / "stderr").read_text()[offset:]
            for line in text.splitlines():
                if line.startswith("{") and (members := json.loads(line)).get("event") == "serving":
                    self.health_port = _port(members["health"])
                    return _port(members["listen"])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill()  # nobody else would: the context is not entered
        raise AssertionError(f"the gateway did not start: {self.stderr()}")

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self._out.close()
        self._err.close()
        return self.process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._err.close()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def key(self, team: str = "billing") -> str:
        """The key of a team."""
        return self.setup.keys[team]

    def request(
        self,
        method: str = "DELETE",
        target: str = "/v2/workflows/runs",
        *,
        team: str | None = "billing",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 20,
    ) -> Answer:
        """One request over a connection of its own; without a team, no credential."""
        sent = dict(headers or {})
        if team is not None:
            sent["Authorization"] = f"Bearer {self.key(team)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, target, body=body, headers=sent)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def cancel(self, query: str, *, team: str = "billing") -> Answer:
        """A cancel in the query dialect."""
        return self.request(target=f"/v2/workflows/runs?{query}", team=team)

    def raw(self, data: bytes, *, timeout_s: float = 10) -> bytes:
        """Everything that comes back for some bytes until the gateway closes, or the first whole answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(data)
            return read_answer(connection)

    @property
    def audit_directory(self) -> Path:
        """Where the record is."""
        named = re.search(r'directory: "?([^",}]+)', self.setup.audit)
        assert named is not None
        return self.setup.directory / named[1]

    def records(self, event: str | None = None) -> list[dict[str, object]]:
        """The audit records whose lines are whole, in order of file name and line: the last may be being written."""
        texts = [path.read_bytes() for path in sorted(self.audit_directory.glob("*.jsonl"))]
        lines = [line for text in texts for line in text[: text.rfind(b"\n") + 1].splitlines()]
        records = [json.loads(line) for line in lines]
        return [record for record in records if event is None or record["event"] == event]

    def _rested(self) -> None:
        """Waits until the streams grow no more: their lines are written behind the answers."""
        paths, before = [self.setup.directory / name for name in ("stderr", "stdout")], [-1]
        while before != (before := [path.stat().st_size for path in paths]):
            time.sleep(0.1)

    def stderr(self) -> str:
        """What the process said."""
        self._rested()
        return (self.setup.directory / "stderr").read_text()

    def said(self) -> bytes:
        """Every byte that the process has written to a stream or file."""
        self._rested()
        files = [self.setup.directory / "stderr", self.setup.directory / "stdout"]
        files += [path for path in self.audit_directory.rglob("*") if path.is_file()]
        return b"".join(path.read_bytes() for path in files)


def _port(listen: object) -> int:
    """The port of an address as the log says it, of several the first; 0 where there are only Unix sockets, or none."""
    addresses = [str(one) for one in (listen if isinstance(listen, list) else [listen])]
    ports = [int(one.rpartition(":")[2]) for one in addresses if ":" in one and not one.startswith("unix:")]
    return ports[0] if ports else 0


def read_answer(connection: socket.socket) -> bytes:
    """One whole answer by its Content-Length, or what came until the end of the connection."""
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if found and lengths and len(body) >= int(lengths[0].split(b":")[1]):
            return data
        try:
            chunk = connection.recv(65536)
        except ConnectionError:
            return data
        if not chunk:
            return data
        data += chunk
