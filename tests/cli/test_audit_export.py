"""`audit export`: every record as an event that keeps the published schema, or as the line that was hashed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema  # type: ignore[import-untyped]

from gateway.audit.chain import parse_line
from gateway.audit.decisions.joined import Owner
from gateway.audit.evidence import ocsf
from tests.audit.decisions.chains import Chain, an_id, denied, intent, outcome, settled
from tests.cli.running import command
from tests.cli.test_audit_show import at

EVENTS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "audit" / "every_event.jsonl").read_text(encoding="utf-8").splitlines()
]

Members = Mapping[str, object]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A record with every event of every version."""
    records = [(one["event"], {name: value for name, value in one.items() if name != "event"}) for one in EVENTS]
    Chain(tmp_path).write(*records)
    return tmp_path


def exported(directory: Path, form: str = "ocsf", *options: str) -> list[dict[str, object]]:
    """The objects of an export, one a line."""
    done = command("audit", "export", "--format", form, *options, str(directory))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.replace("\n", "").isprintable()
    return [json.loads(line) for line in done.stdout.splitlines()]


@cache
def schema(version: str) -> jsonschema.protocols.Validator:
    """The published schema of the class, which admits no attribute that it does not know."""
    whole = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
    text = whole.get_class_schema("api_activity", ["security_control"])
    assert text["additionalProperties"] is False
    return jsonschema.validators.validator_for(text)(text)


def faults(event: Any, version: str = ocsf.VERSION) -> list[str]:
    """What the schema finds wrong with an event."""
    return [fault.message for fault in schema(version).iter_errors(event)]


@pytest.mark.parametrize("version", [ocsf.VERSION, "1.6.0", "1.7.0", "1.8.0"])
def test_every_event_keeps_the_schema(directory: Path, version: str) -> None:
    """Of every event and every version of the record, in each of the versions that the page names."""
    events = exported(directory)
    assert len(events) == len(EVENTS)
    for event in events:
        assert faults(event, version) == []
        assert event["class_uid"] == 6003
        assert event["type_uid"] == 600_300 + int(str(event["activity_id"]))


def values(value: object) -> set[str]:
    """Every single value in a value, as JSON."""
    match value:
        case dict():
            return set().union(*map(values, value.values()))
        case list():
            return set().union(*map(values, value))
    return {json.dumps(value)}


def test_nothing_of_a_record_is_lost(directory: Path) -> None:
    """What the schema has no place for stands under `unmapped`; only null is left out."""
    lines = [json.loads(line) for line in next(directory.glob("*.jsonl")).read_text().splitlines()]
    for line, event in zip(lines, exported(directory), strict=True):
        of_a_decision = {json.dumps(line.get("team"))} if line["event"] not in ("freeze", "thaw") else set()
        assert values(line) - {"null"} - values(event) <= of_a_decision
        metadata = event["metadata"]
        assert isinstance(metadata, dict)
        assert metadata["uid"] == f"{line['instance']}:{line['seq']}"
        assert (metadata["original_time"], metadata["event_code"]) == (line["ts"], line["event"])


def test_the_lines_are_those_of_the_file(directory: Path) -> None:
    """As ndjson, byte by byte, so that what was exported can be verified."""
    done = command("audit", "export", "--format", "ndjson", str(directory))
    assert done.stdout == next(directory.glob("*.jsonl")).read_text()


def test_what_came_of_a_decision_names_who_made_it(tmp_path: Path) -> None:
    """The actor, the rule's part and the status, in words of the schema; of a span only what lies in it."""
    delete = {"action": "delete_dlq", "policy_digest": "ab"}
    paused = {"action": "pause", "team": "search"}
    chain = Chain(tmp_path)
    chain.write(intent(1, **delete), denied(2), outcome(1, "unknown", None), settled(1, 3), intent(3, **paused))
    sent, refused, unknown, known, changed = exported(tmp_path)
    assert (
        unknown["actor"]
        == known["actor"]
        == {
            "user": {
                "uid": "billing/ci",
                "name": "billing/ci",
                "type_id": 99,
                "type": "Principal",
                "groups": [{"name": "billing"}],
            }
        }
    )
    assert [one["activity_name"] for one in (sent, refused, unknown, changed)] == ["Delete"] * 3 + ["Update"]
    assert sent["authorizations"] == [{"decision": "permit", "policy": {"name": "billing/own", "uid": "ab"}}]
    assert [one.get("action") for one in (sent, refused, unknown)] == ["Allowed", "Denied", None]
    assert [one.get("status") for one in (sent, refused, unknown, known)] == [None, "Failure", "Unknown", "Success"]
    assert unknown["api"] == {
        "operation": "delete_dlq",
        "service": {"name": "qstash-gateway"},
        "request": {"uid": an_id(1)},
    }
    assert len(exported(tmp_path, "ocsf", "--since", at(3), "--until", at(5))) == 2


def test_a_freeze_says_whom_it_stops_and_who_did_it(tmp_path: Path) -> None:
    """One of a team is another event than one of all, and its actor is whoever did it."""
    scopes = [("billing", "platform/ops"), (None, "cli:0"), ("billing", "gateway")]
    Chain(tmp_path).write(
        *(("freeze", {"freeze_id": "f", "team": team, "rule": None, "by": by}) for team, by in scopes)
    )
    caller, person, itself = exported(tmp_path)
    assert [one["unmapped"].get("team") for one in (caller, person, itself)] == ["billing", None, "billing"]  # type: ignore[attr-defined]
    assert [one["activity_id"] for one in (caller, person, itself)] == [99] * 3
    named = {"type_id": 99, "type": "Principal"}
    assert caller["actor"] == {"user": {"uid": "platform/ops", "name": "platform/ops", **named}}
    assert person["actor"] == {"user": {"uid": "cli:0", "name": "cli:0", **named}}
    assert itself["actor"] == {"app_name": "qstash-gateway"}


def test_an_export_names_its_form(directory: Path) -> None:
    """64 without one."""
    assert command("audit", "export", str(directory)).returncode == 64


def test_a_record_of_somebody_else_is_exported_too() -> None:
    """Of an unknown event, with values of any type and a day that there is not."""
    line = (
        b'{"v":1,"seq":1,"ts":"2026-02-31T00:00:00.000000Z","event":"odd","instance":"i","decision_id":7,"team":[],'
        b'"principal":{},"remote":1,"key_id":[],"outcome":[],"cause":{},"code":1,"enforced":[],"rule":3,"asked":4,'
        b'"upstream":5,"upstream_status":true,"duration_ms":"x","action":6,"prev":null,"mac":null}'
    )
    members = parse_line(line)
    assert isinstance(members, dict)
    event = ocsf.event(members, Owner([], {}, 3, 6))
    assert faults(event) == []
