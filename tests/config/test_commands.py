"""`check` says everything that `serve` would refuse; `keys new` makes what `check` accepts."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import re
import time
from pathlib import Path

import pytest

from gateway.app import build
from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.authoring.cases import check_cases
from gateway.cli import keys
from gateway.cli.policies import check
from gateway.config import load_config
from gateway.core.errors import AuditFailure, InvalidConfiguration
from gateway.files.source import anyone_may_read
from gateway.policy.format.load import load_policies

TODAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CONFIG = """\
version: 1
listen: 127.0.0.1:0
upstream:
  url: https://qstash.upstash.io
  token: {file: token}
callers: {keys: []}
policies: policies
audit: {directory: audit}
"""
POLICY = """\
version: 1
name: t
teams: [a]
allow:
  - {id: bounded, workflowUrl: {exact: ["https://a.example/b"]}, count: {cap: 5}}
  - {id: unbounded, label: {any_of: [x]}}
  - {id: by-id, workflowRunIds: {max: 5}, count: {max: 3}, owner: unchecked}
require:
  - {id: few, count: {max: 9}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that `serve` accepts."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "token").write_text("a-real-token\n")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "t.yaml").write_text(POLICY)
    return tmp_path / "config.yaml"


def run(*arguments: str) -> int:
    """The exit code of a command line."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(required=True)
    check.register(subparsers)
    keys.register(subparsers)
    parsed = parser.parse_args(arguments)
    code: int = parsed.run(parsed)
    return code


def checked(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of `check` and its lines, paths cut, without the lines of the files that it shows."""
    code = run("check", "--config", str(config))
    lines = capsys.readouterr().out.replace(f"{config.parent}/", "").splitlines()
    return code, [line for line in lines if not line.startswith("    ")]


def test_a_good_configuration_is_summed_up(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, with the digest that the record and readiness show."""
    code, lines = checked(config, capsys)
    assert code == 0
    assert lines[-2] == "note: there is no key and no issuer, so nobody can call yet; 'keys new' makes a key"
    assert lines[-1] == f"ok: 4 rules for a; 0 keys; policy digest {load_policies(config.parent / 'policies').digest}"


def test_the_faults_of_every_file_are_reported_at_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Faults of the configuration do not hide those of the policies, which it still names."""
    config.write_text(CONFIG.replace("version: 1", "version: 01"))
    (config.parent / "policies" / "t.yaml").write_text(POLICY.replace("cap: 5", "cap: 05"))
    assert checked(config, capsys) == (
        3,
        [
            "config.yaml:1:10: expected a whole number in plain digits, found '01'",
            "policies/t.yaml:5:79: expected a whole number in plain digits, found '05'",
        ],
    )


@pytest.mark.parametrize("content", ["", "two words", "changeme\n"])
def test_an_unusable_token_fails_the_check(config: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    """`serve` would refuse it, so `check` does, where the configuration names it."""
    (config.parent / "token").write_text(content)
    code, [line] = checked(config, capsys)
    assert code == 3
    assert line.startswith("config.yaml:5:10: the file token ")


def test_a_variable_that_is_not_set_fails_the_check(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is read where the check runs."""
    monkeypatch.delenv("QSTASH_TEST_TOKEN", raising=False)
    config.write_text(CONFIG.replace("{file: token}", "{env: QSTASH_TEST_TOKEN}"))
    expected = "config.yaml:5:10: the environment variable QSTASH_TEST_TOKEN is not set"
    assert checked(config, capsys) == (3, [expected])
    monkeypatch.setenv("QSTASH_TEST_TOKEN", "a-real-token")
    assert checked(config, capsys)[0] == 0


def test_an_audit_directory_that_cannot_be_made_fails_the_check(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No record, no cancel: so no start without a place for the record."""
    config.write_text(CONFIG.replace("directory: audit", "directory: absent/audit"))
    expected = "config.yaml:8:8: the audit directory cannot be used: absent is no directory; make it"
    assert checked(config, capsys) == (3, [expected])


def test_a_mac_key_that_cannot_be_read_fails_the_check(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configured key is used or the start refused; the chain is never weaker than configured."""
    config.write_text(CONFIG.replace("directory: audit", "directory: audit, mac_key: {file: mac}"))
    code, [line] = checked(config, capsys)
    assert code == 3
    assert "the MAC key mac cannot be read" in line


BRACES = {
    "as a key": "{SECRET}",
    "as a key with a value": "{SECRET: }",
    "as a file": "{file: SECRET}",
    "as a file in a directory": "{file: /run/secrets/SECRET}",
    "as a variable": "{env: SECRET}",
    "alone": "SECRET",
    "in a list": "[SECRET]",
    "beside a file": "{file: token, SECRET: x}",
    "twice": "{SECRET: a, SECRET: b}",
    "as a name of the section": "{file: token}\n  SECRET: x",
}
PASTED = [
    "eyJVc2VySUQiOiI0MmY3YzBkZSIsIlBhc3N3b3JkIjoiOGYzYTljNTEifQ==",
    "qstash_" + "3f9a0c51d2e64b70" * 2,
    "sig_7kYQ5JhVmNdC4jKp8jFhWbXu1uT2",
    f"qgk_billing-ci_{'aB3-_dEfGh' * 4}xyz",
]


@pytest.mark.parametrize("form", ["text", "json", "github"])
@pytest.mark.parametrize("place", BRACES)
@pytest.mark.parametrize("secret", PASTED, ids=["token", "prefixed", "signing key", "gateway key"])
def test_a_token_pasted_into_the_configuration_is_not_shown(
    config: Path, capsys: pytest.CaptureFixture[str], secret: str, place: str, form: str
) -> None:
    """Neither as a message nor as the line it stands in, wherever it was put instead of where it is."""
    config.write_text(CONFIG.replace("{file: token}", BRACES[place].replace("SECRET", secret)))
    assert run("check", "--config", str(config), "--format", form) == 3
    said = capsys.readouterr()
    # Piece by piece: a message is cut, a name is guessed at.
    pieces = {secret[at : at + 10] for at in range(len(secret) - 9)}
    assert not [piece for piece in pieces if piece in said.out + said.err]


ISSUER = """\
callers:
  jwt:
    - issuer: https://a.example.com
      audience: g
      algorithms: [RS256]
      jwks: {file: SECRET}
      claims: {sub: [ci]}
      team: {equals: a}
"""
PATHS = {
    "policies": ("policies: policies", "policies: SECRET"),
    "policies below": ("policies: policies", "policies: SECRET/SECRET"),
    "audit": ("{directory: audit}", "{directory: SECRET}"),
    "audit below": ("{directory: audit}", "{directory: SECRET/audit}"),
    "audit far below": ("{directory: audit}", "{directory: /run/SECRET/SECRET/audit}"),
    "mac_key": ("{directory: audit}", "{directory: audit, mac_key: {file: SECRET}}"),
    "key set": ("callers: {keys: []}\n", ISSUER),
    "certificate": ("version: 1", "version: 1\ntls: {certificate: SECRET, key: SECRET}"),
}


@pytest.mark.parametrize("place", PATHS)
@pytest.mark.parametrize("secret", PASTED, ids=["token", "prefixed", "signing key", "gateway key"])
def test_a_token_pasted_as_a_path_is_not_shown(
    config: Path, capsys: pytest.CaptureFixture[str], secret: str, place: str
) -> None:
    """Nothing of that name exists, so the message says where it would be; what can be used is used without a word."""
    before, after = PATHS[place]
    config.write_text(CONFIG.replace(before, after.replace("SECRET", secret)))
    code = run("check", "--config", str(config))
    assert code == (0 if place == "audit" else 3)
    said = capsys.readouterr()
    pieces = {secret[at : at + 10] for at in range(len(secret) - 9)}
    assert not [piece for piece in pieces if piece in said.out + said.err]


@pytest.mark.parametrize("word", ["qstash_abc", "hunter2hunter2"])
def test_a_secret_of_plain_words_is_not_shown_where_secrets_belong(
    config: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    """There nothing is quoted at all, whatever it looks like."""
    for value in (f"{{{word}}}", f"{{{word}: }}", f"{{file: {word}}}", f"{{env: {word}}}", f"{{file: t, {word}: x}}"):
        for key in ("token", "read_token"):
            config.write_text(CONFIG.replace("{file: token}", f"{{file: token}}\n  {key}: {value}"))
            run("check", "--config", str(config))
            assert word not in capsys.readouterr().out
    config.write_text(CONFIG.replace("directory: audit", f"directory: audit, mac_key: {{{word}}}"))
    run("check", "--config", str(config))
    assert word not in capsys.readouterr().out


WRAPPED = {
    "in quotes": ('"{}"', "quotes"),
    "in single quotes": ("'{}'", "quotes"),
    "with a name": ("QSTASH_TOKEN={}", "NAME="),
    "with a name and quotes": ('QSTASH_TOKEN="{}"', "NAME="),
    "exported": ("export QSTASH_TOKEN={}", "NAME="),
    "behind Bearer": ("Bearer {}", "'Bearer'"),
    "in a header": ("Authorization: Bearer {}", "'Bearer'"),
    "in two lines": ("{}\n{}", "space, control character"),
    "in braces": ("{{{}}}", "no token has"),
    "with a comma": ("{},", "no token has"),
    "behind a byte order mark": ("\ufeff{}", "byte order mark"),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("token", PASTED[:2])
def test_a_token_that_was_copied_with_something_around_it_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], token: str, wrapped: str
) -> None:
    """As env files and copied lines leave it; the sentence says what is wrong, and nothing of the token."""
    text, says = WRAPPED[wrapped]
    (config.parent / "token").write_text(text.format(token, token) + "\n")
    code, [line] = checked(config, capsys)
    assert code == 3
    assert says in line
    assert token[:8] not in line


@pytest.mark.parametrize("name", ["config.yaml", "token", "policies", "policies/t.yaml", "mac", "audit"])
@pytest.mark.parametrize("mode", [0o002, 0o022])
def test_what_anyone_may_change_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], name: str, mode: int
) -> None:
    """Whoever is on the machine could say what the gateway allows, to whom the token goes, or what is on record."""
    config.write_text(CONFIG.replace("directory: audit", "directory: audit, mac_key: {file: mac}"))
    (config.parent / "mac").write_text("k" * 32)
    (config.parent / "audit").mkdir()
    path = config.parent / name
    before = path.stat().st_mode
    assert run("check", "--config", str(config)) == 0
    path.chmod(before | mode)
    capsys.readouterr()
    code, [line] = checked(config, capsys)
    assert code == 3
    assert "anyone on this machine could change it: chmod o-w" in line
    with pytest.raises((InvalidConfiguration, AuditFailure)):
        build(load_config(config))
    path.chmod(before | 0o070)
    assert run("check", "--config", str(config)) == 0


def test_a_directory_that_everyone_shares_is_no_fault_above(config: Path) -> None:
    """In /tmp, sticky, and in a mounted volume the file's own mode counts."""
    for mode in (0o1777, 0o777):
        config.parent.chmod(mode)
        assert run("check", "--config", str(config)) == 0


def test_a_secret_that_anyone_may_read_is_a_lint_and_no_fault(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kubernetes mounts secrets with mode 0644 into a container where nobody else is."""
    assert warned(config, "readable-by-all") == []
    monkeypatch.setattr(check, "anyone_may_read", lambda path: path.name == "token")
    [message] = warned(config, "readable-by-all")
    assert "token" in message
    assert run("check", "--config", str(config)) == 0


def test_whether_anyone_may_read_hangs_on_the_directories_too(tmp_path: Path) -> None:
    """A file in a directory that others cannot enter is as good as closed."""
    path = tmp_path / "inner" / "token"
    path.parent.mkdir(mode=0o700)
    path.write_text("x")
    path.chmod(0o644)
    assert not anyone_may_read(path)
    assert not anyone_may_read(tmp_path / "absent")
    assert anyone_may_read(Path(json.__file__)) == all(
        one.stat().st_mode & 0o001 for one in Path(json.__file__).resolve().parents
    )


HIDDEN = [".#t.yaml", "._t.yaml", ".t.yaml.swp", ".t.yaml", ".t.cases.yaml", ".T.YML"]


@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_file_beside_the_policies_is_none_and_is_named(
    config: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Editors and archives leave locks, copies and attributes there; one may be a link that leads nowhere."""
    policies = config.parent / "policies"
    digest = load_policies(policies).digest
    if name.startswith(".#"):
        (policies / name).symlink_to("ann@laptop.4711:1764366000")
    else:
        (policies / name).write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")
    code, lines = checked(config, capsys)
    assert code == 0
    assert lines[-1].endswith(digest)
    assert [line for line in lines if "[hidden-file]" in line and name in line]
    check_cases(policies, load_policies(policies))


def test_policies_mounted_by_kubernetes_are_read(config: Path) -> None:
    """Each is a link through `..data`, which is hidden and a link itself."""
    policies = config.parent / "policies"
    (policies / "..2026_11_29").mkdir()
    (policies / "t.yaml").rename(policies / "..2026_11_29" / "t.yaml")
    (policies / "..data").symlink_to("..2026_11_29")
    (policies / "t.yaml").symlink_to("..data/t.yaml")
    assert run("check", "--config", str(config)) == 0
    assert warned(config, "hidden-file") == []


def test_a_clock_behind_the_record_is_a_lint_and_no_fault(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A clock that was once ahead left records of that time: they are named with the way out, and `serve` starts."""
    (config.parent / "audit").mkdir()
    later_ns = time.time_ns() + 3 * 86_400 * 10**9
    lines, _ = Sealer("later", key=None).seal(GENESIS, [Record(later_ns, "start", {})])
    (config.parent / "audit" / "later.000001.jsonl").write_bytes(b"".join(lines))
    [message] = warned(config, "clock-behind")
    assert "records of the chain later are of that time. If the clock is right, 'audit retire' the chain" in message
    assert run("check", "--config", str(config)) == 0
    gateway = build(load_config(config))
    for bound in gateway.listeners:
        bound.close()
    assert gateway.clock.now_ms() >= later_ns // 10**6
    (config.parent / "key").write_bytes(b"k" * 32)
    config.write_text(CONFIG.replace("{directory: audit}", "{directory: audit, mac_key: {file: key}}"))
    assert warned(config, "clock-behind") == []


def warned(config: Path, lint: str) -> list[str]:
    """The messages of one lint about a configuration."""
    loaded = load_config(config)
    findings = check.findings_of(config, loaded, load_policies(loaded.policies), now=TODAY)
    return [finding.message for finding in findings if finding.id == lint]


def test_a_filter_bounded_by_count_alone_is_named_where_count_is_advisory(config: Path) -> None:
    """Under 2026-09 upstream may ignore `count`; a list of run IDs bounds exactly under both contracts."""
    assert [text.split()[0] for text in warned(config, "count-only")] == ["t/bounded", "t/few"]
    config.write_text(CONFIG.replace("{file: token}", '{file: token}\n  contract: "2025"'))
    assert warned(config, "count-only") == []


def test_a_bound_above_that_of_look_ups_is_named(config: Path) -> None:
    """By the limit that is configured; the rule's own bound is never reached."""
    rule = '  - {id: found, workflowUrl: {exact: ["https://a.example/y"]}, resolve: true, runs: {max: 60}}\n'
    (config.parent / "policies" / "t.yaml").write_text(POLICY.replace("require:\n", f"{rule}require:\n"))
    for runs, named in ((60, []), (50, ["t/found: runs.max 60 is never reached"])):
        config.write_text(f"{CONFIG}limits: {{lookup: {{runs: {runs}}}}}\n")
        assert [message.partition(",")[0] for message in warned(config, "runs-above-lookup")] == named


def test_an_unchecked_owner_is_named(config: Path) -> None:
    """What a rule takes on trust is said at every check."""
    message = "t/by-id: run IDs carry no owner, and this rule does not look the runs up."
    assert warned(config, "owner-unchecked") == [message]


def test_a_call_that_outlives_the_grace_period_is_named(config: Path) -> None:
    """A timeout above the grace period lets the end cut a call off."""
    config.write_text(f"{CONFIG}shutdown_grace_s: 29\n")
    [message] = warned(config, "timeout-above-grace")
    assert message.startswith(
        "upstream.total_timeout_s (30) and the 3 s for closing do not fit into shutdown_grace_s (29)"
    )


def test_keys_that_soon_or_never_work_are_named(config: Path) -> None:
    """Expired, about to expire, or of a team that nothing is allowed to."""
    expiries = ["2025-12-31", "2026-01-01", "2026-01-14", "2026-01-16"]
    lines = [
        f'  - {{id: k{number}, team: {"b" if number == 3 else "a"}, sha256: "{digest}", expires: {day}}}\n'
        for number, day in enumerate(expiries)
        if (digest := hashlib.sha256(day.encode()).hexdigest())
    ]
    config.write_text(CONFIG.replace("callers: {keys: []}\n", "callers:\n  keys:\n" + "".join(lines)))
    assert warned(config, "key-expired") == ["key a/k0: expired on 2025-12-31."]
    assert warned(config, "key-expires") == [
        "key a/k1: expires on 2026-01-01.",
        "key a/k2: expires on 2026-01-14.",
    ]
    assert warned(config, "team-without-allow") == ["key b/k3: no rule allows anything to team b."]
    config.write_text(config.read_text() + 'state: {url: "sqlite:state.db"}\noperators: {teams: [b]}\n')
    assert warned(config, "team-without-allow") == []  # an operator freezes, and needs no rule for it


def test_a_team_that_only_approves_is_not_told_to_leave(config: Path) -> None:
    """Its callers approve what others want to cancel, and need no rule of their own for it."""
    digest = hashlib.sha256(b"b").hexdigest()
    state = 'state: {url: "sqlite:state.db"}\n'
    config.write_text(CONFIG.replace("keys: []", f'keys: [{{id: k, team: b, sha256: "{digest}"}}]') + state)
    assert warned(config, "team-without-allow") == ["key b/k: no rule allows anything to team b."]
    url = 'workflowUrl: {exact: ["https://a.example/y"]}'
    rule = f"  - {{id: found, {url}, resolve: true, runs: {{max: 9}}, approve: {{by: [b]}}}}\n"
    (config.parent / "policies" / "t.yaml").write_text(POLICY.replace("require:\n", f"{rule}require:\n"))
    assert warned(config, "team-without-allow") == []


def test_a_case_that_fails_is_refused_as_at_a_start(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise `check` would say ok to what `serve` refuses, and somebody would learn it at a restart."""
    cases = "version: 1\ncases:\n  - {it: is allowed, team: a, request: 'count=1', expect: permit}\n"
    (config.parent / "policies" / "t.cases.yaml").write_text(cases)
    assert checked(config, capsys)[0] == 3
    assert run("check", "--config", str(config)) == 3
    assert "t.cases.yaml:3:5: the case 'is allowed' fails: expected permit, found deny" in capsys.readouterr().out


def test_lints_stand_at_their_lines_and_fail_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is said with its place, the line and a caret; the exit code is that of a good configuration."""
    assert run("check", "--config", str(config)) == 0
    lines = capsys.readouterr().out.replace(f"{config.parent}/", "").splitlines()
    at = next(number for number, line in enumerate(lines) if "[owner-unchecked]" in line)
    assert lines[at].startswith("policies/t.yaml:7:5: warning: t/by-id: run IDs carry no owner")
    assert lines[at + 1 : at + 3] == [
        "     7 |   - {id: by-id, workflowRunIds: {max: 5}, count: {max: 3}, owner: unchecked}",
        "       |     ^",
    ]


def test_the_caret_stands_below_the_fault(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line of the file is shown as it is, also where it holds other than ASCII."""
    fault = POLICY.replace("cap: 5", "capp: 5").replace("teams: [a]", "description: Läufe\nteams: [a]")
    (config.parent / "policies" / "t.yaml").write_text(fault)
    assert run("check", "--config", str(config)) == 3
    shown = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(shown) if "unknown key 'capp': did you mean 'cap'?" in line)
    assert shown[at + 1][shown[at + 2].index("^") :].startswith("capp: 5")


def test_no_value_of_the_configuration_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A secret pasted into the wrong place reaches no build log; the keys around it are shown."""
    config.write_text(CONFIG.replace("url: https://qstash.upstash.io", "url: s3cr3t-value"))
    assert run("check", "--config", str(config)) == 3
    printed = capsys.readouterr().out
    assert "s3cr3t" not in printed
    assert "  url: ············" in printed


@pytest.mark.parametrize("broken", [False, True])
def test_other_programs_read_the_same_findings(
    config: Path, capsys: pytest.CaptureFixture[str], *, broken: bool
) -> None:
    """JSON and workflow commands carry file, line, column and message of each problem and lint."""
    if broken:
        (config.parent / "policies" / "t.yaml").write_text(POLICY.replace("cap: 5", "cap: 05"))
    code = run("check", "--config", str(config), "--format", "json")
    members = json.loads(capsys.readouterr().out)
    assert (code, members["ok"]) == (3 if broken else 0, not broken)
    listed = members["problems"] if broken else members["lints"]
    assert all({"file", "line", "column", "message"} <= one.keys() for one in listed)
    assert run("check", "--config", str(config), "--format", "github") == code
    level = "error" if broken else "warning"
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"::{level} ")]
    assert len(commands) == len(listed)
    assert f"line={listed[0]['line']},col={listed[0]['column']}" in commands[0]


@pytest.mark.parametrize("team", ["billing", "no", "123", "1e3", "y"])
def test_a_new_key_is_recognised_by_the_entry_to_paste(
    config: Path, capsys: pytest.CaptureFixture[str], team: str
) -> None:
    """The printed line loads as it is, whatever the names, and holds the digest of the printed key."""
    assert run("keys", "new", "--team", team, "--id", "null", "--expires", "2027-06-30") == 0
    printed = capsys.readouterr().out
    [key] = re.findall(r"qgk_null_[A-Za-z0-9_-]{43}", printed)
    [entry] = re.findall(r"^ *(- \{.*\})$", printed, flags=re.MULTILINE)
    config.write_text(CONFIG.replace("callers: {keys: []}\n", f"callers:\n  keys:\n  {entry}\n"))
    [loaded] = load_config(config).keys
    assert (loaded.id, loaded.team, loaded.expires) == ("null", team, dt.date(2027, 6, 30))
    assert loaded.digest == hashlib.sha256(key.encode()).digest()


def test_no_two_new_keys_are_the_same() -> None:
    """256 random bits each."""
    assert keys.new_key("a") != keys.new_key("a")


@pytest.mark.parametrize(
    "arguments",
    [("--team", "A", "--id", "a"), ("--team", "a", "--id", "a_b"), ("--team", "a", "--id", "a", "--expires", "soon")],
)
def test_a_name_that_would_not_load_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    """`keys new` never makes an entry that `serve` refuses."""
    with pytest.raises(SystemExit) as raised:
        run("keys", "new", *arguments)
    assert raised.value.code == 2
