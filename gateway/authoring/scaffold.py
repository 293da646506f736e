"""The files that a new team starts from: a configuration, guardrails, the team's own policy, and cases for both."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.authoring.schema import rendered

_SCHEMA_LINE = "# yaml-language-server: $schema="

_CONFIG = """\
# The gateway's configuration. `qstash-gateway check --config config.yaml` says everything that `serve` would refuse.
# Paths are relative to this file. Secrets never stand here: this file says where they are.
version: 1
listen: 127.0.0.1:8080

upstream:
  url: https://qstash.upstash.io       # or https://qstash-us-east-1.upstash.io
  token: {file: qstash-token}          # write the token of your QStash account into this file; mode 0600
  # read_token: {file: qstash-read-token}  # the account's read-only token, for rules with `resolve: true`
  contract: "2026-09"                  # or "2025": which answers to expect. Under 2026-09 `count` is advisory

callers:
  # `qstash-gateway keys new --team TEAM --id ci` prints a key once, and the line to paste here.
  keys: []

policies: policies

audit:
  directory: audit                     # every cancel is recorded here before it is sent
"""

_GUARDRAILS = """\
# Guardrails: what holds for every team, whatever its own file allows.
# A request is let through when no `deny` touches it, every `require` holds, and one `allow` admits it.
version: 1
name: guardrails
description: What nobody may do, whatever else is allowed.
teams: ["*"]

deny:
  # A cancel that names nothing cancels every run of the account.
  - {id: everything, selects: [everything], message: "Name the runs, or at least the workflow."}

  # A change freeze: take the # away and set the dates. Outside them the rule is as if absent.
  # - id: freeze
  #   during: {from: "2026-12-20T00:00:00+01:00", until: "2027-01-04T00:00:00+01:00"}
  #   message: "Nothing is cancelled over the holidays."

require:
  # Upstream reads a URL as a prefix without any boundary: `…/api` would also cancel `…/api-v2`.
  - {id: exact-url, workflowUrlExactMatch: true}

  # A larger count is lowered to the cap; a longer list of run IDs is refused.
  - {id: count-cap, count: {cap: 100}}    # lint: ignore count-only: a second line of defence, not the bound
"""

_TEAM = """\
# What the team TEAM may cancel. Nothing else is allowed: change the URL to that of your workflow.
version: 1
name: TEAM-own
description: The team TEAM stops runs of its own workflow.
teams: [TEAM]

allow:
  - id: own-workflow    # lint: ignore count-only: the URL is exact, so only our own runs can be hit
    workflowUrl: {exact: ["https://TEAM.example.com/api/workflow"]}
    count: {cap: 50}

  # Runs by ID: each is looked up first and must be one of our workflow. This needs `upstream.read_token` in the
  # configuration; then take the # away to allow it.
  # - id: own-runs
  #   workflowRunIds: {max: 20}
  #   workflowUrl: {exact: ["https://TEAM.example.com/api/workflow"]}
  #   resolve: true
  #   runs: {max: 20}

  # A rule is about cancels of runs, unless it names another action. This one lets the team start its failed runs again;
  # it needs `upstream.read_token` too.
  # - id: own-failed
  #   action: [resume_dlq, restart_dlq]
  #   workflowUrl: {exact: ["https://TEAM.example.com/api/workflow"]}
  #   resolve: true
  #   runs: {max: 20}
"""

_CASES = """\
# What these policies decide, as cases: `qstash-gateway test policies`. Add one before you change a rule.
version: 1
cases:
  - it: lets the team stop its own workflow, 50 runs at a time
    team: TEAM
    request: {workflowUrl: "https://TEAM.example.com/api/workflow", workflowUrlExactMatch: true, count: 100}
    expect: permit
    rule: TEAM-own/own-workflow
    effective: {workflowUrl: "https://TEAM.example.com/api/workflow", workflowUrlExactMatch: true, count: 50}

  - it: refuses the same as a prefix, which would reach its neighbours
    team: TEAM
    request: "DELETE /v2/workflows/runs?workflowUrl=https%3A%2F%2FTEAM.example.com%2Fapi%2Fworkflow"
    expect: deny
    rule: guardrails/exact-url

  - it: refuses to cancel everything
    team: TEAM
    request: "DELETE /v2/workflows/runs?count=100"
    expect: deny
    rule: guardrails/everything

  - it: lowers a large count
    team: TEAM
    request: {workflowUrl: "https://TEAM.example.com/api/workflow", workflowUrlExactMatch: true, count: 1000}
    expect: permit
    rule: TEAM-own/own-workflow
"""

_IGNORED = """\
qstash-token
qstash-read-token
audit/
"""


def team_files(team: str, *, schemas: bool) -> Mapping[str, str]:
    """Return the text of a further team's own two files, by name.

    `schemas` says that the files name the schemas that `init` wrote, for editors. The cases name no rule of the files
    that are there already, because those rules may have other names.
    """
    cases = re.sub(r"\n    rule: guardrails/\S+", "", _CASES)
    texts = {f"{team}.yaml": ("policy", _TEAM), f"{team}.cases.yaml": ("cases", cases)}
    return {
        name: (f"{_SCHEMA_LINE}../schemas/{schema}.json\n{text}" if schemas else text).replace("TEAM", team)
        for name, (schema, text) in texts.items()
    }


def scaffold(team: str) -> Mapping[str, str]:
    """Return the text of each file of a new start, by path, for a team of this name."""
    return {
        "config.yaml": f"{_SCHEMA_LINE}schemas/config.json\n{_CONFIG}".replace("TEAM", team),
        "policies/guardrails.yaml": f"{_SCHEMA_LINE}../schemas/policy.json\n{_GUARDRAILS}",
        f"policies/{team}.yaml": f"{_SCHEMA_LINE}../schemas/policy.json\n{_TEAM}".replace("TEAM", team),
        f"policies/{team}.cases.yaml": f"{_SCHEMA_LINE}../schemas/cases.json\n{_CASES}".replace("TEAM", team),
        **{f"schemas/{name}.json": rendered(name) for name in ("config", "policy", "cases")},
        ".gitignore": _IGNORED,
    }
