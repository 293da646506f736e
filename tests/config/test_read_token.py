"""The read-only token: optional, read again when it changes, always another one, and needed by rules that look up."""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import pytest

from gateway.app import build
from gateway.cli.policies import check
from gateway.config import load_config, resolve_problems
from gateway.core.errors import InvalidConfiguration, Problem
from gateway.policy.format.load import load_policies
from gateway.upstream.account import WatchedTokens, read_tokens, token_problems
from gateway.upstream.settings import UpstreamSettings
from gateway.upstream.token import AccountTokens, TokenHolder, UpstreamToken

WRITING, READING = "the-token-that-writes-0123", "the-token-that-reads-4567"
CONFIG = """\
version: 1
listen: 127.0.0.1:0
upstream:
  url: http://127.0.0.1:9
  token: {file: token}
  read_token: {file: read-token}
callers: {keys: []}
policies: policies
audit: {directory: audit}
"""
WITHOUT = CONFIG.replace("  read_token: {file: read-token}\n", "")
PLAIN = """\
version: 1
name: t
teams: [a]
allow:
  - {id: own, workflowUrl: {exact: ["https://a.example/b"]}}
"""


def problems_of(path: Path) -> list[Problem]:
    """What is wrong with the tokens that a configuration names."""
    config = load_config(path)
    return [*token_problems(config.upstream, {key.digest for key in config.keys}, {})]


RESOLVING = (
    PLAIN
    + """\
  - {id: found, workflowUrl: {prefix: ["https://a.example/c"]}, resolve: true, runs: {max: 9}}
require:
  - {id: looked-up, resolve: true, runs: {max: 5}}
"""
)


def written(directory: Path, *, config: str = CONFIG, policy: str = PLAIN, reading: str = READING) -> Path:
    """A configuration with its policy and both token files."""
    (directory / "policies").mkdir(exist_ok=True)
    (directory / "policies" / "t.yaml").write_text(policy)
    (directory / "token").write_text(WRITING + "\n")
    (directory / "read-token").write_text(reading + "\n")
    path = directory / "config.yaml"
    path.write_text(config)
    return path


def settings(path: Path) -> UpstreamSettings:
    return load_config(path).upstream


def opened(path: Path) -> WatchedTokens:
    return read_tokens(settings(path), {}, time.monotonic)


class Log:
    """Keeps what operators would read."""

    def __init__(self) -> None:
        self.errors: list[dict[str, object]] = []

    def info(self, event: str, **members: object) -> None:
        """News is not looked at."""

    def error(self, event: str, **members: object) -> None:
        self.errors.append(members)


def current(tokens: AccountTokens) -> list[str | None]:
    """The tokens in use, the writing one first."""
    holders = (tokens.writing, tokens.reading)
    return [holder.current.authorization().removeprefix("Bearer ") if holder else None for holder in holders]


def test_it_has_the_shape_of_the_other_token_and_may_be_left_out(tmp_path: Path) -> None:
    """A file relative to the configuration, or a variable; without it nothing can be looked up."""
    found = settings(written(tmp_path)).read_token
    assert found is not None
    assert (found.file, found.env) == (tmp_path / "read-token", None)
    named = settings(written(tmp_path, config=CONFIG.replace("{file: read-token}", "{env: READ_TOKEN}"))).read_token
    assert named is not None
    assert named.env == "READ_TOKEN"
    without = written(tmp_path, config=WITHOUT)
    assert settings(without).read_token is None
    assert opened(without).tokens.reading is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{}", "say where the secret is"),
        ("{file: a, env: B}", "say where the secret is"),
        ("{env: 1x}", "expected the name of an environment variable"),
        ("secret-itself", "expected"),
    ],
)
def test_another_shape_is_refused_at_its_place(tmp_path: Path, source: str, said: str) -> None:
    """Nothing of what stands there is shown, it may be the token."""
    with pytest.raises(InvalidConfiguration) as refused:
        load_config(written(tmp_path, config=CONFIG.replace("{file: read-token}", source)))
    [problem] = refused.value.problems
    assert problem.line == 6
    assert said in problem.message
    assert "secret-itself" not in problem.message


def test_both_are_read_and_each_is_recognised(tmp_path: Path) -> None:
    """A caller who sends either is refused, and a text that holds either is kept back."""
    tokens = opened(written(tmp_path)).tokens
    assert current(tokens) == [WRITING, READING]
    for text in (WRITING, READING):
        assert tokens.is_in(f"…{text}…")
        assert tokens.is_upstream_token(hashlib.sha256(text.encode()).digest())
    assert not tokens.is_in("another")
    assert not tokens.is_upstream_token(hashlib.sha256(b"another").digest())


def test_a_token_of_the_environment_is_taken_out_of_it(tmp_path: Path) -> None:
    """Children inherit the environment; neither token is theirs."""
    config = CONFIG.replace("{file: token}", "{env: W}").replace("{file: read-token}", "{env: R}")
    environ = {"W": WRITING, "R": READING, "OTHER": "x"}
    found = read_tokens(settings(written(tmp_path, config=config)), environ, time.monotonic)
    assert current(found.tokens) == [WRITING, READING]
    assert (environ, found.watched) == ({"OTHER": "x"}, ())


def test_the_writing_token_is_no_read_only_token(tmp_path: Path) -> None:
    """Not as another file with the same content, and not as the same file; at the start, and in check."""
    for config, reading in ((CONFIG, WRITING), (CONFIG.replace("read-token}", "token}"), READING)):
        path = written(tmp_path, config=config, reading=reading)
        with pytest.raises(InvalidConfiguration, match="a read-only token is another token") as refused:
            opened(path)
        assert [problem.line for problem in refused.value.problems] == [6]
        assert WRITING not in str(refused.value)
        assert [problem.line for problem in problems_of(path)] == [6]


def test_it_is_read_again_when_it_changes_and_the_one_before_stays_recognised(tmp_path: Path) -> None:
    """A rotation needs no restart."""
    found, log = opened(written(tmp_path)), Log()
    (tmp_path / "read-token").write_text("the-next-reading-token-89")
    for file in found.watched:
        file.check(log)
    assert current(found.tokens) == [WRITING, "the-next-reading-token-89"]
    assert found.tokens.is_upstream_token(hashlib.sha256(READING.encode()).digest())
    assert log.errors == []


@pytest.mark.parametrize(("name", "other"), [("read-token", WRITING), ("token", READING)])
def test_a_file_that_comes_to_hold_the_other_token_is_not_taken_over(tmp_path: Path, name: str, other: str) -> None:
    """The last good one stays, and operators read why."""
    found, log = opened(written(tmp_path)), Log()
    (tmp_path / name).write_text(other)
    for file in found.watched:
        file.check(log)
    assert current(found.tokens) == [WRITING, READING]
    [error] = log.errors
    assert "a read-only token is another token" in str(error["problem"])
    assert [file.notice is not None for file in found.watched].count(True) == 1
    assert WRITING not in str(error)
    assert READING not in str(error)


def test_a_token_that_wrote_before_does_not_become_the_one_that_reads(tmp_path: Path) -> None:
    """After a rotation the old token may still be able to write."""
    found, log = opened(written(tmp_path)), Log()
    (tmp_path / "token").write_text("the-next-writing-token-89")
    found.watched[0].check(log)
    (tmp_path / "read-token").write_text(WRITING)
    found.watched[1].check(log)
    assert current(found.tokens) == ["the-next-writing-token-89", READING]


def test_a_caller_s_key_is_neither_token(tmp_path: Path) -> None:
    """A key with the digest of a token would let whoever has that token in."""
    for token in (WRITING, READING):
        digest = hashlib.sha256(token.encode()).hexdigest()
        keys = f'callers: {{keys: [{{id: ci, team: a, sha256: "{digest}"}}]}}'
        path = written(tmp_path, config=CONFIG.replace("callers: {keys: []}", keys))
        with pytest.raises(InvalidConfiguration, match="a caller's key is the upstream token itself"):
            build(load_config(path))
        assert ["a caller's key" in problem.message for problem in problems_of(path)] == [True]


def test_rules_that_look_runs_up_need_a_read_only_token(tmp_path: Path) -> None:
    """Each is named at its place, an allow and a require alike; plain rules need none."""
    path = written(tmp_path, config=WITHOUT, policy=RESOLVING)
    policies = load_policies(tmp_path / "policies")
    problems = sorted(resolve_problems(policies, load_config(path)))
    file = str(tmp_path / "policies" / "t.yaml")
    assert [(problem.file, problem.line, problem.column) for problem in problems] == [(file, 6, 5), (file, 8, 5)]
    assert "t/found" in problems[0].message
    assert "upstream.read_token" in problems[0].message
    assert list(resolve_problems(policies, load_config(written(tmp_path, policy=RESOLVING)))) == []
    written(tmp_path, config=WITHOUT)
    assert list(resolve_problems(load_policies(tmp_path / "policies"), load_config(path))) == []


def test_serve_and_check_refuse_such_rules_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What check accepts serves, and what it names does not."""
    path = written(tmp_path, config=WITHOUT, policy=RESOLVING)
    with pytest.raises(InvalidConfiguration) as refused:
        build(load_config(path))
    assert [problem.line for problem in refused.value.problems] == [6, 8]
    assert checked(path) == 3
    said = capsys.readouterr().out
    assert all(str(problem) in said for problem in refused.value.problems)
    assert checked(written(tmp_path, policy=RESOLVING)) == 0


def checked(path: Path) -> int:
    """The exit code of check."""
    parser = argparse.ArgumentParser()
    check.register(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["check", "--config", str(path)])
    code: int = parsed.run(parsed)
    return code


def test_a_holder_alone_knows_its_own_token() -> None:
    """Where there is no read-only token, the writing one is all there is to recognise."""
    tokens = AccountTokens(TokenHolder(UpstreamToken(WRITING), 0))
    assert (tokens.is_in(WRITING), tokens.is_in(READING)) == (True, False)
