"""The second listener: two pages, no key, no record, and an answer while the gateway ends."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.cli.running import command
from tests.serving.doors import CANCEL, ask, to_port, to_unix
from tests.support.gateway import RunningGateway, Setup
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until

HEALTH = 'health: {listen: "127.0.0.1:0"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "g.sock"


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path: Path, path: Path) -> Iterator[RunningGateway]:
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", listen=f"unix:{path}", more=HEALTH)) as running:
        yield running


def test_it_has_the_two_pages_and_nothing_else(gateway: RunningGateway) -> None:
    """Not even a good key makes anything of it; both pages stay on the listener of callers."""
    statuses = {
        (method, target): ask(to_port(gateway.health_port), method, target, gateway.key()).status
        for method in ("GET", "POST", "DELETE")
        for target in ("/healthz", "/readyz", "/", "/gateway/v1/whoami", CANCEL, "/readyz/", "/Healthz")
    }
    pages = {("GET", "/healthz"): 200, ("GET", "/readyz"): 200}
    methods = {(method, page): 405 for method in ("POST", "DELETE") for page in ("/healthz", "/readyz")}
    assert {asked: status for asked, status in statuses.items() if status != 404} == pages | methods
    for page in ("/healthz", "/readyz"):
        assert ask(to_unix(Path(gateway.setup.listen.removeprefix("unix:"))), "GET", page).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx",
    ],
)
def test_nothing_is_recorded(gateway: RunningGateway, sent: bytes) -> None:
    """What reaches it can do nothing, so it cannot fill the record either."""
    with to_port(gateway.health_port) as connection:
        connection.sendall(sent)
        assert connection.recv(4096).startswith(b"HTTP/1.1 4")
    assert ask(to_port(gateway.health_port), "GET", "/metrics").status == 404
    assert gateway.stop() == 0
    assert [record["event"] for record in gateway.records()] == ["start", "stop"]


PROBES = {
    "HTTP/1.0 without a Host": b"GET %s HTTP/1.0\r\n\r\n",
    "HTTP/1.0 and keep-alive": b"GET %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.0 with an empty Host": b"GET %s HTTP/1.0\r\nHost:\r\n\r\n",
    "HTTP/1.0 with a Host": b"GET %s HTTP/1.0\r\nHost: gw\r\n\r\n",
    "an empty Host": b"GET %s HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
    "a Host of spaces": b"GET %s HTTP/1.1\r\nHost: \t \r\nConnection: close\r\n\r\n",
    "HEAD": b"HEAD %s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n",
    "HEAD in HTTP/1.0": b"HEAD %s HTTP/1.0\r\n\r\n",
    "a query": b"GET %s?probe=1 HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n",
    "a whole URL": b"GET http://10.0.0.1:8081%s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n",
    "HEAD of a whole URL": b"HEAD http://gw%s?x HTTP/1.0\r\n\r\n",
}


def test_old_and_terse_probes_are_answered_on_both_listeners(gateway: RunningGateway) -> None:
    """200, with the same headers whatever the method, and a body for GET alone."""
    for probe, page in itertools.product(PROBES, ("/healthz", "/readyz")):
        _check_probe(gateway, probe, page)


def _check_probe(gateway: RunningGateway, probe: str, page: str) -> None:
    path = Path(gateway.setup.listen.removeprefix("unix:"))
    usual_probe = b"GET %s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
    for there, again in ((to_port(gateway.health_port), to_port(gateway.health_port)), (to_unix(path), to_unix(path))):
        usual = _exchange(there, usual_probe % page.encode())
        head, body = _exchange(again, PROBES[probe] % page.encode())
        assert head[0] == "HTTP/1.1 200 OK"
        assert _names(head) == _names(usual[0])
        if probe.startswith("HEAD"):
            assert body == b""
        else:
            assert json.loads(body).keys() == json.loads(usual[1]).keys()


def test_the_leniency_is_for_the_two_pages_alone(gateway: RunningGateway) -> None:
    """Another path stays what it is, and an answer to HEAD has no body, also one that was written before ASGI."""
    path = Path(gateway.setup.listen.removeprefix("unix:"))
    for asked, status in (
        ("HEAD /gateway/v1/whoami", "401"),
        ("HEAD /", "401"),
        ("HEAD http://gw/readyz/", "400"),
        ("POST /readyz", "405"),
    ):
        sent = f"{asked} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n".encode()
        head, body = _exchange(to_unix(path), sent)
        assert head[0].split(" ")[1] == status
        assert (body == b"") == asked.startswith("HEAD")


def _exchange(connection: socket.socket, sent: bytes) -> tuple[list[str], bytes]:
    """The lines of an answer's head, and its body, until the end of the connection."""
    with connection:
        connection.sendall(sent)
        data = b""
        while piece := connection.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


def _names(head: list[str]) -> set[str]:
    """The names of the headers, those of the connection left out."""
    return {line.partition(":")[0] for line in head[1:]} - {"connection", "keep-alive"}


def test_probe_asks_there(gateway: RunningGateway) -> None:
    """The health check of the image and the kubelet see the same page."""
    config = gateway.setup.directory / "config.yaml"
    config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{gateway.health_port}"))
    done = command("probe", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")


def test_while_calls_are_in_flight_at_the_end_it_says_not_ready(
    simulator: SimulatorServer, tmp_path: Path, path: Path
) -> None:
    """After SIGTERM the call finishes, and whoever routes to the gateway is told to stop."""
    with HeldAnswers(simulator.port) as upstream, ThreadPoolExecutor(1) as callers:
        setup = Setup(upstream.url, tmp_path / "gateway", listen=f"unix:{path}", more=HEALTH)
        with RunningGateway(setup) as gateway:
            with upstream.held():
                call = callers.submit(ask, to_unix(path), "DELETE", CANCEL, gateway.key())
                until(lambda: simulator.ledger)
                gateway.process.terminate()
                until(lambda: ask(to_port(gateway.health_port), "GET", "/readyz").status == 503)
                page = ask(to_port(gateway.health_port), "GET", "/readyz")
            assert call.result().status == 200
            assert (page.status, page.json()["reason"]) == (503, "shutting_down")
            assert gateway.stop() == 0
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", gateway.health_port)):
            pass


def test_a_lock_file_that_is_deleted_is_a_notice_and_a_line_in_the_log(gateway: RunningGateway) -> None:
    """Within seconds, with what to do; the gateway goes on."""
    [lock] = gateway.audit_directory.glob("*.lock")
    lock.unlink()
    until(lambda: '"event": "lock_deleted"' in gateway.stderr())
    page = ask(to_port(gateway.health_port), "GET", "/readyz")
    assert page.status == 200
    [notice] = json.loads(page.body)["notices"]
    assert notice.startswith("the lock file of the audit chain was deleted")
    assert gateway.stderr().count("lock_deleted") == 1
