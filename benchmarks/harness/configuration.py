"""The configuration that the project is measured with: one team, one exact URL, a cap, and tables of any size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.requests import KEY, TOKEN, URL

_LIMITS = "{max_in_flight: 1024, per_principal: {in_flight: 1024, requests_per_minute: 0}}"
"""Nothing is throttled: what is measured is the work, not the limits. Every other limit is the default."""


@dataclass(frozen=True, slots=True)
class Tables:
    """How many keys and rules there are; the ones in use stand last."""

    keys: int = 1
    rules: int = 1


RUNS_POLICY = """\
version: 1
name: runs
description: Lists of run IDs, and exact URLs only.
teams: [bench]
allow:
  - {id: own, workflowRunIds: {max: 1000, prefix: [wfr_]}, owner: unchecked}
require:
  - {id: exact, workflowUrlExactMatch: true}
"""


def policy_text(rules: int) -> str:
    """A policy file of so many `allow` rules for URLs, the last of them for the URL in use."""
    others = "".join(
        f'  - {{id: other-{number}, workflowUrl: {{exact: ["https://other{number}.example.com/api"]}}, '
        "label: {any: true}, count: {max: 100}}\n"
        for number in range(rules - 1)
    )
    return (
        "version: 1\nname: bench\ndescription: What is measured.\nteams: [bench]\n"
        f"allow:\n{others}"
        f'  - {{id: own, workflowUrl: {{exact: ["{URL}"]}}, label: {{any: true}}, count: {{max: 100}}}}\n'
    )


def keys_text(keys: int) -> str:
    """The YAML of so many callers' keys, the last of them the one in use."""
    names = [(f"other-{number}", str(number)) for number in range(keys - 1)]
    return "".join(
        f'    - {{id: {name}, team: bench, sha256: "{hashlib.sha256(key.encode()).hexdigest()}"}}\n'
        for name, key in [*names, ("bench", KEY)]
    )


def write_gateway(
    directory: Path, *, port: int, upstream_port: int, durability: str, tables: Tables, more: str = ""
) -> None:
    """Writes `config.yaml`, the policies and the token file; the record will be in `audit`. `more` is more YAML."""
    (directory / "policies").mkdir(parents=True, exist_ok=True)
    (directory / "policies" / "bench.yaml").write_text(policy_text(tables.rules))
    (directory / "policies" / "runs.yaml").write_text(RUNS_POLICY)
    token = directory / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    (directory / "config.yaml").write_text(
        f"version: 1\nlisten: 127.0.0.1:{port}\n"
        f'upstream: {{url: "http://127.0.0.1:{upstream_port}", token: {{file: token}}, contract: "2025"}}\n'
        f"callers:\n  keys:\n{keys_text(tables.keys)}policies: policies\n"
        f"audit: {{directory: audit, durability: {durability}}}\nlimits: {_LIMITS}\n{more}"
    )
