"""TLS: what is spoken, what plain bytes do to it, and what is refused at load."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.cli.configs import CONFIG, position, write
from tests.cli.running import command
from tests.serving.doors import CANCEL, OverSocket, ask, certified, over_tls, to_port
from tests.support.gateway import RunningGateway, Setup
from tests.support.waiting import until


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certified(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path: Path, pair: tuple[Path, Path]) -> Iterator[RunningGateway]:
    tls = f"tls: {{certificate: {pair[0]}, key: {pair[1]}}}\n"
    limits = "{receive_timeout_s: 1, per_principal: {requests_per_minute: 0}}"
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", more=tls, limits=limits)) as running:
        yield running


def test_a_cancel_goes_through(gateway: RunningGateway, pair: tuple[Path, Path]) -> None:
    """The same answers, and the caller's address on record."""
    assert ask(over_tls(gateway, pair[0]), "DELETE", CANCEL, gateway.key()).status == 200
    assert gateway.records("intent")[0]["remote"] == "127.0.0.1"


def test_probe_asks_over_tls(gateway: RunningGateway) -> None:
    """The health check follows the listener; on an address that is not in the certificate too."""
    config = gateway.setup.directory / "config.yaml"
    config.write_text(config.read_text().replace("127.0.0.1:0", f"localhost:{gateway.port}"))
    done = command("probe", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")


def test_versions_before_1_2_are_not_spoken(gateway: RunningGateway, pair: tuple[Path, Path]) -> None:
    """1.2 and 1.3 are; a caller with nothing newer than 1.1 gets no connection."""
    spoken = [_spoken(gateway, pair[0], version) for version in ("TLSv1_1", "TLSv1_2", "TLSv1_3")]
    assert spoken == [None, "TLSv1.2", "TLSv1.3"]


def _spoken(gateway: RunningGateway, certificate: Path, version: str) -> str | None:
    context = ssl.create_default_context(cafile=str(certificate))
    # The library of the caller would not even ask for what is old.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with to_port(gateway.port) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="127.0.0.1") as spoken:
                return spoken.version()
        except (ssl.SSLError, ConnectionError):
            return None


@pytest.mark.parametrize(
    "sent", [b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"", b"\0" * 4096]
)
def test_bytes_that_are_no_handshake_do_no_harm(gateway: RunningGateway, pair: tuple[Path, Path], sent: bytes) -> None:
    """The connection ends within the deadline, nothing is logged but a line, and the next caller is served."""
    with to_port(gateway.port) as plain:
        plain.sendall(sent)
        plain.settimeout(10)
        answered = b""
        try:
            while chunk := plain.recv(4096):
                answered += chunk
        except ConnectionError:
            pass
    assert b"HTTP" not in answered
    assert ask(over_tls(gateway, pair[0]), "GET", "/healthz").status == 200
    assert "Traceback" not in gateway.stderr()


def test_handshakes_that_never_come_count_as_connections(
    simulator: SimulatorServer, tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    """With descriptors for few, the oldest handshakes give way: callers get in, one who is there stays."""
    tls = f"tls: {{certificate: {pair[0]}, key: {pair[1]}}}\n"
    setup = Setup(simulator.url, tmp_path / "gateway", more=tls, limits="{receive_timeout_s: 60}")
    with (
        RunningGateway(setup, before=("prlimit", "--nofile=256:256")) as gateway,
        contextlib.ExitStack() as stack,
    ):
        known = OverSocket(stack.enter_context(over_tls(gateway, pair[0])))
        assert whoami(known, gateway.key()) == 200
        stalled = [stack.enter_context(to_port(gateway.port)) for _ in range(300)]
        assert ask(over_tls(gateway, pair[0]), "GET", "/healthz").status == 200
        until(lambda: ended(stalled) >= 250)
        assert ask(over_tls(gateway, pair[0]), "DELETE", CANCEL, gateway.key()).status == 200
        assert whoami(known, gateway.key()) == 200
        assert len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir())) < 120


def whoami(connection: OverSocket, key: str) -> int:
    """The status of a question on a connection that stays."""
    connection.request("GET", "/gateway/v1/whoami", headers={"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    response.read()
    return response.status


def ended(connections: list[socket.socket]) -> int:
    """How many of some silent connections the gateway has ended."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection.fileno(), select.POLLIN)
    return len(poll.poll(0))


def refused(directory: Path, certificate: Path, key: Path) -> str:
    """What `check` says of a pair, which is what `serve` says."""
    config = CONFIG + f"tls: {{certificate: {certificate}, key: {key}}}\n"
    path = write(directory, config=config)
    said = command("check", "--config", str(path))
    served = command("serve", "--config", str(path))
    assert (said.returncode, served.returncode) == (3, 3)
    # `check` shows the line as well, with a caret below it.
    problems = "".join(line for line in said.stdout.splitlines(keepends=True) if not line.startswith(" "))
    assert problems == served.stderr
    prefix = f"{path}:{position(config, '{certificate')}: "
    assert all(line.startswith(prefix) for line in problems.splitlines())
    return problems.replace(prefix, "")


def test_a_pair_that_is_good_passes(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """Paths are relative to the configuration."""
    for file in pair:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = CONFIG + "tls: {certificate: server.pem, key: server.key}\n"
    assert command("check", "--config", str(write(tmp_path, config=config))).returncode == 0


def test_files_that_are_missing_are_named_both(tmp_path: Path) -> None:
    """At the place that names them."""
    said = refused(tmp_path, Path("no.pem"), Path("no.key"))
    assert said == "".join(
        f"the file {tmp_path / name} cannot be read: No such file or directory\n" for name in ("no.key", "no.pem")
    )


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """The fault is said before the first handshake fails."""
    _, other = certified(tmp_path, "other")
    assert refused(tmp_path, pair[0], other) == f"the key {other} is not that of the certificate {pair[0]}\n"


def test_what_is_no_certificate_is_refused(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """Certificate and key in the wrong order, the usual mistake."""
    assert refused(tmp_path, pair[1], pair[0]).endswith("are not a certificate and a key in PEM\n")


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """A service has no terminal to type a passphrase at."""
    locked = tmp_path / "locked.key"
    command_line = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", str(pair[1]), "-out", str(locked)]
    subprocess.run(command_line, check=True, capture_output=True)
    assert "is encrypted" in refused(tmp_path, pair[0], locked)
