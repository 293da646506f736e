"""Every event is written byte by byte as it always was, and is declared once."""

from __future__ import annotations

import ast
import json
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import jsonschema
import orjson
import pytest

from gateway.audit import chain
from gateway.audit.chain import FIRST, GENESIS, LAST, Members, Record, Sealer
from gateway.audit.decisions import joined
from gateway.audit.events import catalogue
from gateway.audit.events.catalogue import EVENTS, Envelope, Intent, Joined, Recovery
from gateway.audit.events.declare import ABSENT, LATER, LOOSE, Absent, Event, maker
from gateway.audit.events.reloads import CHANGES
from gateway.audit.events.shapes import members_of, value_schema
from gateway.audit.evidence import decisions, ocsf
from gateway.authoring.history import JUDGED_EVENTS
from gateway.authoring.schema import schema
from tests.audit.samples import KEPT, SAMPLES, written
from tests.support.project import ROOT

JUDGE = jsonschema.Draft202012Validator(schema("audit"))
BY_NAME = {event.NAME: event for event in EVENTS}


def test_every_record_has_the_bytes_that_it_always_had() -> None:
    """Members, their order and their values, for every event and in every variety."""
    assert written(SAMPLES) == KEPT.read_bytes().splitlines()


def test_the_samples_hold_every_event_and_every_member() -> None:
    """So that what was said above is said of all of them."""
    seen = {(event, name) for event, members in SAMPLES for name in members}
    assert seen == {(event.NAME, member.name) for event in EVENTS for member in members_of(event)}


@pytest.mark.parametrize(("event", "members"), SAMPLES, ids=[event for event, _ in SAMPLES])
def test_a_record_holds_what_its_event_declares(event: str, members: Members) -> None:
    """In the declared order, without one that every record has missing, and with values of the declared types."""
    declared = members_of(BY_NAME[event])
    assert [member.name for member in declared if member.name in members] == list(members)
    if event != "start":  # its parts are made in different rooms
        assert {member.name for member in declared if member.always} <= members.keys()
    for member in declared:
        if member.name in members:
            jsonschema.validate(json.loads(orjson.dumps(members[member.name])), member.value)


@pytest.mark.parametrize(("event", "members"), SAMPLES, ids=[event for event, _ in SAMPLES])
def test_the_schema_requires_and_checks_what_is_declared(event: str, members: Members) -> None:
    """A sealed record is accepted; without a required member, or with another type in a checked one, it is not."""
    [line], _ = Sealer("i", key=None).seal(GENESIS, [Record(1, event, members)])
    record = json.loads(line)
    JUDGE.validate(record)
    for member in members_of(BY_NAME[event]):
        without = {name: value for name, value in record.items() if name != member.name}
        assert JUDGE.is_valid(without) is not member.required
        assert JUDGE.is_valid(record | {member.name: 0.5}) is not member.checked


def test_every_event_is_named_once() -> None:
    """A class of the catalogue that has a name is one of EVENTS."""
    named = [one for one in vars(catalogue).values() if isinstance(one, type) and issubclass(one, Event) and one.NAME]
    assert len(BY_NAME) == len(EVENTS)
    assert set(named) == set(EVENTS)
    assert [name for name in BY_NAME if not name.isidentifier()] == []


def test_every_event_and_member_says_what_it_is() -> None:
    """In a sentence, which the schema and the documents show."""
    declared: list[type[Event]] = [Envelope, *EVENTS]
    for event in declared:
        assert event.__doc__
        assert all(str(member.value.get("description", "")).endswith(".") for member in members_of(event))


def test_the_envelope_is_what_a_chain_writes() -> None:
    """Around the members of each event."""
    assert tuple(field.name for field in fields(Envelope)) == (*FIRST, *LAST)


def test_what_a_reload_compares_is_declared() -> None:
    """Each list of names that can change."""
    assert set(CHANGES) <= BY_NAME["reload"].__dataclass_fields__.keys()  # type: ignore[attr-defined]


def test_an_event_keeps_what_it_was_given() -> None:
    """It is frozen, and what it hands out is a copy."""
    event = Recovery(reason="restart", open=0, left_out=0)
    event.members()["open"] = 7
    assert event.members() == {"reason": "restart", "open": 0, "left_out": 0}
    assert (event.closed, event == Recovery(left_out=0, open=0, reason="restart", closed=ABSENT)) == (ABSENT, True)
    with pytest.raises(FrozenInstanceError):
        event.open = 7  # type: ignore[misc]


def test_no_record_is_made_of_other_members() -> None:
    """Neither by the value nor by the function that makes none."""
    for made in (Recovery, maker(Recovery)):
        with pytest.raises(TypeError, match="missing: left_out, open"):
            made(reason="restart")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="missing: seal"):
            made(reason="restart", open=0, left_out=0, seal=1)  # type: ignore[call-arg]


def test_the_order_is_that_of_the_declaration() -> None:
    """However the members were given."""
    given = {"left_out": 1, "closed": 2, "open": 3, "reason": "restart"}
    assert list(Recovery(**given).members()) == ["reason", "open", "left_out", "closed"]  # type: ignore[arg-type]
    assert list(maker(Recovery)(**given)) == ["reason", "open", "left_out", "closed"]  # type: ignore[arg-type]


def test_an_event_can_do_without_a_member_of_its_base() -> None:
    """`joined` has no judgement, `plan` and `explained` have none of what is sent."""
    assert {"narrowed", "orders"} & {member.name for member in members_of(BY_NAME["plan"])} == set()
    assert "orders" in {member.name for member in members_of(Intent)}
    assert "dialect" not in {member.name for member in members_of(Joined)}


@pytest.mark.parametrize("hint", [float, bytes, list[str], str | int, Absent, LOOSE])
def test_a_type_that_has_no_place_in_a_record_is_refused(hint: object) -> None:
    """It would have no schema."""
    with pytest.raises(TypeError, match=r"a record|one type"):
        value_schema(hint)


class New(Event, name="new"):
    """An event whose author took *later than the others* for *later in an event*."""

    number: Annotated[int, "How many.", LATER]
    cause: Annotated[str | Absent, "Why."] = ABSENT


class Grown(Event, name="grown"):
    """An event that has one member more than it had."""

    number: Annotated[int, "How many."]
    more: Annotated[int, "How many more.", LATER]


def test_an_event_without_a_member_that_was_always_there_is_refused() -> None:
    """Its schema would require nothing of it; an event that has grown requires what it had."""
    with pytest.raises(TypeError, match="new: every member is marked LATER"):
        members_of(New)
    assert [(member.name, member.required) for member in members_of(Grown)] == [("number", True), ("more", False)]


def test_every_event_is_noted_with_the_members_that_are_its_own() -> None:
    """Wherever the code puts a name beside members, the samples, which are compared with the declarations, do too."""
    sampled, noted = pairs_in(ROOT / "tests/audit/samples.py"), set()
    for path in (ROOT / "gateway").rglob("*.py"):
        noted |= pairs_in(path)
    # Both kinds of subject are sampled, and the variables of a recovery hold one.
    known = {("settled", "subject"), ("recovery", "found"), ("recovery", "replace")}
    assert noted - sampled - known == set()
    assert {name for name, _ in noted} >= {"intent", "outcome", "denied", "joined", "plan", "explained", "settled"}


@pytest.mark.parametrize(
    "event", [event.NAME for event in EVENTS if "decision_id" in {one.name for one in members_of(event)}]
)
def test_what_readers_make_of_an_event_with_a_decision_is_said(event: str) -> None:
    """A new one is given a place in each of their tables, or left out of it on purpose."""
    begins, continues = event in joined.BEGINNING, event in joined.CONTINUING
    known = {
        "needed": event in chain._NEEDS_DECISION,
        "begins": begins,
        "continues": continues,
        "alone": not begins and not continues and event not in decisions.NO_DECISION,
        "refuses": decisions._refusal({"event": event}) is not None,
        "replayed": event in JUDGED_EVENTS,
        "acts": event in ocsf._OF_A_DECISION,
    }
    assert {word for word, holds in known.items() if holds} == READ_AS.get(event)


READ_AS = {
    "refused": {"alone", "refuses"},
    "denied": {"needed", "alone", "refuses", "replayed", "acts"},
    "throttled": {"alone", "refuses"},
    "plan": {"needed", "begins"},
    "intent": {"needed", "begins", "replayed", "acts"},
    "chunk": {"needed", "continues", "acts"},
    "joined": {"needed", "alone", "acts"},
    "withdrawn": {"needed"},
    "approval": {"needed"},
    "outcome": {"needed", "continues", "acts"},
    "settled": {"needed", "continues", "acts"},
    "explained": set(),
}
"""Each event with a decision, and what the tables of readers make of it.

`audit/chain` calls a line of a *needed* one damaged if it names no decision. `audit/evidence/decisions` joins those
that *begin* or *continue* a decision, counts one that stands *alone* as a decision by itself, and counts those that
*refuse* by their reason. `authoring/history` judges the *replayed* ones again. `audit/evidence/ocsf` exports those
that *act* as a change, by the action of the decision.
"""


def pairs_in(path: Path) -> set[tuple[str, str]]:
    """The names of events in a module, each with what makes the members that stand beside it."""
    tree = ast.parse(path.read_text())
    made = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = set()
    for node in ast.walk(tree):
        parts = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
        for name, members in pairwise(parts):
            if isinstance(name, ast.Constant) and name.value in BY_NAME:
                call = made.get(members.id) if isinstance(members, ast.Name) else members
                if (maker := maker_of(call)) is not None:
                    found.add((name.value, maker))
    return found


def maker_of(call: ast.AST | None) -> str | None:
    """The function, or the class of the value, that makes members."""
    match call:
        case ast.Call(func=ast.Name(id=name)) if name.endswith("_members"):
            return name.removeprefix("_")
        case ast.Call(func=ast.Attribute(attr=name)) if name.endswith("_members"):
            return name
        case ast.Call(func=ast.Attribute(attr="members", value=ast.Call(func=ast.Name(id=name)) | ast.Name(id=name))):
            return name
    return None
