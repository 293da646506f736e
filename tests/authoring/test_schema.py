"""The shipped schemas are those of the readers, accept what is shipped, and refuse what the readers refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from gateway.audit import record
from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.audit.events.catalogue import Recovery
from gateway.audit.events.reloads import reload_members
from gateway.authoring.schema import NAMES, rendered, schema
from gateway.cli.main import main
from gateway.core.outcome import Cancelled, Closing
from gateway.core.plan import Denial, Order, Permit, Plan
from gateway.core.request import ActionRequest, ByIds, Principal

ROOT = Path(__file__).parents[2]
EXAMPLES = [ROOT / "config.example.yaml", *sorted((ROOT / "policies").glob("*.yaml"))]
NAMED = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


FIRST = {"recovery": "reason", "reload": "outcome"}
"""The first member of an event that is about no decision."""


class Plain(yaml.SafeLoader):
    """YAML as an editor reads it: dates stay text."""


Plain.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith("timestamp")]
    for sign, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def valid(name: str, document: object) -> bool:
    """Whether the schema accepts it."""
    return bool(jsonschema.Draft202012Validator(schema(name)).is_valid(document))


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_schema_is_that_of_the_readers(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`schema NAME` prints what schemas/ holds, and it is a schema."""
    jsonschema.Draft202012Validator.check_schema(schema(name))
    assert main(["schema", name]) == 0
    assert capsys.readouterr().out == rendered(name) == (ROOT / "schemas" / f"{name}.json").read_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_names_the_schema_that_accepts_it(path: Path) -> None:
    """The first line leads an editor to the schema, which finds no fault."""
    named = NAMED.match(path.read_text())
    assert named is not None
    target = (path.parent / named[1]).resolve()
    jsonschema.validate(yaml.load(path.read_text(), Plain), json.loads(target.read_text()))  # noqa: S506


POLICY = {"version": 1, "name": "t", "teams": ["a"], "allow": [{"id": "r", "label": {"any_of": ["x"]}}]}
DURING = {"days": ["mon-fri", "sat"], "hours": "22:00-06:00", "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"deny": [{"id": "d", "during": DURING, "until": "2027-01-01", "except": ["b"]}]}, True),
        ({"require": [{"id": "q", "reason": True, "except": [{"team": "b", "until": "2027-01-01T00:00:00Z"}]}]}, True),
        ({"require": [{"id": "q", "resolve": True, "runs": {"max": 5, "older_than": "5m"}}]}, True),
        (
            {"allow": [{"id": "r", "selects": ["everything"], "resolve": True, "runs": {"max": 5}, "logs": "full"}]},
            True,
        ),
        ({"require": [{"id": "q", "resolve": True, "runs": {"cap": 5, "older_than": "5m"}}]}, True),
        ({"require": [{"id": "q", "resolve": True, "runs": {"max": 5, "cap": 5}}]}, False),
        ({"require": [{"id": "q", "resolve": True, "runs": {"older_than": "5m"}}]}, False),
        ({"deny": [{"id": "d", "resolve": True}]}, False),
        ({"versin": 1}, False),
        ({"deny": [{"id": "d", "count": {"cap": 5}}]}, False),
        ({"deny": [{"id": "d", "during": {**DURING, "hours": "9-17"}}]}, False),
        ({"require": [{"id": "q", "reason": False}]}, False),
        ({"teams": []}, False),
        ({"mode": "off"}, False),
    ],
)
def test_an_editor_sees_what_the_reader_would_refuse(change: dict[str, object], accepted: bool) -> None:
    """Unknown keys, conditions where they have no meaning, and values of another form."""
    assert valid("policy", POLICY | change) is accepted


MANY = {"keys_added": [f"billing/{number}" for number in range(101)], "settings_changed": ["limits"]}


def records() -> list[dict[str, object]]:
    """One record of each kind, sealed."""
    principal = Principal("billing", "ci")
    asked = ActionRequest(ByIds(("wfr_1",)), 1, reason="stuck")
    permit = Permit("billing/own", "permit", None, asked, exceptions=("g/exact-url: billing (ticket OPS-1)",))
    decision_id = "01890000-0000-7000-8000-000000000000"
    plan = Plan(decision_id, principal, asked, permit, (Order(asked.selection, 1),), "0" * 64, None)  # type: ignore[arg-type]
    denial = Denial(None, "deny", None, "no", None)
    closing = Closing(Cancelled(200, 1), over_cancelled=0, duration_ms=3, caller_gone=False)
    who = {"principal": principal, "remote": "10.0.0.1"}
    members = [
        ("intent", record.intent_members(plan, upstream="https://u.example")),
        (
            "denied",
            record.denied_members(
                decision_id,
                asked=asked,
                denial=denial,
                policy_digest="0" * 64,
                upstream="u",
                **who,  # type: ignore[arg-type]
            ),
        ),
        ("outcome", record.outcome_members(decision_id, closing)),
        ("outcome", record.recovered_members(decision_id)),
        ("joined", record.joined_members(decision_id, joins=decision_id, **who)),  # type: ignore[arg-type]
        ("refused", record.refused_members(decision_id, status=400, code="c", cause="c", remote=None)),
        ("reload", reload_members("change", old_digest="0" * 64, new_digest=None, problems=["f:1:1: no"])),
        (
            "reload",
            reload_members("signal", old_digest="0" * 64, new_digest="1" * 64, problems=[], changed=MANY),
        ),
        ("recovery", Recovery(reason="restart", open=0, left_out=0, closed=1).members()),
    ]
    lines, _ = Sealer("i", key=None).seal(GENESIS, [Record(1, event, one) for event, one in members])
    return [json.loads(line) for line in lines]


def test_joins_that_were_not_recorded_are_counted_in_the_outcome() -> None:
    """Where there were any, and as a number."""
    closing = Closing(Cancelled(200, 1), over_cancelled=0, duration_ms=3, caller_gone=False, joins_left_out=7)
    line = next(line for line in records() if line["event"] == "outcome")
    assert "joins_left_out" not in line
    counted = line | record.outcome_members(str(line["decision_id"]), closing)
    assert counted["joins_left_out"] == 7
    jsonschema.validate(counted, schema("audit"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(counted | {"joins_left_out": "7"}, schema("audit"))


@pytest.mark.parametrize("number", range(9))
def test_every_record_is_as_its_schema_says(number: int) -> None:
    """What the log writes, and not the same without one of its members."""
    line = records()[number]
    jsonschema.validate(line, schema("audit"))
    for name in ("seq", "event", FIRST.get(str(line["event"]), "decision_id")):
        assert not valid("audit", {key: value for key, value in line.items() if key != name})


def test_what_a_reload_names_is_named_in_the_schema() -> None:
    """Every member that is written, and of one with another shape it says so."""
    line = next(line for line in records() if line.get("new_digest") == "1" * 64)
    rules = schema("audit")["allOf"]
    assert isinstance(rules, list)
    [properties] = [
        rule["then"]["properties"] for rule in rules if rule["if"]["properties"]["event"]["const"] == "reload"
    ]
    assert line["names_left_out"] == 1
    assert line.keys() - properties.keys() == {"v", "seq", "ts", "event", "instance", "prev", "mac"}
    for name in ("keys_added", "keys_removed", "settings_changed", "names_left_out"):
        assert not valid("audit", line | {name: "ci"})
    earlier = {name: value for name, value in line.items() if not re.search("_(added|removed|changed|out)$", name)}
    assert valid("audit", earlier)


def test_a_later_version_may_add_events_and_members() -> None:
    """Readers of the record keep working."""
    line = records()[0]
    assert valid("audit", line | {"new": 1})
    assert valid("audit", line | {"event": "no name of one: names are one word"})
