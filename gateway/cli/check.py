"""`check`: everything `serve` would refuse, all at once, and what it accepts but a reader should know."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from gateway.audit.segment import load_mac_key
from gateway.config import Config, audit_problems, load_config, named_policies
from gateway.credential import UpstreamToken
from gateway.errors import AuditFailure, InvalidConfiguration, Problem
from gateway.identity.expiry import expiring
from gateway.identity.sources import key_file
from gateway.listeners import tls_context
from gateway.policy.load import load_policies
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.policy.vocabulary import FILTERS
from gateway.secret import read_secret

OK, INVALID = 0, 3


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("check", help="say everything that serve would refuse, with file:line:column")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the problems and returns 3, or a summary with warnings and returns 0."""
    problems: list[Problem] = []
    config, policies = _load(args.config, problems)
    if config is not None:
        problems += _machine_problems(config, os.environ)
    if problems or config is None or policies is None:
        for problem in sorted(problems):
            print(problem)
        return INVALID
    for warning in warnings(config, policies, datetime.now(UTC).date()):
        print(f"warning: {warning}")
    print(_summary(config, policies))
    return OK


def warnings(config: Config, policies: Policies, today: date) -> Iterator[str]:
    """What is accepted and still worth a sentence; never a reason to fail."""
    if config.upstream.contract == "2026-09":
        yield from (_advisory(rule) for rule in policies.rules if _bounds_filter_by_count(rule))
    yield from (
        f"rule {rule.name}: run IDs carry no owner, and this rule does not look the runs up"
        for rule in policies.rules
        if rule.owner_unchecked
    )
    if config.upstream.total_timeout_s > config.shutdown_grace_s:
        yield (
            f"upstream.total_timeout_s ({config.upstream.total_timeout_s}) is above shutdown_grace_s "
            f"({config.shutdown_grace_s}): a call in flight at the end may be closed as unknown"
        )
    yield from expiring(config.keys, today)
    yield from _idle_callers(config, policies)


def _load(path: Path, problems: list[Problem]) -> tuple[Config | None, Policies | None]:
    config = policies = None
    try:
        config = load_config(path)
    except InvalidConfiguration as exc:
        problems += exc.problems
    directory = config.policies if config else named_policies(path)
    try:
        policies = load_policies(directory) if directory else None
    except InvalidConfiguration as exc:
        problems += exc.problems
    return config, policies


def _secret_problems(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    try:
        token = read_secret(config.upstream.token, environ)
    except InvalidConfiguration as exc:
        yield from exc.problems
    else:
        if any(key.digest == UpstreamToken(token).digest for key in config.keys):
            yield config.upstream.token.at.problem("a caller's key is the upstream token itself")
    try:
        if config.audit.mac_key is not None:
            load_mac_key(config.audit.mac_key)
    except AuditFailure as exc:
        yield config.audit.at.problem(str(exc))


def _machine_problems(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    yield from _secret_problems(config, environ)
    for issuer in config.issuers:
        try:
            if issuer.jwks.file is not None:
                key_file(issuer, issuer.jwks.file)
        except InvalidConfiguration as exc:
            yield from exc.problems
    if config.tls is not None:
        try:
            tls_context(config.tls)
        except InvalidConfiguration as exc:
            yield from exc.problems
    yield from audit_problems(config.audit)


def _bounds_filter_by_count(rule: Rule) -> bool:
    bounded = rule.count is not None and rule.count.ceiling is not None
    if rule.effect is Effect.REQUIRE:
        return bounded and "workflowRunIds" not in rule.conditions
    return bounded and not rule.conditions.keys().isdisjoint(FILTERS)


def _advisory(rule: Rule) -> str:
    return (
        f"rule {rule.name}: bounds a filter cancel by count alone; count is advisory under 2026-09, "
        "upstream may cancel every run that matches"
    )


def _idle_callers(config: Config, policies: Policies) -> Iterator[str]:
    for key in config.keys:
        if not policies.for_team(key.team).allows:
            yield f"key {key.team}/{key.id}: no rule allows anything to team {key.team}"
    for issuer in config.issuers:
        for team in issuer.team.names:
            if not policies.for_team(team).allows:
                yield f"tokens of {issuer.issuer}: no rule allows anything to team {team}"


def _summary(config: Config, policies: Policies) -> str:
    teams = sorted({team for rule in policies.rules for team in rule.teams})
    issuers = f"{len(config.issuers)} issuers; " if config.issuers else ""
    return (
        f"ok: {len(policies.rules)} rules for {', '.join(teams)}; {len(config.keys)} keys; {issuers}"
        f"policy digest {policies.digest}"
    )
