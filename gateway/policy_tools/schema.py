"""JSON Schema of every file format: made from the readers that load them, and for records from a declaration.

A schema says which keys and types there are. Which of them go together only `check` says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from gateway.config import config_file
from gateway.policy.format.keys import policy_file
from gateway.policy_tools.cases import cases_file
from gateway.policy_tools.descriptions import CONFIG, POLICY

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, object]


def schema(name: str) -> Schema:
    """The schema of one of `NAMES`."""
    return {"$schema": DIALECT, "title": TITLES[name], **_MADE[name]()}


def rendered(name: str) -> str:
    """The text of a schema as it is shipped."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def described(node: object, sentences: Mapping[str, str]) -> object:
    """A schema whose properties say what they mean, by name; what has no sentence stays as it is."""
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


_TEXT: Schema = {"type": "string"}
_NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
_NUMBER: Schema = {"type": "integer", "minimum": 0}
_NULLABLE_NUMBER: Schema = {"type": ["integer", "null"], "minimum": 0}
_HEX: Schema = {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"}
_FLAG: Schema = {"type": ["boolean", "null"]}
_UUID: Schema = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
_RULE: Schema = {"type": ["string", "null"], "pattern": "^[^/]+/[^/]+$"}
_ASKED: Schema = {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1}}, "required": ["count"]}

_RUN: Schema = {"type": "array", "prefixItems": [_TEXT, _TEXT, _NUMBER], "minItems": 3, "maxItems": 3}
_NAMES: Schema = {"type": "array", "items": _TEXT, "maxItems": 100}
_SKIPPED: Schema = {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}}

_COMMON: Schema = {
    "v": {"const": 1},
    "seq": {"type": "integer", "minimum": 1},
    "ts": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"},
    "event": _TEXT,
    "instance": _TEXT,
    "prev": _HEX,
    "mac": _HEX,
}
_WHO: Schema = {"team": _TEXT, "principal": _TEXT, "key_id": _TEXT, "remote": _NULLABLE_TEXT}
_JUDGED: Schema = {
    "decision_id": _UUID,
    **_WHO,
    "dialect": {"enum": ["query", "body"]},
    "asked": _ASKED,
    "effective": _ASKED,
    "selects": {"enum": ["run_ids", "filter", "everything"]},
    "decision": {"enum": ["permit", "deny"]},
    "enforced": {"enum": ["permit", "deny"]},
    "rule": _RULE,
    "narrowed": {
        "type": ["object", "null"],
        "properties": {"count": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}},
        "required": ["count"],
    },
    "shadow": _RULE,
    "policy_digest": _TEXT,
    "upstream": _TEXT,
    "orders": {"type": "array", "items": _TEXT},
    "exceptions": {"type": "array", "items": _TEXT},
    "reason": {"type": ["string", "null"], "maxLength": 200},
}
_OUTCOME: Schema = {
    "decision_id": _UUID,
    "outcome": {"enum": ["cancelled", "accepted", "refused", "not_sent", "unknown"]},
    "upstream_status": _NULLABLE_NUMBER,
    "cancelled": _NULLABLE_NUMBER,
    "over_cancelled": _NUMBER,
    "duration_ms": _NULLABLE_NUMBER,
    "caller_gone": _FLAG,
    "carried_out": _FLAG,
}
_EVENTS: dict[str, Schema] = {
    "start": {},
    "stop": {},
    "recovery": {"reason": _TEXT, "open": _NUMBER, "left_out": _NUMBER},
    "reload": {
        "outcome": {"enum": ["applied", "refused"]},
        "cause": {"enum": ["signal", "change"]},
        "old_digest": _TEXT,
        "new_digest": _NULLABLE_TEXT,
        "problems": {"type": "array", "items": _TEXT},
    },
    "refused": {
        "decision_id": _UUID,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": _TEXT,
        "cause": _TEXT,
        "remote": _NULLABLE_TEXT,
    },
    "denied": _JUDGED | {"effective": {"const": {}}},
    "throttled": {"decision_id": _UUID, **_WHO, "cause": _TEXT, "limit": _NUMBER, "retry_after_s": _NUMBER},
    "plan": {name: shape for name, shape in _JUDGED.items() if name not in ("narrowed", "orders")}
    | {"enforced": {"const": "permit"}, "digest": _TEXT, "runs": {"type": "array", "items": _RUN}, "skipped": _SKIPPED},
    "intent": _JUDGED | {"enforced": {"const": "permit"}},
    "chunk": {
        "decision_id": _UUID,
        "number": _NUMBER,
        "of": _NUMBER,
        "order": _TEXT,
        "outcome": _OUTCOME["outcome"],
        "upstream_status": _NULLABLE_NUMBER,
        "cancelled": _NULLABLE_NUMBER,
        "skipped": _SKIPPED,
    },
    "joined": {"decision_id": _UUID, "joins": _UUID, **_WHO},
    "outcome": _OUTCOME,
    "settled": {
        "decision_id": _UUID,
        "source": {"enum": ["bulk_action", "read_back"]},
        "cancelled": _NULLABLE_NUMBER,
    },
    "explained": {"decision_id": _UUID},
    "retired": {
        "retired": _TEXT,
        "at": {"type": "object", "properties": {"seq": _NUMBER, "head": _HEX}, "required": ["seq", "head"]},
        "files": {"type": "object", "additionalProperties": _HEX},
        "to": _NULLABLE_TEXT,
    },
}
_SOMETIMES: dict[str, Schema] = {
    "refused": {"left_out": _NUMBER},
    "throttled": {"left_out": _NUMBER},
    "outcome": {"joins_left_out": _NUMBER},
    "reload": {
        **{f"{what}_{how}": _NAMES for what in ("keys", "issuers") for how in ("added", "removed", "changed")},
        "settings_changed": _NAMES,
        "names_left_out": _NUMBER,
    },
}
"""Members that not every record of an event has: counts of what was left out, and what earlier versions did not say."""


EVENTS = tuple(_EVENTS)
"""The names of the events of this version."""


def _audit() -> Schema:
    """One line of the log. Later versions add events and members, so others are admitted."""
    return {
        "type": "object",
        "properties": _COMMON,
        "required": list(_COMMON),
        "allOf": [
            {
                "if": {"properties": {"event": {"const": event}}, "required": ["event"]},
                "then": {"properties": members | _SOMETIMES.get(event, {}), "required": list(members)},
            }
            for event, members in _EVENTS.items()
        ],
    }


_MADE: dict[str, Callable[[], Schema]] = {"config": _config, "policy": _policy, "audit": _audit, "cases": _cases}
TITLES = {
    "config": "Configuration of the QStash gateway",
    "policy": "Policy file of the QStash gateway",
    "audit": "Audit record of the QStash gateway",
    "cases": "Cases of a policy directory of the QStash gateway",
}
NAMES = tuple(TITLES)
"""What there is a schema of."""
