"""`cancel` and `probe --url`: how a person names a gateway, and what they read where none can be reached there."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli.cancel.reached import unreached
from tests.cli.fake_gateway import FakeGateway, Said, fake_gateway
from tests.cli.running import Done, command
from tests.support.gateway import RunningGateway, Setup
from tests.upstream.authority import Authority, new_authority

KEY = "qgk_ann_made-up-key-of-this-test"
PASSWORD = "hunter2hunter2"
EXAMPLE = "expected https://host[:port] and nothing else, like https://gateway.example.com"
DEAD = "http://127.0.0.1:1"


def cancel(url: str, *arguments: str, **environment: str) -> Done:
    """A dry run of `cancel` at an address."""
    env = {"QSTASH_GATEWAY_URL": url, "QSTASH_GATEWAY_KEY": KEY, **environment}
    return command("cancel", "--label", "a", "--dry-run", *arguments, env=env)


def both(url: str, *arguments: str, **environment: str) -> Iterator[Done]:
    """Both commands that take an address."""
    yield cancel(url, *arguments, **environment)
    yield command("probe", "--url", url, *arguments, env=environment)


WRONG = {
    f"{DEAD}/gateway/v1": "holds a path",
    f"{DEAD}?team=a": "holds a query",
    f"{DEAD}#a": "holds a fragment",
    f"http://me:{PASSWORD}@127.0.0.1:1": "holds a user or password",
    f"https://me:{PASSWORD}@gateway.example/a?b#c": "holds a user or password, and a path, and a query, and a fragment",
    "gateway.example.com": "has no scheme, https:// before the host",
    "127.0.0.1:8080": "has no scheme, https:// before the host",
    "ftp://gateway.example.com": "has another scheme than https://",
    "https://Gateway.example.com": "is not in lower case",
    " https://gateway.example.com": "holds a space or another sign that no address has",
    "https://gateway.example.com:99999": "has no host or port that could be one",
    "https://": "has no host or port that could be one",
}


@pytest.mark.parametrize("url", WRONG)
def test_an_address_that_is_none_is_told_what_is_wrong_with_it(url: str) -> None:
    """And what it should look like, with exit code 2; not a word of it is repeated: it may hold a secret."""
    for done, name in zip(both(url), ("QSTASH_GATEWAY_URL", "--url"), strict=True):
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{name} {WRONG[url]}: {EXAMPLE}" in done.stderr
        assert PASSWORD not in done.stderr
        assert "--allow-http sends" not in done.stderr


def test_plain_http_beyond_loopback_is_refused_with_the_option_that_allows_it() -> None:
    """Exit code 2, before anything is sent."""
    for done in both("http://gateway.example.com"):
        assert done.returncode == 2
        assert "plain http beyond loopback" in done.stderr
        assert "--allow-http" in done.stderr.splitlines()[-1]


@dataclass(frozen=True)
class Private:
    """A gateway whose certificate a private authority made, for 127.0.0.1."""

    gateway: RunningGateway
    ca: str
    strange_ca: str

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self.gateway.port}"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """The authority of the gateway's certificate, and one that has nothing to do with it."""
    first, other = (new_authority(tmp_path_factory.mktemp("ca") / name) for name in ("first", "other"))
    first.server("IP:127.0.0.1")
    return first, other


@pytest.fixture(scope="module")
def private(authorities: tuple[Authority, Authority], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    """One for all tests here: none of them changes it."""
    ours, other = authorities
    tls = f"tls: {{certificate: {ours.folder / 'leaf.pem'}, key: {ours.folder / 'leaf.key'}}}\n"
    setup = Setup("http://127.0.0.1:9", tmp_path_factory.mktemp("private") / "gateway", more=tls)
    with RunningGateway(setup) as gateway:
        yield Private(gateway, str(ours.root), str(other.root))


def test_a_private_authority_is_named_by_option_or_environment(private: Private) -> None:
    """The option goes before the environment; then the gateway answers as any other."""
    for arguments, env in (
        (["--ca-file", private.ca], {}),
        ([], {"QSTASH_GATEWAY_CA": private.ca}),
        (["--ca-file", private.ca], {"QSTASH_GATEWAY_CA": private.strange_ca}),
    ):
        refused, probed = both(private.url, *arguments, **env)
        assert "Send a gateway key of your team, or a token that the gateway accepts" in refused.stderr
        assert (probed.returncode, probed.stdout, probed.stderr) == (0, "", "")


def test_a_certificate_that_is_not_trusted_is_said_with_the_option(private: Private) -> None:
    """In plain words, under no authority and under another one; no key is sent."""
    for env in ({}, {"QSTASH_GATEWAY_CA": private.strange_ca}):
        before = len(private.gateway.records())
        for done in both(private.url, **env):
            assert done.returncode == 1
            assert "is not trusted (" in done.stderr
            assert "--ca-file PATH or QSTASH_GATEWAY_CA" in done.stderr
            assert "[SSL" not in done.stderr
            assert "_ssl.c" not in done.stderr
        assert len(private.gateway.records()) == before


def test_a_certificate_for_another_name_is_no_matter_of_trust(private: Private) -> None:
    """No option would help, so none is named."""
    for done in both(private.url.replace("127.0.0.1", "localhost"), "--ca-file", private.ca):
        assert done.returncode == 1
        assert "is for another name" in done.stderr
        assert "--ca-file PATH" not in done.stderr


def test_a_file_without_a_certificate_is_a_usage_error(private: Private, tmp_path: Path) -> None:
    """Missing, empty, no PEM, one that anyone may write: nothing is sent; the public roots do not take its place."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    (tmp_path / "open").write_bytes(Path(private.ca).read_bytes())
    (tmp_path / "open").chmod(0o666)
    for name, says in {
        "absent": "cannot be read: No such file",
        "empty": "holds no certificate in PEM",
        "text": "holds no certificate in PEM",
        "open": "anyone on this machine could change it",
    }.items():
        path = str(tmp_path / name)
        for done in (*both(private.url, "--ca-file", path), *both(private.url, QSTASH_GATEWAY_CA=path)):
            assert (done.returncode, done.stdout) == (2, ""), name
            assert f"the file {path} (" in done.stderr
            assert says in done.stderr


PASTED_KEY = "qgk_billing-key_" + "aB3-_dEfGh" * 4 + "xyz"


def test_a_key_pasted_in_the_place_of_a_path_is_not_shown(private: Private, tmp_path: Path) -> None:
    """As the file of the authority, by option or variable, or as a socket, alone or in directories."""
    for path in (PASTED_KEY, f"{tmp_path}/{PASTED_KEY}", f"{tmp_path}/{PASTED_KEY}/{PASTED_KEY}.pem"):
        for done in (
            *both(private.url, "--ca-file", path),
            *both(private.url, QSTASH_GATEWAY_CA=path),
            *both(f"unix:{path}"),
        ):
            assert done.returncode in (1, 2)
            assert "its name is not shown" in done.stderr
            pieces = {PASTED_KEY[at : at + 10] for at in range(len(PASTED_KEY) - 9)}
            assert not [piece for piece in pieces if piece in done.stdout + done.stderr]


def test_a_path_moves_no_terminal(private: Private, tmp_path: Path) -> None:
    """Whatever signs it holds, and whether it exists or not."""
    there = tmp_path / "\x1b[2Jthere\u202e"
    there.write_bytes(b"")
    for path in (there, tmp_path / "\x1b[2J\u202e\x9b31m"):
        for done in (
            *both(private.url, "--ca-file", str(path)),
            *both(private.url, QSTASH_GATEWAY_CA=str(path)),
            *both(f"unix:{path}"),
        ):
            assert done.returncode in (1, 2)
            assert all(sign.isprintable() or sign == "\n" for sign in done.stdout + done.stderr)


def test_the_authority_goes_with_an_address(private: Private) -> None:
    """The gateway of a configuration is asked on this machine, without its name; the option would do nothing."""
    config = private.gateway.setup.directory / "config.yaml"
    done = command("probe", "--config", str(config), "--ca-file", private.ca)
    assert (done.returncode, "--ca-file goes with --url" in done.stderr) == (2, True)


def test_where_nothing_listens_that_is_said(tmp_path: Path) -> None:
    """A closed port, a socket that is not there, a file that is no socket; no library's words."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (tmp_path / "file").write_text("")
    for url, says in {
        f"http://127.0.0.1:{port}": "nothing listens",
        f"http://localhost:{port}": "nothing listens",
        f"unix:{tmp_path}/none": "there is no such file",
        f"unix:{tmp_path}/file": "nothing listens",
    }.items():
        for done in both(url):
            assert (done.returncode, done.stdout) == (1, "")
            assert says in done.stderr
            assert url in done.stderr
            assert "Errno" not in done.stderr
            assert "Error" not in done.stderr


def test_a_host_that_is_unknown_is_said_as_that() -> None:
    """Whatever a library put around the resolver's error."""
    fault = OSError("All connection attempts failed")
    fault.__cause__ = ExceptionGroup("two addresses", [socket.gaierror(socket.EAI_NONAME, "Name or service not known")])
    assert unreached(fault, there="there", within_s=5) == "nothing is found there: its host name is not known"


@contextmanager
def server(says: Mapping[str, tuple[Said, ...]]) -> Iterator[FakeGateway]:
    """Something that answers, and is no gateway."""
    with fake_gateway(says) as fake:
        yield fake


@pytest.mark.parametrize(
    "said",
    [
        pytest.param((200, b"<html>Welcome</html>"), id="web-page"),
        pytest.param((200, {}), id="empty-object"),
        pytest.param((200, {"status": "UP"}), id="another-service"),
        pytest.param((200, []), id="list"),
        pytest.param((404, {"error": "none"}), id="not-found"),
        pytest.param((404, b""), id="empty-not-found"),
        pytest.param((0, b""), id="hung-up"),
    ],
)
def test_what_answers_and_is_no_gateway_is_not_ready(said: Said) -> None:
    """Whatever its status: only a page that says its state is a gateway's."""
    with server({"GET /readyz": (said,)}) as other:
        done = command("probe", "--url", other.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"not ready: what answers at {other.url} is no gateway")
    assert "Error" not in done.stderr


def test_a_server_without_tls_is_told_from_one_without_trust() -> None:
    """https:// to a plain port names the other scheme, not the certificates."""
    with server({}) as other:
        for done in both(other.url.replace("http:", "https:")):
            assert done.returncode == 1
            assert "does not speak TLS; perhaps it is an http:// address" in done.stderr
            assert "--ca-file" not in done.stderr


def test_a_listener_with_tls_that_is_asked_without_names_the_other_scheme(private: Private) -> None:
    """http:// to a TLS port."""
    for done in both(private.url.replace("https:", "http:")):
        assert done.returncode == 1
        assert "perhaps it is an https:// address" in done.stderr


def test_what_a_stranger_says_moves_no_terminal() -> None:
    """The reason of a page is shown with its control characters spelled out."""
    with server({"GET /readyz": ((503, {"reason": "\x1b[2J\ttab"}),)}) as other:
        done = command("probe", "--url", other.url)
    assert (done.returncode, done.stderr) == (1, "not ready: \\x1b[2J\\ttab\n")


def test_a_key_that_is_not_accepted_says_what_to_do(gateway: RunningGateway) -> None:
    """Where the key stands, and whom to ask; the sentence is the same for every cause."""
    wrong, none = cancel(gateway.url), gateway.request("GET", "/gateway/v1/whoami", team=None)
    assert wrong.returncode == 1
    assert "ask the gateway's operators for a key" in wrong.stderr
    assert "QSTASH_GATEWAY_KEY: put another key there." in wrong.stderr
    sentence = str(none.json()["error"])
    assert wrong.stderr.startswith(sentence)
    assert "Authorization: Bearer <key>" in sentence
