"""The section `notify` of the configuration: who is told, and never a place inside by accident."""

from __future__ import annotations

import base64
import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.cli.policies import check
from gateway.config import load_config
from gateway.core.errors import InvalidConfiguration
from gateway.fleet.joining import read_receivers
from gateway.notices.settings import ReceiverSettings, WebhookUrl
from gateway.state.notices import EVENTS
from tests.config.test_commands import POLICY
from tests.config.test_state import MINIMAL

STATE = 'state: {url: "sqlite:state.db"}\n'
SIGNED = "secret: {file: secret}"
GOOD = b"whsec_" + base64.b64encode(bytes(range(32))) + b"\n"
SLACK = "https://hooks.slack.com/services/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N"


def loaded(directory: Path, entry: str, more: str = STATE) -> tuple[ReceiverSettings, ...]:
    path = directory / "gateway.yaml"
    path.write_text(f"{MINIMAL}{more}notify:\n  - {entry}\n")
    return load_config(path).notify


def faults(directory: Path, entry: str, more: str = STATE) -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        loaded(directory, entry, more)
    return "\n".join(f"{one.line}:{one.column}: {one.message}" for one in caught.value.problems)


def unreadable(directory: Path, entry: str) -> str:
    """What is wrong with the files that an entry names."""
    with pytest.raises(InvalidConfiguration) as caught:
        read_receivers(loaded(directory, entry))
    return "\n".join(f"{one.line}:{one.column}: {one.message}" for one in caught.value.problems)


def written(directory: Path, name: str, content: bytes) -> None:
    (directory / name).write_bytes(content)
    (directory / name).chmod(0o600)


def test_without_the_key_nobody_is_told(tmp_path: Path) -> None:
    """And nothing is read."""
    path = tmp_path / "gateway.yaml"
    path.write_text(MINIMAL)
    assert load_config(path).notify == ()
    assert read_receivers(()) == ()


def test_a_receiver_is_read(tmp_path: Path) -> None:
    """Paths are relative to the file; without `events` it is told of everything, as CloudEvents."""
    [one] = loaded(tmp_path, f'{{url: "https://hooks.example.com:8443/in?team=a", {SIGNED}}}')
    assert one.url == WebhookUrl("https://hooks.example.com:8443", "hooks.example.com", 8443, "/in?team=a")
    assert (one.secret, one.format, one.events, one.networks) == (tmp_path / "secret", "cloudevents", EVENTS, ())
    entry = f'{{url: "http://127.0.0.1:9000", {SIGNED}, format: slack, events: [freeze], networks: [127.0.0.1]}}'
    [one] = loaded(tmp_path, entry)
    assert one.url == WebhookUrl("http://127.0.0.1:9000", "127.0.0.1", 9000, "/")
    assert (one.format, one.events, one.networks) == ("slack", ("freeze",), (ip_network("127.0.0.1"),))
    [one] = loaded(tmp_path, "{url: {file: slack-url}, format: slack}")
    assert (one.url, one.secret) == (tmp_path / "slack-url", None)


def test_what_is_kept_until_it_is_delivered_needs_a_store(tmp_path: Path) -> None:
    """Said at the key."""
    told = faults(tmp_path, f'{{url: "https://b.example/", {SIGNED}}}', more="")
    assert told.startswith("7:1: what is not delivered yet")
    assert "add 'state: {url: \"sqlite:state.db\"}'" in told


def test_events_are_signed_and_slack_may_be(tmp_path: Path) -> None:
    """It is its URL that Slack trusts."""
    assert "the key 'secret' is missing" in faults(tmp_path, '{url: "https://b.example/"}')
    assert loaded(tmp_path, '{url: "https://b.example/", format: slack}')[0].secret is None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/in",
        "https://user:HUNTER2@hooks.example.com/in",
        "https://hooks.example.com/in#HUNTER2",
        "https://Hooks.example.com/in",
        "https://hooks.example.com:0/in",
        "https://hooks.example.com:99999/in",
        "https:///HUNTER2",
        "ftp://hooks.example.com/in",
        "file:///etc/HUNTER2",
        "https://hooks.example.com/HUNTER2 in",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks..example.com/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://[::1/",
        "https://[::ffff:127.0.0.1]x/",
        "https://[fe80::1%eth0]/",
        "HUNTER2",
    ],
)
def test_another_url_is_an_error_that_shows_nothing_of_it(tmp_path: Path, url: str) -> None:
    """An address that is not written in full would be read one way here and another way elsewhere."""
    told = faults(tmp_path, f"{{url: '{url}', {SIGNED}, networks: [127.0.0.0/8, \"::/0\"]}}")
    assert told.startswith("9:11: ")
    assert "HUNTER2" not in told


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "[::1]", "[::ffff:a9fe:a9fe]", "[fd00::1]"]
)
def test_an_address_inside_has_to_be_meant(tmp_path: Path, host: str) -> None:
    """By naming its network; the message says how."""
    entry = f'url: "https://{host}/in", {SIGNED}'
    bare = host.strip("[]")
    assert f"{bare} is no public address: if it is meant, add it to 'networks'" in faults(tmp_path, f"{{{entry}}}")
    meant = "169.254.169.254" if "a9fe" in bare else bare
    assert loaded(tmp_path, f'{{{entry}, networks: ["{meant}"]}}')


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("events: []", "the list is empty"),
        ("events: [freeze, freeze]", "the same event stands in line 9 already"),
        ("events: [thaw]", "expected approval or freeze"),
        ("format: xml", "expected cloudevents or slack"),
        ("networks: [10.0.0.1/8]", "without host bits"),
        ("HUNTER2: x", "unknown key (not shown, it may be a secret)"),
    ],
)
def test_another_value_is_an_error(tmp_path: Path, entry: str, told: str) -> None:
    """At its place."""
    found = faults(tmp_path, f'{{url: "https://b.example/", {SIGNED}, {entry}}}')
    assert told in found
    assert "HUNTER2" not in found


def test_one_url_stands_once(tmp_path: Path) -> None:
    """In the configuration, or in the files that it names: its events belong together."""
    entry = f'{{url: "https://b.example/in", {SIGNED}}}'
    assert "the same URL stands in line 9 already" in faults(tmp_path, f"{entry}\n  - {entry}")
    written(tmp_path, "url", b"https://b.example/in\n")
    written(tmp_path, "secret", GOOD)
    told = unreadable(tmp_path, f"{entry}\n  - {{url: {{file: url}}, {SIGNED}}}")
    assert told.startswith("10:5: another entry of 'notify' has this URL already")


def test_a_url_that_is_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """As Slack's does; it is not shown, whatever prints the receiver."""
    written(tmp_path, "slack-url", SLACK.encode() + b"\n")
    [one] = read_receivers(loaded(tmp_path, "{url: {file: slack-url}, format: slack}"))
    assert one.url.target == SLACK.removeprefix("https://hooks.slack.com")
    assert "HUNTER2" not in f"{one!r}{one.settings!r}{one.url!r}{one.name}"
    with pytest.raises(TypeError):
        one.__reduce__()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"HUNTER2", "holds no URL of a receiver: expected https://"),
        (b"https://10.0.0.1/HUNTER2", "10.0.0.1 is no public address"),
        (b"http://b.example/HUNTER2", "plain http only to loopback"),
        (b"\xff\xfeHUNTER2", "holds no URL of a receiver"),
        (b"https://b.example/" + b"HUNTER2" * 1000, "is larger than"),
    ],
)
def test_a_file_that_holds_no_url_is_an_error_that_shows_nothing_of_it(
    tmp_path: Path, content: bytes, why: str
) -> None:
    """At the entry that names it."""
    written(tmp_path, "url", content)
    told = unreadable(tmp_path, "{url: {file: url}, format: slack}")
    assert told.startswith("9:5: ")
    assert why in told
    assert "HUNTER2" not in told


def test_a_secret_that_cannot_be_one_is_an_error_that_does_not_show_it(tmp_path: Path) -> None:
    """As is one that is not there."""
    entry = f'{{url: "https://b.example/", {SIGNED}}}'
    assert "the file" in unreadable(tmp_path, entry)
    for content in (b"HUNTER2", b"whsec_HUNTER2", b"whsec_" + base64.b64encode(b"HUNTER2")):
        written(tmp_path, "secret", content)
        told = unreadable(tmp_path, entry)
        assert told.startswith("9:5: the secret ")
        assert "HUNTER2" not in told
    written(tmp_path, "secret", GOOD)
    assert len(read_receivers(loaded(tmp_path, entry))) == 1


def test_check_says_what_serve_would_refuse_and_who_could_read_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is none, at its place and without a value of the line; and files that everyone may read."""
    written(tmp_path, "token", b"a-real-token")
    written(tmp_path, "secret", b"HUNTER2")
    written(tmp_path, "url", SLACK.encode())
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "t.yaml").write_text(POLICY)
    (tmp_path / "var").mkdir()
    loaded(tmp_path, f'{{url: "https://b.example/HUNTER2", {SIGNED}}}\n  - {{url: {{file: url}}, format: slack}}')
    command = ["check", "--config", str(tmp_path / "gateway.yaml")]
    assert main(command) == 3
    said = capsys.readouterr().out
    assert ":9:5: the secret" in said
    assert "is shorter than 24 bytes" in said
    assert "HUNTER2" not in said
    written(tmp_path, "secret", GOOD)
    monkeypatch.setattr(check, "anyone_may_read", lambda path: path.name in ("secret", "url"))
    assert main(command) == 0
    said = capsys.readouterr().out
    assert len(re.findall("readable-by-all|which holds a secret", said)) >= 2
    assert "HUNTER2" not in said


def test_gateways_that_share_a_store_know_a_receiver_by_the_same_name(tmp_path: Path) -> None:
    """Wherever its URL stands; its secret, format and events may differ for a while."""
    written(tmp_path, "secret", GOOD)
    written(tmp_path, "url", b"https://b.example/in")
    entries = [
        f'{{url: "https://b.example/in", {SIGNED}}}',
        f"{{url: {{file: url}}, {SIGNED}, events: [freeze]}}",
        f'{{url: "https://b.example/in2", {SIGNED}}}',
    ]
    names = [read_receivers(loaded(tmp_path, entry))[0].name for entry in entries]
    assert names[0] == names[1] != names[2]
