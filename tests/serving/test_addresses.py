"""Several addresses at once, both families on one, and a start that fails and leaves nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
from pathlib import Path

import pytest

from gateway.app import build
from gateway.config import load_config
from gateway.core.errors import InvalidConfiguration
from gateway.files.addresses import Listen, UnixListen
from gateway.serving.sockets import bind, bind_all
from gateway.simulator.server import SimulatorServer
from tests.cli.running import command
from tests.config.test_config import MINIMAL, faults, written
from tests.serving.doors import CANCEL, OverSocket, ask, certified, to_unix
from tests.support.gateway import RunningGateway, Setup

NO_IPV6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


def connected(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(20)
    connection.connect((host, port))
    return connection


@NO_IPV6
def test_the_ipv6_wildcard_takes_both_families(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Whatever the machine's default is; the record names an IPv4 caller as IPv4, and proxies are known by it."""
    more = "trusted_proxies: [127.0.0.0/8]\n"
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", listen='"[::]:0"', more=more)) as gateway:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            assert ask(connected(family, host, gateway.port), "DELETE", CANCEL, gateway.key()).status == 200
        forwarded = OverSocket(connected(socket.AF_INET, "127.0.0.1", gateway.port))
        headers = {"Authorization": f"Bearer {gateway.key()}", "X-Forwarded-For": "203.0.113.9:4711"}
        forwarded.request("DELETE", CANCEL, headers=headers)
        assert forwarded.getresponse().status == 200
        forwarded.close()
        remotes = [record["remote"] for record in gateway.records("intent")]
    assert remotes == ["127.0.0.1", "::1", "203.0.113.9"]


@NO_IPV6
def test_an_ipv6_socket_takes_both_families_where_the_machine_says_otherwise() -> None:
    """The option is set on the socket, and not left to net.ipv6.bindv6only."""
    bound = bind(Listen("::", 0), socket_mode=0)
    assert bound.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
    bound.close()


def test_tcp_and_a_socket_file_are_served_side_by_side(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Every address has the same answers, limits and record; the stop ends all, and removes the file."""
    path = tmp_path / "g.sock"
    listen = f'["127.0.0.1:0", "unix:{path}", "127.0.0.1:0"]'
    health = 'health: {listen: ["127.0.0.1:0", "127.0.0.1:0"]}\n'
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", listen=listen, more=health)) as gateway:
        [line] = [text for text in gateway.stderr().splitlines() if '"serving"' in text]
        said = json.loads(line)
        first, file, third = said["listen"]
        assert file == f"unix:{path}"
        doors = [to_unix(path), *(connected(socket.AF_INET, *_host_port(one)) for one in (first, third))]
        for door in doors:
            assert ask(door, "DELETE", CANCEL, gateway.key()).status == 200
        for one in said["health"]:
            assert ask(connected(socket.AF_INET, *_host_port(one)), "GET", "/readyz").status == 200
        remotes = [str(record["remote"]) for record in gateway.records("intent")]
        assert remotes == [f"unix:uid={os.getuid()},pid={os.getpid()}", "127.0.0.1", "127.0.0.1"]
        assert gateway.stop() == 0
        assert not path.exists()


def test_tls_is_for_the_addresses_and_not_for_the_socket_file(simulator: SimulatorServer, tmp_path: Path) -> None:
    """What goes through the file never leaves the machine; `probe` asks the first."""
    certificate, key = certified(tmp_path)
    path = tmp_path / "g.sock"
    more = f"tls: {{certificate: {certificate}, key: {key}}}\n"
    listen = f'["unix:{path}", "127.0.0.1:0"]'
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", listen=listen, more=more)) as gateway:
        assert ask(to_unix(path), "DELETE", CANCEL, gateway.key()).status == 200
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            ask(connected(socket.AF_INET, "127.0.0.1", gateway.port), "GET", "/healthz")
        done = command("probe", "--config", str(gateway.setup.directory / "config.yaml"))
        assert (done.returncode, done.stderr) == (0, "")


def test_a_start_that_fails_leaves_no_listener_and_no_file(tmp_path: Path) -> None:
    """The error names the address and the remedy; what was bound before it is let go."""
    path = tmp_path / "g.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        remedy = "end what listens there, or change this address"
        said = f"cannot listen on 127.0.0.1:{port}: Address already in use: {remedy}"
        with pytest.raises(OSError, match=f"^{re.escape(said)}$"):
            bind_all([UnixListen(path), Listen("127.0.0.1", port)], socket_mode=0o600)
    assert not path.exists()


def test_a_start_that_fails_leaves_no_health_page(tmp_path: Path) -> None:
    """The health pages are bound first; they are let go as well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        health = free.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        setup = Setup("http://127.0.0.1:9", tmp_path / "gateway", listen=f"127.0.0.1:{taken.getsockname()[1]}")
        setup.more = f'health: {{listen: "127.0.0.1:{health}"}}\n'
        with pytest.raises(OSError, match="Address already in use"):
            build(load_config(setup.write()))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", health), 5)


def test_a_list_loads_with_every_kind_of_address(tmp_path: Path) -> None:
    """In the order of the file; paths are relative to it."""
    text = MINIMAL.replace("127.0.0.1:8080", '["127.0.0.1:8080", "[::1]:8080", unix:g.sock, "0.0.0.0:8081"]')
    config = load_config(written(tmp_path, text + 'socket_mode: "0600"\ntls: {certificate: c, key: k}\n'))
    assert config.listen == (
        Listen("127.0.0.1", 8080), Listen("::1", 8080), UnixListen(tmp_path / "g.sock"), Listen("0.0.0.0", 8081),
    )  # fmt: skip


TAKEN = "is listened on already: an address above takes it"
HEALTH = "'health' needs an address of its own"
FAULTS = {
    "one bad address": ('["127.0.0.1:8080", "127.0.0.1", unix:g]', "2:28: '127.0.0.1': expected host:port"),
    "none": ("[]", "2:9: the list is empty"),
    "five": ("[unix:a, unix:b, unix:c, unix:d, unix:e]", "2:9: expected 1 to 4 items"),
    "the same twice": ('["127.0.0.1:8080", "127.0.0.1:8080"]', f"2:28: 127.0.0.1:8080 {TAKEN}"),
    "by name": ('["127.0.0.1:8080", "localhost:8080"]', f"2:28: localhost:8080 {TAKEN}"),
    "within every IPv4": ('["0.0.0.0:8080", "127.0.0.1:8080"]', f"2:26: 127.0.0.1:8080 {TAKEN}"),
    "within both families": ('["127.0.0.1:8080", "[::]:8080"]', f"2:28: [::]:8080 {TAKEN}"),
    "IPv4 within IPv6": ('["127.0.0.1:8080", "[::ffff:127.0.0.1]:8080"]', f"2:28: [::ffff:127.0.0.1]:8080 {TAKEN}"),
    "one file twice": ("[unix:g, unix:./g]", "2:18: unix:"),
    "a path too long": (f"[unix:g, unix:/{107 * 'x'}]", "2:18: the path of a Unix socket has at most 107 bytes"),
    "health on one of them": (
        '["127.0.0.1:1", "127.0.0.1:8080"]\nhealth: {listen: "127.0.0.1:8080"}',
        f"3:1: {HEALTH}",
    ),
    "health twice": ('"127.0.0.1:1"\nhealth: {listen: ["127.0.0.1:2", "127.0.0.1:2"]}', f"3:34: {HEALTH}"),
    "health within both families": ('"[::]:8080"\nhealth: {listen: "127.0.0.1:8080"}', f"3:1: {HEALTH}"),
    "TLS without an address": ("[unix:a, unix:b]\ntls: {certificate: c, key: k}", "3:1: 'tls' does not go with"),
    "a mode without a file": (
        '["127.0.0.1:1", "127.0.0.1:2"]\nsocket_mode: "0600"',
        "3:1: 'socket_mode' has no effect",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault_of_an_address_is_one_error_at_its_place(tmp_path: Path, name: str) -> None:
    """The others are good, and are not spoken of."""
    listen, expected = FAULTS[name]
    found = faults(tmp_path, MINIMAL.replace("127.0.0.1:8080", listen))
    assert [fault[: len(expected)] for fault in found] == [expected]


@pytest.mark.parametrize(
    "listen",
    ['["0.0.0.0:8080", "[::1]:8080"]', '["127.0.0.1:8080", "127.0.0.1:8081"]', '["127.0.0.1:0", "127.0.0.1:0"]'],
)
def test_what_goes_together_loads(tmp_path: Path, listen: str) -> None:
    """0.0.0.0 takes no IPv6, another port is another address, and port 0 is chosen by the kernel each time."""
    try:
        load_config(written(tmp_path, MINIMAL.replace("127.0.0.1:8080", listen)))
    except InvalidConfiguration as refused:
        pytest.fail(str(refused))


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
