"""The `check` command, which reports everything that `serve` would refuse, all at once, and lints what it accepts."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from gateway.audit.segment import load_mac_key
from gateway.authoring.cases import check_cases
from gateway.authoring.lint import Caller, Summary, lint
from gateway.authoring.lints.finding import Finding
from gateway.callers.key_sources import key_file
from gateway.cli.output import printable
from gateway.config import (
    Config,
    audit_problems,
    config_file,
    load_config,
    named_policies,
    resolve_problems,
    state_problems,
)
from gateway.core.errors import AuditFailure, InvalidConfiguration, Problem, counted
from gateway.core.forms.times import instant
from gateway.files import nodes, secrecy
from gateway.files.nodes import Node, Place
from gateway.files.source import anyone_may_read, parse_document, read_anyway
from gateway.fleet.joining import read_receivers
from gateway.policy.format.load import hidden_policies, load_policies
from gateway.policy.rules import Policies
from gateway.serving.certificate import ending, load_pair
from gateway.serving.clock import SEE, SystemClock, clock_problems, floor
from gateway.state.password import password_of
from gateway.upstream.account import token_problems

OK, INVALID = 0, 3
SHOWN_COLUMNS = 160
_VALUE = re.compile(r"(?P<key>\b(?P<name>[a-z0-9_]{1,40}):(?=\s|$)|^\s*- )|[^\s{}\[\],]")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("check", help="say everything that serve would refuse, with file:line:column")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    parser.add_argument("--format", choices=("text", "json", "github"), default="text", help="how it is printed")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the problems and return 3, or print a summary with the lints and return 0."""
    problems: list[Problem] = []
    now = datetime.now(UTC)
    config, policies = _load(args.config, problems)
    if config is not None:
        problems += _machine_problems(config, os.environ, now)
    refused = bool(problems) or config is None or policies is None
    findings: tuple[Finding, ...] = ()
    if config is not None and policies is not None and not refused:
        findings = findings_of(args.config, config, policies, now=now)
    renderers: dict[str, Callable[[Sequence[Problem], Sequence[Finding]], Iterator[str]]] = {
        "text": partial(_as_text, masked=str(args.config)),
        "json": _as_json,
        "github": _as_github,
    }
    for line in renderers[args.format](sorted(problems), findings):
        print(line)
    if config is not None and policies is not None and not refused and args.format != "json":
        if not config.keys and not config.issuers:
            print("note: there is no key and no issuer, so nobody can call yet; 'keys new' makes a key")
        print(_summary(config, policies))
    return INVALID if refused else OK


def findings_of(path: Path, config: Config, policies: Policies, *, now: datetime) -> tuple[Finding, ...]:
    """Return the lints of a configuration that `serve` accepts."""
    files = {str(path), *(rule.at.file for rule in policies.rules if rule.at is not None)}
    lines = {file: _lines(file) for file in files}
    return lint(policies, lines, _summed_up(path, config, now), int(now.timestamp() * 1000))


def _summed_up(path: Path, config: Config, now: datetime) -> Summary:
    node, _ = parse_document(str(path), read_anyway(path).content)
    keys = _items(_member(_member(node, "callers"), "keys"))
    callers = [
        Caller(f"key {key.team}/{key.id}", key.team, place.place, key.expires)
        for key, place in zip(config.keys, keys, strict=True)
    ]
    issuers = _items(_member(_member(node, "callers"), "jwt"))
    for issuer, place in zip(config.issuers, issuers, strict=True):
        callers += [Caller(f"issuer {issuer.issuer}", team, place.place) for team in issuer.team.names]
    upstream = _member(node, "upstream")
    assert upstream is not None
    timeout_s = config.upstream.total_timeout_s
    seen = (*_hidden(config.policies), *_readable(config), *_ending(config, now), *_behind(config, now))
    return Summary(
        config.upstream.contract,
        tuple(callers),
        timeout_s,
        config.shutdown_grace_s,
        upstream.place,
        seen,
        config.limits.lookup.runs,
        config.operators,
    )


def _hidden(directory: Path) -> Iterator[Finding]:
    for path in hidden_policies(directory):
        message = f"{path.name} is hidden, so it is no policy and not read."
        yield Finding(Place(str(path), 1, 1), "hidden-file", message, "Remove it, or give it a name without the dot.")


def _ending(config: Config, now: datetime) -> Iterator[Finding]:
    tls = config.tls
    if tls is not None and (words := ending(tls, load_pair(tls, now), now.date())) is not None:
        yield Finding(tls.at, "certificate-expires", f"T{words[1:]}.", "Renew it; a gateway that serves reads it anew.")


def _behind(config: Config, now: datetime) -> Iterator[Finding]:
    audit = config.audit
    key = load_mac_key(audit.mac_key) if audit.mac_key is not None else None
    now_ms = int(now.timestamp() * 1000)
    earliest = floor(audit.directory, key, now_ms)
    if earliest.chains:
        shown = f"this machine's clock shows {instant(now_ms)}"
        judged = f"Requests would be judged as if it were {instant(earliest.ms)}"
        message = f"{judged}, but {shown}: {earliest.because} ({SEE})."
        yield Finding(audit.at, "clock-behind", message, "If the clock is wrong, set it.")


def _readable(config: Config) -> Iterator[Finding]:
    """Yield a finding for each secret on the disk that everyone may read.

    In a container there is nobody else, so this is a lint and not a problem.
    """
    sources = [one for one in (config.upstream.token, config.upstream.read_token) if one is not None]
    files = [(source.file, source.at) for source in sources if source.file is not None]
    files += [(config.audit.mac_key, config.audit.at)] if config.audit.mac_key is not None else []
    files += [(config.tls.key, config.tls.at)] if config.tls is not None else []
    state = config.state
    files += [(state.password, state.at)] if state is not None and state.password is not None else []
    files += [(path, one.at) for one in config.notify for path in (one.secret, one.url) if isinstance(path, Path)]
    for path, at in files:
        if anyone_may_read(path):
            message = f"Anyone on this machine may read {path}, which holds a secret."
            yield Finding(at, "readable-by-all", message, "chmod o-r, unless nobody else is on it.")


def _member(node: Node | None, name: str) -> Node | None:
    members = node.members if isinstance(node, nodes.Mapping) else ()
    return next((value for key, value in members if key.text == name), None)


def _items(node: Node | None) -> Sequence[Node]:
    return node.items if isinstance(node, nodes.Sequence) else ()


def _load(path: Path, problems: list[Problem]) -> tuple[Config | None, Policies | None]:
    config = policies = None
    try:
        config = load_config(path)
    except InvalidConfiguration as exc:
        problems += exc.problems
    directory = config.policies if config else named_policies(path)
    try:
        policies = load_policies(directory) if directory else None
        if directory is not None and policies is not None:
            check_cases(directory, policies)
    except InvalidConfiguration as exc:
        problems += exc.problems
    if config is not None and policies is not None:
        problems += resolve_problems(policies, config)
        problems += state_problems(policies, has_state=config.state is not None)
    return config, policies


def _secret_problems(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    yield from token_problems(config.upstream, {key.digest for key in config.keys}, environ)
    try:
        if config.audit.mac_key is not None:
            load_mac_key(config.audit.mac_key)
    except AuditFailure as exc:
        yield config.audit.at.problem(str(exc))
    try:
        if config.state is not None:
            password_of(config.state)
    except InvalidConfiguration as exc:
        yield from exc.problems
    try:
        read_receivers(config.notify)
    except InvalidConfiguration as exc:
        yield from exc.problems


def _machine_problems(config: Config, environ: Mapping[str, str], now: datetime) -> Iterator[Problem]:
    yield from _secret_problems(config, environ)
    for issuer in config.issuers:
        try:
            if issuer.jwks.file is not None:
                key_file(issuer, issuer.jwks.file)
        except InvalidConfiguration as exc:
            yield from exc.problems
    if config.tls is not None:
        try:
            load_pair(config.tls, now)
        except InvalidConfiguration as exc:
            yield from exc.problems
    yield from audit_problems(config.audit)
    yield from clock_problems(config.audit, SystemClock().now_ms())


def _as_text(problems: Sequence[Problem], findings: Sequence[Finding], *, masked: str) -> Iterator[str]:
    """Yield each problem and finding, with the line that it is about and a caret below the place.

    Lines of the file `masked` are shown without their values.
    """
    located = [
        *((str(problem), Place(problem.file, problem.line, problem.column)) for problem in problems),
        *((str(finding), finding.place) for finding in findings),
    ]
    lines = {file: _lines(file) for file in {place.file for _, place in located}}
    for text, place in located:
        yield printable(text)
        if 1 <= place.line <= len(lines[place.file]):
            yield from _excerpt(lines[place.file][place.line - 1], place, masked=place.file == masked)


def _excerpt(text: str, place: Place, *, masked: bool) -> Iterator[str]:
    # Columns count characters, so each character that a terminal would act on is shown as one other character.
    line = "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
    if masked:
        # A secret may have been pasted into the configuration by mistake, and this output goes into build logs.
        known = _names_in(config_file().json_schema())
        line = _VALUE.sub(lambda match: _shown(match, known), line)
    else:
        line = secrecy.masked(line)
    start = max(0, place.column - SHOWN_COLUMNS)
    yield f"{place.line:>6} | {line[start : start + SHOWN_COLUMNS]}"
    yield f"{'':>6} | {'^':>{place.column - start}}"


def _shown(match: re.Match[str], known: frozenset[str]) -> str:
    """Return a key of the configuration as it is, and a dot for each character of everything else."""
    if match["key"] is None:
        return "\u00b7"
    return match["key"] if match["name"] is None or match["name"] in known else "\u00b7" * len(match["key"])


def _names_in(schema: object) -> frozenset[str]:
    """Return the name of every property in a schema: the keys that a configuration may have."""
    match schema:
        case {"properties": dict(properties)}:
            return frozenset(properties).union(*map(_names_in, properties.values()))
        case dict():
            return frozenset[str]().union(*map(_names_in, schema.values()))
        case list():
            return frozenset[str]().union(*map(_names_in, schema))
    return frozenset()


def _as_json(problems: Sequence[Problem], findings: Sequence[Finding]) -> Iterator[str]:
    members = {
        "ok": not problems,
        "problems": [
            {"file": one.file, "line": one.line, "column": one.column, "message": one.message} for one in problems
        ],
        "lints": [
            {
                "file": one.place.file,
                "line": one.place.line,
                "column": one.place.column,
                "id": one.id,
                "message": one.message,
                "fix": one.fix,
            }
            for one in findings
        ],
    }
    yield json.dumps(members, indent=2)


def _as_github(problems: Sequence[Problem], findings: Sequence[Finding]) -> Iterator[str]:
    """Yield workflow commands, which GitHub shows beside the lines of a change."""
    for problem in problems:
        yield _command("error", Place(problem.file, problem.line, problem.column), "check", problem.message)
    for finding in findings:
        yield _command("warning", finding.place, finding.id, f"{finding.message} {finding.fix}")


def _command(level: str, place: Place, title: str, message: str) -> str:
    file = _escaped(place.file).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} file={file},line={place.line},col={place.column},title={title}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _lines(file: str) -> Sequence[str]:
    """Return the lines of a file as its places count them; none if it cannot be read."""
    try:
        text = read_anyway(Path(file)).content.decode("utf-8", errors="replace")
    except InvalidConfiguration:
        return ()
    return [line.removesuffix("\r") for line in text.split("\n")]


def _summary(config: Config, policies: Policies) -> str:
    teams = sorted({team for rule in policies.rules for team in rule.teams})
    rules, keys = counted(len(policies.rules), "rule"), counted(len(config.keys), "key")
    issuers = f"{counted(len(config.issuers), 'issuer')}; " if config.issuers else ""
    return f"ok: {rules} for {', '.join(teams)}; {keys}; {issuers}policy digest {policies.digest}"
