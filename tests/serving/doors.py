"""A gateway behind a Unix socket, or behind TLS, and callers who reach it there."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
from pathlib import Path

from tests.support.gateway import Answer, RunningGateway

CANCEL = "/v2/workflows/runs?workflowRunIds=wfr_billing_1"


class OverSocket(http.client.HTTPConnection):
    """HTTP over a connection that is there already."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__("localhost", timeout=20)
        self.sock = connected


def to_unix(path: Path) -> socket.socket:
    """A connection to a socket file."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def ask(connected: socket.socket, method: str, target: str, key: str | None = None) -> Answer:
    """One request, and the end of the connection."""
    connection = OverSocket(connected)
    try:
        connection.request(method, target, headers={} if key is None else {"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def to_port(port: int) -> socket.socket:
    """A connection to this machine."""
    return socket.create_connection(("127.0.0.1", port), 20)


def certified(directory: Path, name: str = "server") -> tuple[Path, Path]:
    """A new self-signed certificate for 127.0.0.1, and its key."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=gateway", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def over_tls(gateway: RunningGateway, certificate: Path) -> ssl.SSLSocket:
    """A connection that trusts this certificate and no other."""
    context = ssl.create_default_context(cafile=str(certificate))
    return context.wrap_socket(to_port(gateway.port), server_hostname="127.0.0.1")
