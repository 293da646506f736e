"""The targets `policy` and `config`: YAML files are refused with their places, or read as every YAML reader does."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from gateway import config
from gateway.config import Config, config_file
from gateway.core.errors import InvalidConfiguration, Problem
from gateway.core.plan import Denial
from gateway.core.request import Action, ActionRequest, ByFilter, ByIds, Everything
from gateway.files.source import parse_document
from gateway.policy.decide import decide
from gateway.policy.format import load
from gateway.policy.format.keys import PolicyFile
from gateway.policy.format.load import parse_policy
from gateway.policy.model import Effect
from gateway.policy.rules import Policies
from tests.reliability.fuzz.forward import NOW_MS, TEAM, check_forward

FILE = "f.yaml"
LOOPBACK = ("localhost", "::1")
OURS = "https://billing.example.com/api/invoice"
NOT_CONDITIONS = frozenset(
    ("id", "message", "mode", "except", "selects", "count", "workflowUrlExactMatch", "owner", "resolve", "runs",
     "action", "overrides")
)  # fmt: skip

ASKED = (
    ActionRequest(ByFilter(workflow_urls=(OURS,), exact=True), 100),
    ActionRequest(ByFilter(workflow_urls=(OURS,), exact=True, labels=("nightly",)), 7),
    ActionRequest(ByFilter(workflow_urls=("https://billing.example.com/api/",)), 100),
    ActionRequest(ByFilter(workflow_urls=("https://billing.example.com/api",)), 100),
    ActionRequest(ByFilter(labels=("nightly", "batch")), 1),
    ActionRequest(ByFilter(flow_control_keys=("k",), from_date=NOW_MS - 1000), 999_999_999),
    ActionRequest(ByFilter(caller_ips=("10.0.0.1",), from_date=NOW_MS - 1000, to_date=NOW_MS), 100),
    ActionRequest(ByIds(("wfr_billing_1", "wfr_billing_2")), 2),
    ActionRequest(ByIds(("x",)), 1),
)
"""Requests that every accepted policy is asked about."""


def check_policy(data: bytes) -> None:
    """One policy file."""
    try:
        policy = parse_policy(FILE, data)
    except InvalidConfiguration as exc:
        check_problems(exc.problems, data)
        return
    assert parse_policy(FILE, data) == policy
    written = as_others_read(data)
    if written is not None:
        check_policy_as_written(policy, written)
    policies = Policies(tuple(load._rules(policy)), "0" * 64)
    assert isinstance(decide(policies, TEAM, ActionRequest(Everything(), 1), NOW_MS), Denial)
    for request in ASKED:
        check_forward(request, policies)


def check_config(data: bytes) -> None:
    """One configuration file."""
    try:
        node, problems = parse_document(FILE, data)
    except InvalidConfiguration as exc:
        check_problems(exc.problems, data)
        return
    raw = config_file().read(node, problems)
    if problems or raw is None:
        check_problems(tuple(problems), data)
        return
    complete = config._complete(raw, Path("/etc"))
    check_origin(complete.upstream.url)
    written = as_others_read(data)
    if written is not None:
        check_config_as_written(complete, written)


def as_others_read(data: bytes) -> dict[str, Any] | None:
    """The document by PyYAML's own scanner, which shares none of the code; None where it refuses the text.

    It refuses a tab between a key and its value, which libyaml takes. A reader that refuses misreads nothing.
    """
    try:
        document = yaml.load(data.decode("utf-8"), yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    assert isinstance(document, dict)
    return document


def check_config_as_written(complete: Config, written: dict[str, Any]) -> None:
    """Another YAML reader finds the same keys, upstream, limits and durability."""
    keys = [(key["id"], key["team"], key["sha256"]) for key in written["callers"].get("keys") or ()]
    assert written["version"] == 1
    assert [(key.id, key.team, key.digest.hex()) for key in complete.keys] == keys
    assert complete.upstream.url == written["upstream"]["url"]
    assert all(getattr(complete.limits, name) == value for name, value in written.get("limits", {}).items()
               if name not in ("per_principal", "per_team", "lookup"))  # fmt: skip
    assert complete.audit.durability == written["audit"].get("durability", "fsync")


def check_problems(problems: tuple[Problem, ...], data: bytes) -> None:
    """A refusal has a reason, and each reason a place inside the file and a sentence for a terminal."""
    lines = data.count(b"\n") + data.count(b"\r") + 1
    assert problems
    for problem in problems:
        assert problem.file == FILE
        assert 1 <= problem.line <= lines + 1
        assert 1 <= problem.column <= len(data) + 2
        assert problem.message
        assert problem.message.isprintable(), repr(problem.message)


def check_policy_as_written(policy: PolicyFile, written: dict[str, Any]) -> None:
    """Another YAML reader finds the same names, teams, rules and conditions: no reviewer sees another file."""
    assert written["version"] == 1
    assert (policy.name, list(policy.teams)) == (written["name"], written["teams"])
    named = [entry if isinstance(entry, str) else entry["team"] for entry in written.get("except", [])]
    assert [exception.team for exception in policy.excepted] == named
    for effect in Effect:
        rules = [rule for rule in policy.rules if rule.effect is effect]
        seen = written.get(effect.value) or []
        assert [rule.id for rule in rules] == [rule["id"] for rule in seen]
        assert [set(rule.conditions) for rule in rules] == [rule.keys() - NOT_CONDITIONS for rule in seen]
        assert [rule.actions for rule in rules] == [_actions(rule.get("action", "cancel_runs")) for rule in seen]
        assert [rule.mode for rule in rules] == [rule.get("mode") for rule in seen]
        caps = [rule.count.cap if rule.count is not None else None for rule in rules]
        assert caps == [rule.get("count", {}).get("cap") for rule in seen]


def _actions(written: str | list[str]) -> frozenset[str]:
    named = [written] if isinstance(written, str) else written
    return frozenset(Action) if named == ["any"] else frozenset(named)


def check_origin(url: str) -> None:
    """The token goes to one host, encrypted unless it is this machine."""
    parts = urlsplit(url)
    assert parts.hostname
    assert (parts.username, parts.password, parts.path, parts.query, parts.fragment) == (None, None, "", "", "")
    assert parts.scheme == "https" or parts.hostname in LOOPBACK or parts.hostname.startswith("127.")
