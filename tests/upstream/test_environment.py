"""Nothing in the environment sends the token elsewhere, adds to the call or weakens its encryption."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.core.outcome import Cancelled
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import RunningGateway, Setup
from tests.upstream.authority import new_authority
from tests.upstream.canned import CannedServer
from tests.upstream.raw import DONE, answers, ids, play

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true&count=10"
NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "SOCKS_PROXY")


def proxies(url: str) -> Mapping[str, str]:
    return {**dict.fromkeys(NAMES, url), "NO_PROXY": "", "no_proxy": ""}


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_proxies_of_the_environment_are_not_used(scheme: str, simulator: SimulatorServer, tmp_path: Path) -> None:
    """A proxy would get the token; it is not even asked, also where it could not be used at all."""
    with CannedServer(DONE) as proxy:
        environment = proxies(f"{scheme}://127.0.0.1:{proxy.port}")
        with RunningGateway(Setup(simulator.url, tmp_path / "gateway", environment=environment)) as running:
            assert running.cancel(OWN).status == 200
    assert [entry.status for entry in simulator.ledger] == [200]
    assert proxy.connections == 0


def test_proxies_of_the_environment_are_not_used_for_long_targets_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go over another client, made by other code."""
    order = ids(1000, length=128)
    with CannedServer(DONE) as proxy:
        for name, value in proxies(proxy.url).items():
            monkeypatch.setenv(name, value)
        assert play(answers(DONE), orders=[order]).outcomes == (Cancelled(200, 3),)
    assert proxy.connections == 0


def test_a_netrc_does_not_replace_the_token(tmp_path: Path) -> None:
    """Neither in the home directory nor named by NETRC."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\ndefault login any password thing\n")
    netrc.chmod(0o600)
    environment = {"HOME": str(tmp_path), "NETRC": str(netrc)}
    with CannedServer(DONE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as upstream:
        setup = Setup(upstream.url, tmp_path / "gateway", environment=environment)
        with RunningGateway(setup) as running:
            assert running.cancel(OWN).status == 200
    heads = [re.findall(rb"(?im)^authorization: (.*?)\r$", request) for request in upstream.requests]
    assert heads == [[f"Bearer {setup.token}".encode()]]


def test_certificates_and_key_logs_of_the_environment_are_not_used(tmp_path: Path) -> None:
    """A root from SSL_CERT_FILE vouches for nobody, and SSLKEYLOGFILE gets no keys."""
    authority = new_authority(tmp_path / "authority")
    keys = tmp_path / "keys.log"
    environment = {
        "SSL_CERT_FILE": str(authority.root),
        "SSL_CERT_DIR": str(authority.folder),
        "REQUESTS_CA_BUNDLE": str(authority.root),
        "CURL_CA_BUNDLE": str(authority.root),
        "SSLKEYLOGFILE": str(keys),
        "PYTHONHTTPSVERIFY": "0",
    }
    with CannedServer(DONE, tls=authority.server("IP:127.0.0.1")) as impostor:
        setup = Setup(impostor.url, tmp_path / "gateway", environment=environment)
        with RunningGateway(setup) as running:
            answer = running.cancel(OWN)
            outcomes = [record["outcome"] for record in running.records("outcome")]
    assert (answer.status, answer.json()["code"], outcomes) == (502, "upstream_unreachable", ["not_sent"])
    assert (impostor.connections, impostor.requests) == (1, [])
    assert not keys.exists()


def test_a_fault_is_answered_and_recorded_as_what_it_is(tmp_path: Path) -> None:
    """Through the whole gateway: an upstream that breaks off gives 504, an unknown outcome and one request."""
    with CannedServer(DONE[:-3]) as upstream, RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as running:
        answer = running.cancel(OWN)
        (outcome,) = running.records("outcome")
    assert (answer.status, answer.json()["code"]) == (504, "outcome_unknown")
    assert (outcome["outcome"], outcome["upstream_status"], outcome["carried_out"]) == ("unknown", 200, None)
    assert len(upstream.requests) == 1


WEAK = """\
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = weak
[weak]
MinProtocol = TLSv1
MaxProtocol = TLSv1.1
CipherString = ALL:@SECLEVEL=0
Options = UnsafeLegacyRenegotiation
"""

CONTEXTS = """\
import ssl
from pathlib import Path
import certifi
from gateway import process as tls
clients = tls.client_context(Path(certifi.where())), tls.machine_context(), tls.unverified_context()
for context in (*clients, tls.server_context()):
    names = sorted(cipher["name"] for cipher in context.get_ciphers())
    versions = int(context.minimum_version), int(context.maximum_version)
    print(*versions, context.security_level, int(context.options), names)
print(int(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).maximum_version))
"""


def test_what_tls_is_spoken_does_not_hang_on_the_machine(tmp_path: Path) -> None:
    """OPENSSL_CONF, and a Python that was built to follow it, change no version, cipher or option of ours."""
    (tmp_path / "weak.cnf").write_text(WEAK)
    usual, *_ = plain = _contexts({})
    weak = _contexts({"OPENSSL_CONF": str(tmp_path / "weak.cnf")})
    assert plain[-1] != weak[-1], "the control: this Python does read OPENSSL_CONF"
    assert plain[:-1] == weak[:-1]
    minimum, _, level, options, *_ = usual.split()
    assert (int(minimum), int(level) >= 2, int(options) & 0x40084) == (0x303, True, 0)


def _contexts(environment: Mapping[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CONTEXTS],
        env={**{name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}, **environment},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()
