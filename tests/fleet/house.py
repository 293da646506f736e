"""Three gateways behind the nginx of docs/examples/fleet, in front of one account."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.requests import free_port
from gateway.simulator.server import SimulatorServer
from tests.execution.resolve.account import MovingAccount
from tests.execution.resolve.house import by_ids
from tests.support.gateway import Answer, RunningGateway, Setup, new_key
from tests.support.programs import needed
from tests.support.waiting import until

CONF = Path(__file__).parents[2] / "docs" / "examples" / "fleet" / "nginx.conf"
SIZE = 3


def rendered(directory: Path, port: int, gateways: Sequence[int], *, without: str | None = None) -> str:
    """The example's configuration with these addresses, and `without` one of its lines."""
    text = CONF.read_text()
    changes = {
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "/run/nginx": str(directory),
        **{f"server gateway-{number}:8080;": f"server 127.0.0.1:{at};" for number, at in enumerate(gateways, 1)},
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    if without is None:
        return text
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if without not in line]
    assert len(kept) == len(lines) - 1
    return "".join(kept)


@contextmanager
def nginx(directory: Path, gateways: Sequence[int], *, without: str | None = None) -> Iterator[int]:
    """The nginx of the example in front of these ports; its own port."""
    directory.mkdir(parents=True)
    port = free_port()
    conf = directory / "nginx.conf"
    conf.write_text(rendered(directory, port, gateways, without=without))
    command = [needed("nginx", "nginx-light"), "-p", str(directory), "-c", str(conf), "-g", "daemon off;"]
    with (directory / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            until(lambda: _answers(port) or process.poll() is not None)
            assert process.poll() is None, (directory / "said").read_text()
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@dataclass
class Fleet:
    """Three gateways, the account behind them, the way to them through nginx, and the URL of their database if any."""

    account: MovingAccount
    gateways: list[RunningGateway]
    keys: Mapping[str, str]
    port: int = 0
    database: str = ""
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(128))

    def request(
        self,
        method: str = "DELETE",
        target: str = "/v2/workflows/runs",
        *,
        team: str = "billing",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request through nginx, over a connection of its own."""
        sent = {"Authorization": f"Bearer {self.keys[team]}", **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target, body=body, headers=sent)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def cancel(self, query: str, *, team: str = "billing", headers: Mapping[str, str] | None = None) -> Answer:
        """A cancel through nginx."""
        return self.request(target=f"/v2/workflows/runs?{query}", team=team, headers=headers)

    def at_once(
        self, number: int, query: str, *, team: str = "billing", headers: Mapping[str, str] | None = None
    ) -> list[Answer]:
        """The same cancel so many times at once."""
        asked = [self._pool.submit(self.cancel, query, team=team, headers=headers) for _ in range(number)]
        return [one.result(120) for one in asked]

    @property
    def sent(self) -> list[str]:
        """The queries of the cancels that reached the account, in turn."""
        return [entry.call.query for entry in self.account.ledger]

    def of(self, decision_or_event: str) -> list[RunningGateway]:
        """The gateways whose record has such an event."""
        return [one for one in self.gateways if one.process.poll() is None and one.records(decision_or_event)]


@contextmanager
def fleet(
    directory: Path,
    *,
    policies: Mapping[str, str],
    teams: Sequence[str],
    more: str = "",
    without: str | None = None,
    latency_ms: int = 0,
    limits: str = "{per_principal: {in_flight: 64, requests_per_minute: 0}}",
) -> Iterator[Fleet]:
    """Three gateways with the same keys, each with a record of its own; nginx `without` one of its lines."""
    with ExitStack() as stack:
        account = MovingAccount()
        server = stack.enter_context(SimulatorServer(account, latency_ms=latency_ms))
        keys = {team: new_key(f"{team}-key") for team in teams}
        gateways = []
        for number in range(1, SIZE + 1):
            place = directory / f"gateway-{number}"
            place.mkdir(parents=True)
            token = place / "read-token"
            token.write_text(server.read_token + "\n")
            token.chmod(0o600)
            setup = Setup(
                server.url,
                place,
                policies=policies,
                teams=teams,
                contract="2026-09",
                upstream=", read_token: {file: read-token}",
                more=more,
                token=server.token,
                keys=dict(keys),
                limits=limits,
            )
            gateways.append(stack.enter_context(RunningGateway(setup)))
        port = stack.enter_context(nginx(directory / "nginx", [one.port for one in gateways], without=without))
        yield Fleet(account, gateways, keys, port)


__all__ = ["Fleet", "by_ids", "fleet"]
