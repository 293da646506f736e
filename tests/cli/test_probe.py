"""`probe`: the health check that needs no curl."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from dataclasses import replace
from pathlib import Path

from tests.cli.configs import CONFIG, write
from tests.cli.running import Done, command
from tests.support.gateway import RunningGateway


class _NotReady(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"status": "not ready", "reason": "audit: disk full"}).encode()
        self.send_response(503 if self.path == "/readyz" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name in the base class
        """Says nothing."""


def probe(directory: Path, port: int) -> Done:
    """Probes what listens on a port."""
    config = write(directory, config=CONFIG.replace("127.0.0.1:0", f"127.0.0.1:{port}"), token=None)
    return command("probe", "--config", str(config))


def test_a_running_gateway_is_ready(gateway: RunningGateway, tmp_path: Path) -> None:
    """Exit code 0 and not a word, with nothing but the configuration: it reads neither the token nor the log."""
    done = probe(tmp_path, gateway.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [record["event"] for record in gateway.records()] == ["start"]


def test_a_gateway_is_asked_at_its_address(gateway: RunningGateway) -> None:
    """For those who have no configuration of it; plain http beyond loopback only where that is said."""
    assert command("probe", "--url", gateway.url).returncode == 0
    other = gateway.url.replace("127.0.0.1", "0.0.0.0")
    done = command("probe", "--url", other)
    assert (done.returncode, done.stdout) == (2, "")
    assert command("probe", "--url", other, "--allow-http").returncode == 0


def test_a_gateway_is_asked_on_its_socket_file(gateway: RunningGateway, tmp_path: Path) -> None:
    """By its configuration or by `unix:PATH`."""
    gateway.stop()
    setup = replace(gateway.setup, listen="unix:gateway.sock")
    with RunningGateway(setup):
        assert command("probe", "--config", str(setup.directory / "config.yaml")).returncode == 0
        assert command("probe", "--url", f"unix:{setup.directory / 'gateway.sock'}").returncode == 0
    done = command("probe", "--url", f"unix:{tmp_path / 'none'}")
    assert (done.returncode, done.stderr.startswith("not ready: ")) == (1, True)


def test_a_gateway_that_was_stopped_is_not_ready(gateway: RunningGateway, tmp_path: Path) -> None:
    """The same port, a moment later: exit code 1."""
    gateway.stop()
    done = probe(tmp_path, gateway.port)
    assert done.returncode == 1
    assert done.stderr == f"not ready: nothing listens at http://127.0.0.1:{gateway.port}\n"


def test_a_gateway_that_answers_503_is_not_ready_and_says_why(tmp_path: Path) -> None:
    """The reason of `/readyz` reaches whoever reads the health check's output."""
    with http.server.HTTPServer(("127.0.0.1", 0), _NotReady) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        done = probe(tmp_path, server.server_address[1])
        server.shutdown()
        thread.join()
    assert (done.returncode, done.stderr) == (1, "not ready: audit: disk full\n")


def test_something_else_on_the_port_is_not_ready(tmp_path: Path) -> None:
    """A peer that hangs up without a word is no gateway."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = probe(tmp_path, listener.getsockname()[1])
        thread.join()
    assert done.returncode == 1
    assert done.stderr.startswith("not ready: ")


def test_a_configuration_that_cannot_be_read_is_no_health_state(tmp_path: Path) -> None:
    """Exit code 3, with the position."""
    done = command("probe", "--config", str(write(tmp_path, config="listen: 1\n")))
    assert done.returncode == 3
    assert "config.yaml:1:" in done.stderr
