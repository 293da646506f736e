"""The configuration: every refusal with its place, defaults as documented, secrets kept out."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.callers.settings import Limits
from gateway.config import config_file, load_config, named_policies
from gateway.core.errors import InvalidConfiguration
from gateway.files.addresses import Health, Listen, UnixListen
from gateway.files.source import parse_document
from tests.support.project import ROOT

DIGEST = hashlib.sha256(b"one").hexdigest()
OTHER = hashlib.sha256(b"two").hexdigest()
MINIMAL = """\
version: 1
listen: 127.0.0.1:8080
upstream:
  url: https://qstash.upstash.io
  token: {file: token}
callers: {keys: []}
policies: policies
audit: {directory: audit}
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(directory: Path, text: str) -> list[str]:
    """The problems of a configuration, as `line:column: message`."""
    path = written(directory, text)
    with pytest.raises(InvalidConfiguration) as raised:
        load_config(path)
    return [str(problem).removeprefix(f"{path}:") for problem in raised.value.problems]


def test_what_is_left_out_is_what_the_documentation_shows(tmp_path: Path) -> None:
    """Only the required keys are needed; everything else has its documented default."""
    config = load_config(written(tmp_path, MINIMAL))
    assert config.listen == (Listen("127.0.0.1", 8080),)
    upstream = config.upstream
    assert (upstream.url, upstream.host) == ("https://qstash.upstash.io", "qstash.upstash.io")
    assert (upstream.contract, upstream.connect_timeout_s, upstream.total_timeout_s) == ("2026-09", 5, 30)
    assert upstream.max_connections == 64
    assert (config.audit.durability, config.audit.stdout, config.audit.mac_key) == ("fsync", False, None)
    assert config.limits == Limits()
    assert asdict(config.limits) == {
        "max_target_bytes": 131072,
        "max_body_bytes": 65536,
        "max_header_bytes": 16384,
        "max_run_ids": 1000,
        "receive_timeout_s": 10,
        "max_in_flight": 256,
        "per_principal": {"in_flight": 16, "requests_per_minute": 600},
        "per_team": {"in_flight": 0},
        "lookup": {"runs": 10000, "seconds": 60},
    }
    assert (config.trusted_proxies, config.shutdown_grace_s, config.keep_alive_s, config.keys) == ((), 35, 75, ())


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    """The directory that the gateway is started in does not matter."""
    config = load_config(written(tmp_path, MINIMAL))
    assert config.policies == tmp_path / "policies"
    assert config.audit.directory == tmp_path / "audit"
    assert config.upstream.token.file == tmp_path / "token"


def test_a_socket_and_its_health_listener_load(tmp_path: Path) -> None:
    """The mode is permission bits, 0660 where nothing is said; the certificate's paths are relative to the file."""
    text = MINIMAL.replace("127.0.0.1:8080", "unix:run/g.sock") + "health: {listen: 127.0.0.1:8081}\n"
    config = load_config(written(tmp_path, text))
    assert config.listen == (UnixListen(tmp_path / "run/g.sock"),)
    assert (config.socket_mode, config.tls) == (0o660, None)
    assert config.health == Health((Listen("127.0.0.1", 8081),))
    tls = load_config(written(tmp_path, MINIMAL + "tls: {certificate: c.pem, key: /k.pem}\n")).tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (tmp_path / "c.pem", Path("/k.pem"))


def test_the_example_holds_the_documented_defaults(tmp_path: Path) -> None:
    """config.example.yaml loads, and differs from the minimal file in nothing but paths."""
    example = load_config(Path(__file__).parents[2] / "config.example.yaml")
    minimal = load_config(written(tmp_path, MINIMAL))
    for name in ("listen", "limits", "keys", "trusted_proxies", "shutdown_grace_s", "keep_alive_s"):
        assert getattr(example, name) == getattr(minimal, name)
    assert example.upstream.contract == minimal.upstream.contract


def test_a_key_is_held_as_its_digest(tmp_path: Path) -> None:
    """The entry's digest becomes bytes; a date is a date with or without quotes; an expired key loads."""
    keys = f"""callers:
  keys:
    - {{id: ci, team: billing, sha256: "{DIGEST}", expires: 2020-01-01}}
    - {{id: ci, team: search, sha256: "{OTHER}", expires: "2027-06-30"}}
"""
    config = load_config(written(tmp_path, MINIMAL.replace("callers: {keys: []}\n", keys)))
    assert config.keys[0].digest == hashlib.sha256(b"one").digest()
    assert [key.expires for key in config.keys] == [dt.date(2020, 1, 1), dt.date(2027, 6, 30)]


ORIGIN = "expected https://host[:port] in lower case and nothing else: no path, query or user"
LOOPBACK = "plain http only to loopback (localhost, 127.0.0.1, [::1]): the token would be readable"
TWICE = "'health' needs an address of its own"
LISTEN = "expected host:port, the host an IP address or localhost, like 127.0.0.1:8080"
REFUSED = {
    "unknown key": ("version: 1", "version: 1\nlimit: {}", "2:1: unknown key 'limit': did you mean 'limits'?"),
    "missing key": ("version: 1\n", "", "1:1: the key 'version' is missing"),
    "another version": ("version: 1", "version: 2", "1:10: expected 1, found 2"),
    "version as text": ("version: 1", 'version: "1"', "1:10: expected a whole number, found text '1': leave the quo"),
    "Unix socket without path": ("127.0.0.1:8080", '"unix:"', "2:9: 'unix:': expected unix:PATH, a path in the file"),
    "Unix socket too long": (
        "127.0.0.1:8080",
        "unix:/" + 107 * "x",
        "2:1: the path of a Unix socket has at most 107 bytes",
    ),
    "mode without quotes": (
        "127.0.0.1:8080",
        "unix:g.sock\nsocket_mode: 0660",
        "3:14: expected text, found '0660' without quotes",
    ),
    "mode in words": (
        "127.0.0.1:8080",
        'unix:g.sock\nsocket_mode: "rw-rw----"',
        "3:14: 'rw-rw----': expected permission bits in octal and quotes, like \"0660\"",
    ),
    "mode with more bits": ("127.0.0.1:8080", 'unix:g.sock\nsocket_mode: "4660"', "3:14: '4660': expected permission"),
    "mode without a Unix socket": ("version: 1", 'version: 1\nsocket_mode: "0660"', "2:1: 'socket_mode' has no effect"),
    "TLS on a Unix socket": (
        "127.0.0.1:8080",
        "unix:g.sock\ntls: {certificate: a, key: b}",
        "3:1: 'tls' does not go with a Unix socket",
    ),
    "TLS without a key": ("version: 1", "version: 1\ntls: {certificate: a}", "2:6: the key 'key' is missing"),
    "metrics on the health listener that is not there": (
        "version: 1",
        "version: 1\nmetrics: {on: health}",
        "2:1: 'metrics: {on: health}' needs 'health'",
    ),
    "metrics in two places": (
        "version: 1",
        'version: 1\nmetrics: {on: health, listen: "127.0.0.1:9464"}\nhealth: {listen: 127.0.0.1:8081}',
        "2:10: expected exactly one of the keys 'on', 'listen'",
    ),
    "metrics on the listener of callers": (
        "version: 1",
        "version: 1\nmetrics: {listen: 127.0.0.1:8080}",
        "2:1: 'metrics' needs an address of its own",
    ),
    "metrics on the health listener by its address": (
        "version: 1",
        "version: 1\nmetrics: {listen: 0.0.0.0:8081}\nhealth: {listen: 127.0.0.1:8081}",
        "2:1: 'metrics' needs an address of its own",
    ),
    "the console on the listener of callers": (
        "version: 1",
        "version: 1\nconsole: {listen: 127.0.0.1:8080}",
        "2:1: 'console' needs an address of its own",
    ),
    "the console on the listener of metrics": (
        "version: 1",
        'version: 1\nconsole: {listen: "127.0.0.1:9464"}\nmetrics: {listen: "127.0.0.1:9464"}',
        "2:1: 'console' needs an address of its own",
    ),
    "the console on every address without a name": (
        "version: 1",
        "version: 1\nconsole: {listen: 0.0.0.0:8082}",
        "2:1: 'console' on 0.0.0.0:8082 needs 'host'",
    ),
    "the console under a URL": (
        "version: 1",
        "version: 1\nconsole: {listen: 127.0.0.1:8082, host: https://console.example.com}",
        "2:41: 'https://console.example.com': expected name[:port]",
    ),
    "the console on a Unix socket": (
        "version: 1",
        "version: 1\nconsole: {listen: unix:c}",
        "2:19: 'unix:c': expected host:port",
    ),
    "health on a Unix socket": (
        "version: 1",
        "version: 1\nhealth: {listen: unix:h}",
        "2:18: 'unix:h': expected host:port",
    ),
    "health on the same address": ("version: 1", "version: 1\nhealth: {listen: 127.0.0.1:8080}", f"2:1: {TWICE}"),
    "health on the same address by name": (
        "version: 1",
        "version: 1\nhealth: {listen: localhost:8080}",
        f"2:1: {TWICE}",
    ),
    "health within every address": ("version: 1", "version: 1\nhealth: {listen: 0.0.0.0:8080}", f"2:1: {TWICE}"),
    "listen on a name": ("127.0.0.1:8080", "gateway.example:8080", f"2:9: 'gateway.example:8080': {LISTEN}"),
    "listen without port": ("127.0.0.1:8080", "127.0.0.1", f"2:9: '127.0.0.1': {LISTEN}"),
    "listen on octal": ("127.0.0.1:8080", "127.0.0.01:8080", "2:9: '127.0.0.01:8080': 127.0.0.01 is not an IP address"),
    "port too large": ("127.0.0.1:8080", "127.0.0.1:65536", "2:9: '127.0.0.1:65536': a port is at most 65535"),
    "final slash": ("upstash.io", "upstash.io/", "4:8: leave out the final '/'"),
    "base path": ("upstash.io", "upstash.io/v2", f"4:8: {ORIGIN}"),
    "query": ("upstash.io", "upstash.io?qstash_token=x", f"4:8: {ORIGIN}"),
    "credentials": ("https://qstash", "https://me:secret@qstash", f"4:8: {ORIGIN}"),
    "upper case": ("https://qstash", "HTTPS://qstash", f"4:8: {ORIGIN}"),
    "plain http": ("https://", "http://", f"4:8: {LOOPBACK}"),
    "loopback look-alike": ("https://qstash.upstash.io", "http://localhost.evil.example", f"4:8: {LOOPBACK}"),
    "loopback as a number": ("https://qstash.upstash.io", "http://0x7f000001", "4:8: 0x7f000001 is not an IP address"),
    "private address": ("https://qstash.upstash.io", "http://10.0.0.1", f"4:8: {LOOPBACK}"),
    "two sources": ("{file: token}", "{file: token, env: T}", "5:10: say where the secret is: exactly one of"),
    "no source": ("{file: token}", "{}", "5:10: say where the secret is: exactly one of"),
    "token in the file": ("{file: token}", '"eyJhbGciOi"', "5:10: expected a mapping, found a single value"),
    "contract as a number": (
        "{file: token}",
        "{file: t}\n  contract: 2025",
        "6:13: expected text, found '2025' without",
    ),
    "unknown contract": ("{file: token}", '{file: t}\n  contract: "2024"', "6:13: '2024': expected 2025 or 2026-09"),
    "octal": ("{file: token}", "{file: t}\n  total_timeout_s: 030", "6:20: expected a whole number in plain digits"),
    "boolean by word": ("audit}", "audit, stdout: no}", "8:35: expected true or false, found 'no'"),
    "durability": ("audit}", "audit, durability: none}", "8:39: 'none': expected fsync or os"),
    "mac key in the file": ("audit}", 'audit, mac_key: "s"}', "8:36: expected a mapping, found a single value"),
    "limit out of range": ("version: 1", "version: 1\nlimits: {max_run_ids: 0}", "2:23: expected 1 to 100000, found 0"),
    "host bits": ("version: 1", 'version: 1\ntrusted_proxies: ["10.0.0.1/8"]', "2:19: '10.0.0.1/8': expected an IP"),
    "duplicate key": ("version: 1", "version: 1\nversion: 1", "2:1: duplicate key 'version'"),
    "list for a mapping": ("{keys: []}", "[]", "6:10: expected a mapping, found a list"),
    "nothing for a path": ("policies: policies", "policies:", "7:10: expected text, found '' without quotes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_is_refused_at_its_place(tmp_path: Path, name: str) -> None:
    """Each fault in an otherwise good file gives exactly one problem, where it stands."""
    old, new, expected = REFUSED[name]
    assert old in MINIMAL
    assert [fault[: len(expected)] for fault in faults(tmp_path, MINIMAL.replace(old, new, 1))] == [expected]


KEY = f'{{id: ci, team: a, sha256: "{DIGEST}"}}'
REFUSED_KEYS = {
    "placeholder": (f"[{KEY.replace(DIGEST, '0' * 64)}]", "6:44: this is a placeholder"),
    "upper case": (f"[{KEY.replace(DIGEST, DIGEST.upper())}]", "6:44: expected a SHA-256 as 64 lower-case hex digits"),
    "too short": (f"[{KEY.replace(DIGEST, DIGEST[1:])}]", "6:44: expected a SHA-256 as 64 lower-case hex digits"),
    "team by word": (f"[{KEY.replace('a,', 'no,')}]", "6:33: expected text, found 'no' without quotes"),
    "team as pattern": ("[" + KEY.replace("a,", '"*",') + "]", "6:33: '*': expected a team"),
    "id with underscore": (f"[{KEY.replace('ci', 'c_i')}]", "6:23: 'c_i': expected a key id"),
    "same digest": (f"[{KEY}, {KEY.replace('ci', 'cd')}]", "6:113: the same digest stands in line 6 already"),
    "same team and id": (
        f"[{KEY}, {KEY.replace(DIGEST, OTHER)}]",
        "6:113: the same team and id stands in line 6 already",
    ),
}


@pytest.mark.parametrize("name", REFUSED_KEYS)
def test_a_faulty_key_entry_is_refused_at_its_place(tmp_path: Path, name: str) -> None:
    """Placeholders, look-alikes and keys that two callers share do not load."""
    keys, expected = REFUSED_KEYS[name]
    assert [fault[: len(expected)] for fault in faults(tmp_path, MINIMAL.replace("[]", keys))] == [expected]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{file: token}", "s3cr3t-token-value"),
        ("{file: token}", "{env: s3cr3t-token-value}"),
        ("{keys: []}", "{keys: [{id: a, team: a, sha256: s3cr3t-token-value}]}"),
        ("https://", "https://s3cr3t-token-value@"),
    ],
)
def test_a_secret_pasted_into_the_file_is_not_repeated(tmp_path: Path, old: str, new: str) -> None:
    """Problems go to terminals and CI logs, so they never quote a value that may be a secret."""
    assert "s3cr3t" not in "".join(faults(tmp_path, MINIMAL.replace(old, new)))


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """A file with five faults is corrected in one go."""
    text = MINIMAL.replace("version: 1", "version: 01").replace("8080", "x").replace("https", "ftp")
    text = text.replace("{keys: []}", "{key: []}").replace("audit}", "audit, stdout: off}")
    assert [fault.partition(":")[0] for fault in faults(tmp_path, text)] == ["1", "2", "4", "6", "8"]


def test_a_missing_file_is_a_problem_of_that_file(tmp_path: Path) -> None:
    """A wrong path is said like any other fault."""
    with pytest.raises(InvalidConfiguration, match=r"absent\.yaml:1:1: cannot be read: No such file"):
        load_config(tmp_path / "absent.yaml")


def test_the_policies_are_found_in_a_faulty_configuration(tmp_path: Path) -> None:
    """So that `check` can report the faults of both at once."""
    assert named_policies(written(tmp_path, "policies: p\nversion: x\n")) == tmp_path / "p"
    assert named_policies(written(tmp_path, "policies: [\n")) is None


@given(st.text(alphabet="versionlistenkeyspoca: {}[]\"'-1~0.\n"), st.integers(0, len(MINIMAL)), st.integers(0, 20))
def test_loading_any_text_is_total(text: str, start: int, length: int) -> None:
    """A good file with any change in any place is read or refused with problems, and nothing else happens."""
    changed = MINIMAL[:start] + text + MINIMAL[start + length :]
    try:
        node, problems = parse_document("f.yaml", changed.encode())
    except InvalidConfiguration:
        return
    raw = config_file().read(node, problems)
    assert raw is not None or problems


def test_the_collector_of_traces_is_a_base_url(tmp_path: Path) -> None:
    """Plain http may go anywhere: traces hold no secret. Without the key there is none."""
    assert load_config(written(tmp_path, MINIMAL)).telemetry is None
    for url in ("http://127.0.0.1:4318", "http://collector.example:4318", "https://otlp.example"):
        assert load_config(written(tmp_path, f'{MINIMAL}telemetry: {{otlp: "{url}"}}\n')).telemetry == url
    for url in ("http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318", "ftp://a", "http://user@a:1", "http://a:4318/"):
        [fault] = faults(tmp_path, f'{MINIMAL}telemetry: {{otlp: "{url}"}}\n')
        assert fault.startswith("9:19: ")
    assert faults(tmp_path, f"{MINIMAL}telemetry: {{}}\n") == ["9:12: the key 'otlp' is missing"]


def test_traces_without_what_sends_them_are_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    """At the place of the key; without the key nobody misses it."""
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    (lacking / "opentelemetry.py").write_text("")
    path = written(tmp_path, f'{MINIMAL}telemetry: {{otlp: "http://127.0.0.1:4318"}}\n')
    ran = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "--config", str(path)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{lacking}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3
    assert f"{path}:9:12: traces need the extra 'otel', which is not installed" in ran.stdout + ran.stderr
    assert "pip install 'qstash-gateway[otel]'" in ran.stdout + ran.stderr


def test_operators_need_a_place_where_freezes_outlive_the_process(tmp_path: Path) -> None:
    """With one they are teams; without, the file is refused and the sentence says what to add."""
    operators, state = "operators: {teams: [platform, sre]}\n", 'state: {url: "sqlite:state.db"}\n'
    assert load_config(written(tmp_path, MINIMAL)).operators == ()
    assert load_config(written(tmp_path, f"{MINIMAL}{state}{operators}")).operators == ("platform", "sre")
    [fault] = faults(tmp_path, f"{MINIMAL}{operators}")
    assert "add 'state:" in fault
    assert faults(tmp_path, f"{MINIMAL}{state}operators: {{teams: []}}\n") == ["10:20: the list is empty"]
