"""The Unix socket: whom it lets in, whom the record names, and which files it removes."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.files.addresses import UnixListen
from gateway.serving.sockets import Bound, bind
from gateway.simulator.server import SimulatorServer
from tests.cli.running import command, ended, require_curl
from tests.serving.doors import CANCEL, ask, to_unix
from tests.support.gateway import RunningGateway, Setup, read_answer

REMEDY = "end what listens there, or change this address"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "g.sock"


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path: Path, path: Path) -> Iterator[RunningGateway]:
    setup = Setup(simulator.url, tmp_path / "gateway", listen=f"unix:{path}", more='socket_mode: "0600"\n')
    with RunningGateway(setup) as running:
        yield running


def test_the_record_names_the_peer_that_the_kernel_names(gateway: RunningGateway, path: Path) -> None:
    """Uid and pid of the process at the other end, in the intent and in a refusal."""
    assert ask(to_unix(path), "DELETE", CANCEL, gateway.key()).status == 200
    assert ask(to_unix(path), "DELETE", CANCEL, "qgk_unknown").status == 401
    peer = f"unix:uid={os.getuid()},pid={os.getpid()}"
    assert [gateway.records(event)[0]["remote"] for event in ("intent", "refused")] == [peer, peer]


def test_the_file_has_the_mode_that_was_asked_for_and_goes_at_the_end(gateway: RunningGateway, path: Path) -> None:
    """Who may connect is who may write the file; a gateway that has ended leaves none."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert gateway.stop() == 0
    assert not path.exists()


def test_curl_reaches_it(gateway: RunningGateway, path: Path) -> None:
    """The documented command line works."""
    require_curl(shutil.which("curl"))
    done = ended(["curl", "-sS", "--unix-socket", str(path), "http://localhost/readyz"])
    assert '"state":"ready"' in done.stdout


def test_probe_asks_the_socket(gateway: RunningGateway) -> None:
    """The health check needs no address."""
    done = command("probe", "--config", str(gateway.setup.directory / "config.yaml"))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_checks_of_the_edge_hold_there_too(gateway: RunningGateway, path: Path) -> None:
    """What HTTP forbids is refused before ASGI, with the peer on record."""
    with to_unix(path) as connection:
        connection.sendall(b"DELETE /v2/workflows/runs HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 400 ")
    gateway.stop()
    (refused,) = gateway.records("refused")
    assert refused["cause"] == "host"
    assert str(refused["remote"]).startswith("unix:uid=")


def test_the_socket_of_a_dead_gateway_is_replaced(gateway: RunningGateway, path: Path) -> None:
    """A kill leaves the file behind, and the next start takes its place."""
    gateway.kill()
    gateway.stop()
    assert path.exists()
    gateway.start()
    assert ask(to_unix(path), "GET", "/healthz").status == 200


def test_a_living_socket_is_not_taken(gateway: RunningGateway, path: Path) -> None:
    """A second gateway with the same path fails, and the first one goes on."""
    done = command("serve", "--config", str(gateway.setup.directory / "config.yaml"))
    assert done.returncode == 1
    assert done.stderr == f"qstash-gateway: another process listens on {path}: {REMEDY}\n"
    assert ask(to_unix(path), "GET", "/healthz").status == 200


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_nothing_but_a_socket_is_ever_removed(path: Path, kind: str) -> None:
    """A path that was mistyped costs nobody a file, though connecting to a file is refused as to a dead socket."""
    target = path.with_name("precious")
    target.write_text("precious")
    if kind == "file":
        target.rename(path)
    elif kind == "link":
        path.symlink_to(target)
    else:
        path.mkdir()
    with pytest.raises(OSError, match="is no socket"):
        bind(UnixListen(path), socket_mode=0o600)
    assert os.path.lexists(path)


def test_a_busy_socket_is_not_taken_for_an_abandoned_one(path: Path) -> None:
    """A process whose queue is full accepts nobody just now, and is alive all the same."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(OSError, match=f"another process listens on .*, and is busy: {REMEDY}$"):
            bind(UnixListen(path), socket_mode=0o600)


def test_only_our_own_file_is_removed(path: Path) -> None:
    """A successor may have put its socket in the place of ours."""
    ours = bind(UnixListen(path), socket_mode=0o600)
    # The old file is kept in being, so that its inode is not given to the new one.
    path.rename(path.with_name("old"))
    theirs = bind(UnixListen(path), socket_mode=0o600)
    ours.close()
    assert path.exists()
    theirs.close()
    assert not path.exists()


def test_of_many_that_start_at_once_one_gets_the_socket(path: Path) -> None:
    """No start removes the file of another that has bound and does not listen yet."""
    dead = bind(UnixListen(path), socket_mode=0o600)
    dead.socket.close()
    bound: list[Bound] = []

    def start() -> None:
        try:
            bound.append(bind(UnixListen(path), socket_mode=0o600))
        except OSError as exc:
            assert "another process listens" in str(exc)  # noqa: PT017 - in a thread of its own

    threads = [threading.Thread(target=start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bound) == 1
    to_unix(path).close()
    bound[0].close()
