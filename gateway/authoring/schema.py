"""JSON Schemas of all file formats: made from the readers that load them, and of records from `audit/events`.

A schema says which keys and types exist. Only `check` says which of them go together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from gateway.audit.events.catalogue import EVENTS, Envelope
from gateway.audit.events.shapes import Schema, record_schema
from gateway.authoring.cases import cases_file
from gateway.config import config_file
from gateway.policy.format.keys import policy_file

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> Schema:
    """Return the schema of one of `NAMES`."""
    return {"$schema": DIALECT, "title": TITLES[name], **_MADE[name]()}


def rendered(name: str) -> str:
    """Return the text of a schema as it is shipped."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def described(node: object, sentences: Mapping[str, str]) -> object:
    """Return the schema with a description for each property that `sentences` has by name; others stay as they are."""
    if isinstance(node, list):
        return [described(item, sentences) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: described(value, sentences) for key, value in node.items()}
    properties = inner.get("properties")
    if isinstance(properties, dict):
        inner["properties"] = {
            name: {"description": sentences[name], **value} if name in sentences else value
            for name, value in properties.items()
        }
    return inner


def _config() -> Schema:
    return _object(described(config_file().json_schema(), CONFIG))


def _policy() -> Schema:
    return _object(described(policy_file().json_schema(), POLICY))


def _cases() -> Schema:
    return _object(cases_file().json_schema())


def _object(node: object) -> Schema:
    assert isinstance(node, dict)
    return node


def _audit() -> Schema:
    return record_schema(Envelope, EVENTS)


_MADE: dict[str, Callable[[], Schema]] = {"config": _config, "policy": _policy, "audit": _audit, "cases": _cases}
TITLES = {
    "config": "Configuration of the QStash gateway",
    "policy": "Policy file of the QStash gateway",
    "audit": "Audit record of the QStash gateway",
    "cases": "Cases of a policy directory of the QStash gateway",
}
NAMES = tuple(TITLES)
"""The file formats that have a schema."""


CONFIG = {
    "version": "The version of this format: 1.",
    "listen": "An IP address or localhost and a port, or unix:/path/of/socket; or a list of up to four.",
    "upstream": "The one upstream that cancels go to.",
    "url": "Where it is. upstream: https, or http to loopback only; state: sqlite:FILE, postgresql://USER@HOST/DATABASE.",
    "token": "Where the token is: a file, which is read again when it changes, or an environment variable.",
    "read_token": "Where the account's read-only token is, another one: for 'resolve: true', and to show runs.",
    "contract": "Which answers to expect of upstream. Under 2026-09 count is advisory.",
    "callers": "Who may call: keys, and issuers of tokens.",
    "keys": "'keys new' prints an entry to paste.",
    "sha256": "The SHA-256 of the whole key, as 64 lower-case hex digits.",
    "expires": "The last UTC day on which the key is good.",
    "policies": "The directory of policy files, relative to this file.",
    "audit": "Where and how the record is kept. No record, no cancel.",
    "durability": "fsync survives a power cut; os survives only the process.",
    "stdout": "Whether a copy of every record goes to standard output.",
    "mac_key": "A secret that makes the chain of records an HMAC.",
    "limits": "What is held in memory at most, and for how long.",
    "per_principal": "What one principal may take; 0 is no limit.",
    "per_team": "What one team may take. 0: half of max_in_flight where several teams are configured, else no limit.",
    "trusted_proxies": "Peers whose X-Forwarded-For is believed, for the record only.",
    "keep_alive_s": "How long a caller's connection may be idle between two requests, in seconds.",
    "shutdown_grace_s": "How long calls in flight may take at the end, in seconds.",
    "telemetry": "Where traces of cancels go; needs the extra 'otel'. Without it none are made.",
    "state": "What outlives the process and is shared: budgets, freezes, plans. Without it nothing is kept.",
    "operators": "Whose principals see what all teams did, and freeze and thaw; needs 'state'. It grants no cancel.",
    "password": "The file that holds PostgreSQL's password; it never stands in the URL.",
    "connections": "How many connections to PostgreSQL are open at most.",
    "otlp": "The base URL of an OpenTelemetry collector that takes OTLP over HTTP, like http://127.0.0.1:4318.",
}

POLICY = {
    "version": "The version of this format: 1.",
    "name": "The name of the file in rule names, <file>/<rule>.",
    "contact": "How the owner is reached: a channel, an address, a page.",
    "teams": "Which teams the rules are made for; '*' alone is every team.",
    "except": "Teams that are not meant: a name, or {team, until, reason, ticket}.",
    "mode": "shadow: judged and recorded, never enforced.",
    "deny": "Refuses a request that could select such a run.",
    "require": "Must hold for every run that the request could select.",
    "allow": "Admits a request of which every run lies inside. Without one, nothing is allowed.",
    "id": "The name of the rule in its file.",
    "message": "What a refused caller reads.",
    "during": "When the rule holds; outside it the rule is as if absent.",
    "days": "Days by the clock of the zone, like mon-fri or sat.",
    "hours": "From and to by the clock of the zone, like 22:00-06:00; a night belongs to the day it begins on.",
    "zone": "A time zone like Europe/Berlin.",
    "from": "The first instant, with its offset.",
    "until": "The end: an instant with its offset, or a date, the end of that UTC day.",
    "action": "What the rule is about: one action or a list; cancel_runs if left out. any: every one, not in an allow.",
    "dlqIds": "The entries of the dead letter queue by ID.",
    "messageIds": "The messages by ID.",
    "workflowRunId": "The runs that entries of the dead letter queue are about.",
    "queue": "The queue that is paused or resumed.",
    "schedule": "The schedule that is paused or resumed.",
    "overrides": "The headers of resume_dlq and restart_dlq that change what is started are admitted.",
    "selects": "What the request selects by: run_ids (or ids), filter, everything.",
    "workflowUrl": "The workflow's URL: exact values, or prefixes with a boundary at '/'.",
    "workflowUrlExactMatch": "A URL must be named exactly, not as a prefix.",
    "workflowRunIds": "The runs by ID.",
    "label": "The runs' labels.",
    "flowControlKey": "The runs' flow-control key.",
    "callerIp": "The address that started the runs.",
    "host": "The host of the runs' URLs, with its port; matched by the gateway, so an allow says resolve.",
    "path": "The path of the runs' URLs, without ?query; as host, and only beside host or workflowUrl.",
    "created": "fromDate and toDate, when the runs were created.",
    "within_last": "fromDate lies within the last while, like 24h.",
    "max_span": "fromDate and toDate lie at most so far apart, like 6h.",
    "count": "How many runs: max refuses more, cap lowers to it.",
    "max": "More is refused.",
    "cap": "More is lowered to it; a list of run IDs is never cut, but refused.",
    "exact": "These URLs, with workflowUrlExactMatch=true.",
    "prefix": "These and what lies below them.",
    "any_of": "Every value that the request names is one of these.",
    "any": "Every value is admitted; implies optional.",
    "optional": "A request may leave the field out.",
    "resolve": "The gateway looks the runs up, judges each, and cancels exactly these by ID.",
    "runs": "What is asked of the runs that are looked up; stands beside resolve.",
    "budget": "The most runs and requests under the rule within any `per`, like 24h; kept in the state of the gateway.",
    "requests": "How many requests that cancel.",
    "per": "Within which time, always ending now, like 24h.",
    "shared": "Who share the budget: all under the rule (the default), each team, or each key.",
    "approve": "Whose approval is needed above so many runs; kept in the state of the gateway. Beside resolve.",
    "by": "The teams whose principals may approve; never the one that asked.",
    "over": "How many runs of the team within `within` need none; default 0.",
    "within": "For how long an approval holds, and what the team did counts, like 30m (the default).",
    "older_than": "Younger runs are left out and named, like 5m.",
    "logs": "full: steps and payloads of the runs that the rule covers are shown; summary, the default: they are not.",
    "owner": "Of a file: whom to ask about its rules. Of a rule, unchecked: run IDs carry no owner, you know whose.",
    "reason": "true in a require: the request carries the header Gateway-Reason. In an exception: why it exists.",
}
