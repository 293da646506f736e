"""The listener's certificate: when it ends, when it is refused, and that a renewed one needs no restart."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from gateway.cli.policies import check
from gateway.config import load_config
from gateway.core.errors import InvalidConfiguration
from gateway.files.addresses import TlsFiles
from gateway.files.nodes import Place
from gateway.policy.format.load import load_policies
from gateway.serving.certificate import ServedCertificate, load_pair
from gateway.simulator.server import SimulatorServer
from tests.cli.configs import CONFIG, write
from tests.cli.running import command
from tests.serving.doors import CANCEL, ask, certified, over_tls
from tests.support.gateway import RunningGateway, Setup
from tests.support.stand_ins import Lines
from tests.upstream.authority import Authority, new_authority

Dates = Callable[[str, str], TlsFiles]
NOW = datetime(2031, 5, 17, 12, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
START, END = "20310501000000Z", "20310601000000Z"
BEGINS, ENDS = datetime(2031, 5, 1, tzinfo=UTC), datetime(2031, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("certificates") / "authority")


@pytest.fixture
def dated(authority: Authority, tmp_path: Path) -> Dates:
    """Makes a certificate that is in force between two dates, in files of its own."""

    def made(start: str, end: str) -> TlsFiles:
        authority.server("IP:127.0.0.1", start=start, end=end)
        files = tls_files(tmp_path / "server.pem", tmp_path / "server.key")
        for path in (files.certificate, files.key):
            path.write_bytes((authority.folder / path.name.replace("server", "leaf")).read_bytes())
        return files

    return made


def tls_files(certificate: Path, key: Path) -> TlsFiles:
    return TlsFiles(certificate, key, Place("config.yaml", 3, 6))


def refused(files: TlsFiles, now: datetime) -> list[str]:
    with pytest.raises(InvalidConfiguration) as raised:
        load_pair(files, now)
    return [str(problem).replace(str(files.certificate.parent), "") for problem in raised.value.problems]


def test_a_certificate_is_used_from_its_first_second_to_its_last(dated: Dates) -> None:
    """What is not in force is refused, with its day, its place, and a doubt about the clock where that may be wrong."""
    files = dated(START, END)
    assert [load_pair(files, now).ends for now in (BEGINS, NOW, ENDS - SECOND)] == [ENDS] * 3
    assert refused(files, ENDS) == [
        "config.yaml:3:6: the certificate /server.pem ended on 2031-06-01 00:00 UTC: renew it"
    ]
    [early] = refused(files, BEGINS - SECOND)
    assert early.startswith("config.yaml:3:6: the certificate /server.pem is valid from 2031-05-01 00:00 UTC on,")
    assert early.endswith(" it is 2031-04-30 23:59 UTC now: is this machine's clock right?")


def test_of_a_chain_the_first_that_ends_counts(dated: Dates, authority: Authority) -> None:
    """Clients check every certificate that they are sent."""
    files = dated("20200101000000Z", "20991231235959Z")
    files.certificate.write_bytes(files.certificate.read_bytes() + authority.root.read_bytes())
    root = load_pem_x509_certificate(authority.root.read_bytes())
    ends = root.not_valid_after_utc
    assert load_pair(files, ends - SECOND).ends == ends
    [problem] = refused(files, ends)
    assert "the certificate /server.pem (number 2 of the chain in it) ended on" in problem


def test_the_end_is_a_notice_fourteen_days_before(dated: Dates) -> None:
    """As for keys and tokens: not a day earlier, and for as long as nobody renews it."""
    now = [NOW]
    served = ServedCertificate(dated(START, END), lambda: now[0])
    said = []
    for now[0] in (ENDS - timedelta(days=15), ENDS - timedelta(days=14), ENDS, ENDS + timedelta(days=1)):
        said.append((served.notice or "").rpartition(".pem ")[2])
    assert said == ["", "ends on 2031-06-01", "ends on 2031-06-01", "ended on 2031-06-01"]


def test_check_names_a_certificate_that_soon_ends(dated: Dates, tmp_path: Path) -> None:
    """The same words as in `/readyz`, where the configuration names the file; it fails nothing."""
    files = dated(START, END)
    path = write(tmp_path, config=f"{CONFIG}tls: {{certificate: {files.certificate}, key: {files.key}}}\n")
    config = load_config(path)
    policies = load_policies(config.policies)
    said = []
    for now in (ENDS - timedelta(days=15), ENDS - timedelta(days=14)):
        found = [one for one in check.findings_of(path, config, policies, now=now) if one.id == "certificate-expires"]
        said += [(one.place.line, one.message) for one in found]
    assert said == [(12, f"The TLS certificate {files.certificate} ends on 2031-06-01.")]


def spoken(context: ssl.SSLContext) -> datetime:
    """When the certificate ends that a client sees in a handshake with this context."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), context
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(6):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    der = ours.getpeercert(binary_form=True)
    assert der is not None
    return load_pem_x509_certificate(ssl.DER_cert_to_PEM_cert(der).encode()).not_valid_after_utc


def test_a_renewed_pair_is_used_for_the_next_handshake(dated: Dates) -> None:
    """Whatever is wrong with the new files, the last good pair stays, and says so; a good one takes the notice away."""
    files, notes = dated(START, END), Lines()
    served = ServedCertificate(files, lambda: NOW)
    old_key = files.key.read_bytes()
    assert spoken(served.context) == ENDS
    dated(START, "20320101000000Z")
    new_key = files.key.read_bytes()
    files.key.write_bytes(old_key)
    served.watched.check(notes)
    assert spoken(served.context) == ENDS
    assert "is not that of the certificate" in str(served.watched.notice)
    files.key.write_bytes(new_key)
    served.watched.check(notes)
    assert spoken(served.context) == datetime(2032, 1, 1, tzinfo=UTC)
    assert (served.watched.notice, served.notice) == (None, None)
    dated(START, "20310502000000Z")
    served.watched.check(notes)
    assert spoken(served.context) == datetime(2032, 1, 1, tzinfo=UTC)
    assert "ended on 2031-05-02" in str(served.watched.notice)
    assert [event for event, _ in notes.said] == ["reload_failed", "reloaded", "reload_failed"]


@pytest.mark.parametrize(
    ("start", "end"), [("20100101000000Z", "20110101000000Z"), ("20980101000000Z", "20990101000000Z")]
)
def test_check_and_serve_refuse_what_is_not_in_force(dated: Dates, tmp_path: Path, start: str, end: str) -> None:
    """Exit code 3, and the sentence at the place that names the files."""
    files = dated(start, end)
    config = f"{CONFIG}tls: {{certificate: {files.certificate}, key: {files.key}}}\n"
    path = write(tmp_path, config=config)
    for done in (command("check", "--config", str(path)), command("serve", "--config", str(path))):
        said = done.stdout + done.stderr
        assert done.returncode == 3
        assert f"{path}:12:6: the certificate {files.certificate} " in said
        assert ("ended on 2011-01-01" in said) == (start < "2020")


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    certificate, key = certified(tmp_path)
    tls = f"tls: {{certificate: {certificate}, key: {key}}}\n"
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", more=tls)) as running:
        yield running


def test_a_gateway_serves_a_renewed_certificate_and_keeps_its_connections(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    """`/readyz` names the end; a connection that is open stays so, the next one gets the new certificate."""
    certificate = tmp_path / "server.pem"
    old = certificate.read_bytes()
    open_since_before = over_tls(gateway, certificate)
    notices = ask(over_tls(gateway, certificate), "GET", "/readyz").json()["notices"]
    assert str(notices).startswith(f"['the TLS certificate {certificate} ends on ")
    certified(tmp_path)
    while "reloaded" not in gateway.stderr():
        assert gateway.process.poll() is None
    assert ask(over_tls(gateway, certificate), "DELETE", CANCEL, gateway.key()).status == 200
    assert ask(open_since_before, "DELETE", CANCEL.replace("_1", "_2"), gateway.key()).status == 200
    certificate.write_bytes(old)
    with pytest.raises(ssl.SSLCertVerificationError):
        over_tls(gateway, certificate)


def test_a_key_that_tls_finds_too_short_is_said_so(tmp_path: Path) -> None:
    """It is no matter of the file's form."""
    certificate, key = tmp_path / "weak.pem", tmp_path / "weak.key"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "2", "-subj", "/CN=gateway"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    [problem] = refused(tls_files(certificate, key), datetime.now(UTC) + SECOND)
    assert "is too weak" in problem
