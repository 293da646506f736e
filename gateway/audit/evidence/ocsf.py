"""Records as events of the Open Cybersecurity Schema Framework: class 6003, API Activity. Pure.

One record is one event. What the schema has no place for stands under `unmapped`, so nothing of a record is lost but
the members that are null. The attributes used are the same from version 1.5.0 to 1.8.0 of the schema
(https://schema.ocsf.io/1.5.0/classes/api_activity).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from gateway.audit.decisions.joined import SWITCHES, Owner
from gateway.core.forms.times import unix_ms

VERSION = "1.5.0"
CATEGORY, CLASS = 6, 6003
PRODUCT = {"name": "qstash-gateway", "vendor_name": "qstash-gateway"}

UNKNOWN, READ, UPDATE, DELETE, OTHER = 0, 2, 3, 4, 99
_ACTIVITIES = {UNKNOWN: "Unknown", READ: "Read", UPDATE: "Update", DELETE: "Delete"}
_OF_THE_GATEWAY = frozenset(("start", "stop", "recovery", "reload", "retired"))
_OTHERS = _OF_THE_GATEWAY | SWITCHES | {"withdrawn", "approval"}
_READING = frozenset(("plan", "explained"))
_OF_A_DECISION = frozenset(("denied", "intent", "chunk", "joined", "outcome", "settled"))

SUCCESS, FAILURE = 1, 2
_STATUSES = {UNKNOWN: "Unknown", SUCCESS: "Success", FAILURE: "Failure"}
_STATUS_OF = {
    "cancelled": SUCCESS,
    "accepted": SUCCESS,
    "applied": SUCCESS,
    "refused": FAILURE,
    "not_sent": FAILURE,
    "unknown": UNKNOWN,
}
_SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}

Members = Mapping[str, object]
Attributes = dict[str, object]


def event(members: Members, owner: Owner) -> Attributes:
    """Return the record as an event; `owner` says whose it is, if the record itself does not."""
    left = {name: value for name, value in members.items() if value is not None}
    code, ts = str(left.pop("event")), str(left.pop("ts"))
    if code == "approval":
        owner = _approving(left, owner)
    activity = _activity(code, owner.action)
    attributes = {
        "activity_id": activity,
        "activity_name": _ACTIVITIES.get(activity, code),
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "type_uid": CLASS * 100 + activity,
        "type_name": f"API Activity: {_ACTIVITIES.get(activity, 'Other')}",
        "time": _time(ts),
        **_status(code, left),
        **_severity(code, left),
        **_control(left),
        "actor": _actor(code, left, owner),
        "src_endpoint": _source(code, left),
        **_destination(left),
        "api": _api(code, left, owner),
        "metadata": _metadata(code, ts, left),
    }
    if isinstance(duration_ms := left.get("duration_ms"), int):
        attributes["duration"] = duration_ms
        del left["duration_ms"]
    return {**attributes, "unmapped": left}


def _time(ts: str) -> int:
    try:
        return unix_ms(datetime.fromisoformat(ts))
    except ValueError:
        return 0  # no such day: only a record that was made by somebody else; `original_time` has what it says


def _activity(code: str, action: object) -> int:
    if code in _READING:
        return READ
    if code in _OF_A_DECISION:
        name = action if isinstance(action, str) else "cancel_runs"
        return DELETE if name.startswith(("cancel_", "delete_")) else UPDATE
    return OTHER if code in _OTHERS else UNKNOWN


def _status(code: str, left: Attributes) -> Attributes:
    """Take what came of it. An event that only says what is asked or about to be sent has no status."""
    outcome, cause, refusal = left.get("outcome"), left.get("cause"), left.get("code")
    if code in ("denied", "refused", "throttled"):
        status = FAILURE
    elif code == "settled":
        status = UNKNOWN if left.get("cancelled") is None else SUCCESS
    elif isinstance(outcome, str):
        status = _STATUS_OF.get(outcome, UNKNOWN)
    else:
        return {}
    found: Attributes = {"status_id": status, "status": _STATUSES[status]}
    for name, value in (("status_code", refusal or outcome), ("status_detail", cause)):
        if isinstance(value, str):
            found[name] = value
    for name in ("code", "outcome", "cause"):
        if left.get(name) in found.values():
            del left[name]
    return found


def _severity(code: str, left: Attributes) -> Attributes:
    severity = 2 if code in ("denied", "refused", "throttled") else 1
    if code == "outcome" and "progress" not in left and left.get("carried_out") is None:
        severity = 3
    if left.get("over_cancelled") or left.get("filter_wider"):
        severity = 4
    return {"severity_id": severity, "severity": _SEVERITIES[severity]}


def _control(left: Attributes) -> Attributes:
    """Take the judgement, its rule and the digest of its policies: the profile `security_control`."""
    enforced = left.get("enforced")
    if enforced not in ("permit", "deny"):
        return {}
    allowed = left.pop("enforced") == "permit"
    policy = {name: left.pop(member) for name, member in (("name", "rule"), ("uid", "policy_digest")) if member in left}
    return {
        "action_id": 1 if allowed else 2,
        "action": "Allowed" if allowed else "Denied",
        "disposition_id": 1 if allowed else 2,
        "disposition": "Allowed" if allowed else "Blocked",
        "authorizations": [{"decision": enforced, **({"policy": policy} if policy else {})}],
    }


def _actor(code: str, left: Attributes, owner: Owner) -> Attributes:
    by_the_gateway = code in SWITCHES and owner.principal == "gateway"
    if code in _OF_THE_GATEWAY or by_the_gateway:
        return {"app_name": PRODUCT["name"]}
    if not isinstance(owner.principal, str):
        return {"user": {"name": "unknown", "type_id": 0, "type": "Unknown"}}
    user: Attributes = {"uid": owner.principal, "name": owner.principal, "type_id": 99, "type": "Principal"}
    if code in SWITCHES:
        # Their team is the one whose cancels they stop, which may be another than that of whoever did it.
        left.pop("by", None)
        return {"user": user}
    for name in ("team", "principal"):
        left.pop(name, None)
    if isinstance(owner.team, str):
        user["groups"] = [{"name": owner.team}]
    if isinstance(key_id := left.get("key_id"), str):
        user["credential_uid"] = key_id
        del left["key_id"]
    return {"user": user}


def _approving(left: Attributes, owner: Owner) -> Owner:
    """Take who acts on an approval, a person or the gateway; whose cancel it is about stays beside it."""
    left["about"] = {name: left.pop(name) for name in ("team", "principal") if name in left}
    by = left.pop("by", None)
    return owner._replace(team=by.partition("/")[0] if isinstance(by, str) else None, principal=by)


def _source(code: str, left: Attributes) -> Attributes:
    remote = left.get("remote")
    if isinstance(remote, str):
        del left["remote"]
        return {"ip": remote}
    return {"name": str(left.get("instance")) if code in _OF_THE_GATEWAY else "unknown"}


def _destination(left: Attributes) -> Attributes:
    upstream = left.get("upstream")
    if not isinstance(upstream, str):
        return {}
    del left["upstream"]
    return {"dst_endpoint": {"svc_name": upstream}}


def _api(code: str, left: Attributes, owner: Owner) -> Attributes:
    operation = code if code in _OF_THE_GATEWAY or code not in (*_OF_A_DECISION, *_READING) else owner.action
    if operation is not None and left.get("action") == operation:
        del left["action"]
    api: Attributes = {"operation": str(operation or "cancel_runs"), "service": {"name": PRODUCT["name"]}}
    decision_id, asked = left.get("decision_id"), left.get("asked")
    if isinstance(decision_id, str):
        api["request"] = {"uid": decision_id, **({"data": asked} if isinstance(asked, dict) else {})}
        left.pop("asked", None)
    for member in ("upstream_status", "status"):
        if type(number := left.get(member)) is int:
            api["response"] = {"code": number}
            del left[member]
    return api


def _metadata(code: str, ts: str, left: Attributes) -> Attributes:
    instance, seq = left.pop("instance"), left.pop("seq")
    metadata: Attributes = {
        "version": VERSION,
        "product": PRODUCT,
        "uid": f"{instance}:{seq}",
        "sequence": seq,
        "event_code": code,
        "original_time": ts,
        "log_name": instance,
        "profiles": ["security_control"],
    }
    if isinstance(decision_id := left.get("decision_id"), str):
        metadata["correlation_uid"] = decision_id
        del left["decision_id"]
    return metadata
