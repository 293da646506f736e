"""Every key of a rule that bounds a request is known to the tools that work with policies, as it is to the judgement.

A key that one of them does not know would be left out of what a team is told, could not stand in a case, or would make
a replay of the record call requests refused that were sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.authoring.cases import judge_cases, parse_cases
from gateway.authoring.explain import explain
from gateway.authoring.history import replay
from gateway.authoring.offers import Offer, offers
from gateway.authoring.question import Question, from_line
from gateway.authoring.schema import schema
from gateway.core.forms.times import DAY_MS, instant
from gateway.core.plan import Denial
from gateway.core.request import RUN_IDS
from gateway.policy.format.conditions import FIELDS, bounds, overlaps
from gateway.policy.format.load import load_policies
from gateway.policy.model import Effect
from gateway.policy.rules import Policies
from tests.authoring.logs import BILLING, record_of
from tests.core.strategies import NOW_MS

URL = "https://billing.example.com/api"
EXACTLY = f"workflowUrl={URL}&workflowUrlExactMatch=true"
LOOK_UP = "resolve: true, runs: {max: 7}"
NIGHTLY = "label: {any_of: [nightly]}"


@dataclass(frozen=True)
class Asked:
    """A request, with all that a rule may ask about: a key about something else is asked of a further member."""

    query: str = "label=nightly"
    reason: str | None = None
    now_ms: int = NOW_MS

    @property
    def question(self) -> Question:
        """The request as it is judged."""
        return Question(BILLING, from_line(self.query, reason=self.reason), self.now_ms)


@dataclass(frozen=True)
class Sample:
    """A key as it is written, in a rule of the team; a request inside, and one outside (None: only runs can be).

    The key stands in the `allow` that has `beside`, or in a `require` beside that `allow`.
    """

    key: str
    inside: Asked = Asked()
    outside: Asked | None = None
    beside: str = NIGHTLY
    required: bool = False


DATES = f"label=nightly&fromDate={NOW_MS - 3_600_000}&toDate={NOW_MS}"

SAMPLES = {
    "workflowUrl": Sample(f'workflowUrl: {{exact: ["{URL}"]}}', Asked(EXACTLY), Asked(f"{EXACTLY}&label=b"), ""),
    "workflowRunIds": Sample(
        "workflowRunIds: {prefix: [wfr_a_]}",
        Asked("workflowRunIds=wfr_a_1"),
        Asked("workflowRunIds=wfr_b_1"),
        "owner: unchecked",
    ),
    "label": Sample("label: {any_of: [weekly]}", Asked("label=weekly"), Asked("label=daily"), ""),
    "flowControlKey": Sample("flowControlKey: {any_of: [k]}", Asked("flowControlKey=k"), Asked("flowControlKey=j"), ""),
    "callerIp": Sample("callerIp: {any_of: [192.0.2.7]}", Asked("callerIp=192.0.2.7"), Asked("callerIp=192.0.2.8"), ""),
    "host": Sample(
        f"host: {{any_of: [billing.example.com]}}, {LOOK_UP}", Asked("host=billing.example.com"), Asked("host=b"), ""
    ),
    "path": Sample(
        f"host: {{any: true}}, path: {{prefix: [/api]}}, {LOOK_UP}", Asked("path=/api/x"), Asked("path=/api-v2"), ""
    ),
    "created": Sample("created: {max_span: 6h}", Asked(DATES), Asked()),
    "count": Sample("count: {max: 5}", Asked("label=nightly&count=5"), Asked("label=nightly&count=6")),
    "selects": Sample("selects: [filter]", Asked(), Asked("workflowRunIds=wfr_1"), required=True),
    "workflowUrlExactMatch": Sample(
        "workflowUrlExactMatch: true",
        Asked(EXACTLY),
        Asked(f"workflowUrl={URL}/"),
        f'workflowUrl: {{prefix: ["{URL}"]}}',
        required=True,
    ),
    "reason": Sample("reason: true", Asked(reason="stuck since noon"), Asked(), required=True),
    "during": Sample(
        f"during: {{from: {instant(NOW_MS)}, until: {instant(NOW_MS + DAY_MS)}}}",
        Asked(),
        Asked(now_ms=NOW_MS + DAY_MS),
    ),
    "resolve": Sample(LOOK_UP),
    "budget": Sample(f"{LOOK_UP}, budget: {{runs: 50, requests: 9, per: 24h, shared: team}}"),
    "approve": Sample(f"{LOOK_UP}, approve: {{by: [platform], count: 2, over: 50, within: 30m}}"),
    "runs": Sample("resolve: true, runs: {max: 7, older_than: 5m}"),
}
"""For each key that bounds what a team may ask: an example of it."""

OTHERS = {
    "id": "it names the rule",
    "message": "it is what a refused caller reads",
    "mode": "it says whether the rule counts",
    "except": "it says to which teams the rule does not apply",
    "until": "it ends the rule, which is then as if absent",
    "owner": "it says that nobody checks whose the runs are",
    "logs": "it bounds what a team is shown, not what it may ask",
}
"""The keys that bound nothing of a request, and what they do."""

OF_OTHER_ACTIONS = {
    "action": "it says what the rule is about; a sample cancels runs",
    "dlqIds": "of entries of the dead letter queue",
    "messageIds": "of messages",
    "workflowRunId": "of entries of the dead letter queue",
    "queue": "of a pause",
    "schedule": "of a pause",
    "overrides": "of headers of a resume or a restart",
}
"""The keys that a rule about cancels of runs does not have, and what they are of (tests/policy/test_actions.py)."""

SAMPLED = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def keys_of_rules() -> dict[str, Any]:
    """All keys that some kind of rule has, as its reader declares them, each with its schema."""
    rules = schema("policy")["properties"]
    assert isinstance(rules, dict)
    return {name: key for kind in Effect for name, key in rules[kind.value]["items"]["properties"].items()}


def judged(directory: Path, *, allow: str, require: str = "") -> Policies:
    """The policies of a team with one `allow`, and perhaps one `require`, that have these keys."""
    directory.mkdir()
    required = f"require:\n  - {{id: guard, {require}}}\n" if require else ""
    text = f"version: 1\nname: own\nteams: [billing]\nallow:\n  - {{id: rule, {allow}}}\n{required}"
    (directory / "own.yaml").write_text(text)
    return load_policies(directory)


def policies_of(directory: Path, sample: Sample, more: str = "") -> Policies:
    """The policies that the sample stands in, perhaps with more in the `require`."""
    allow = [sample.beside] if sample.required else [sample.beside, sample.key]
    require = [sample.key, more] if sample.required else [more]
    return judged(directory, allow=", ".join(filter(None, allow)), require=", ".join(filter(None, require)))


@pytest.fixture
def ruled(sample: Sample, tmp_path: Path) -> Policies:
    """The policies that the sample stands in."""
    return policies_of(tmp_path / "with", sample)


def offered(policies: Policies) -> Offer:
    """What the team is told of its one `allow`."""
    (offer,) = offers(policies, BILLING.team, NOW_MS)
    return offer


def test_every_key_of_a_rule_has_an_example_or_bounds_nothing() -> None:
    """A new one gets a sample, and with it every test below; an editor shows what it is for."""
    assert SAMPLES.keys() | OTHERS.keys() | OF_OTHER_ACTIONS.keys() == keys_of_rules().keys()
    assert len(SAMPLES) + len(OTHERS) + len(OF_OTHER_ACTIONS) == len(keys_of_rules())
    assert [name for name, key in keys_of_rules().items() if "description" not in key] == []


def test_every_field_that_is_read_is_known_as_a_condition() -> None:
    """One that is missing in FIELDS would be taken for another key of the rule, and no file with it would load."""
    assert bounds().keys() == overlaps().keys() == {*FIELDS}


@SAMPLED
def test_an_offer_says_it_and_has_an_example(sample: Sample, ruled: Policies, tmp_path: Path) -> None:
    """The words of the rule with the key differ from those of a rule without it."""
    offer = offered(ruled)
    assert offer.example is not None, offer.words
    assert offer.words != offered(judged(tmp_path / "without", allow=NIGHTLY)).words


@SAMPLED
def test_an_explanation_says_why_a_request_is_outside(sample: Sample, ruled: Policies) -> None:
    """In words, at the rule that has the key; one that is inside is explained as permitted."""
    assert explain(ruled, sample.inside.question).members()["enforced"] == "permit"
    if sample.outside is None:
        assert explain(ruled, sample.inside.question).members()["resolve"] is not None
        return
    explained = explain(ruled, sample.outside.question)
    (part,) = (part for part in explained.parts if part.rule == ("own/guard" if sample.required else "own/rule"))
    assert explained.members()["enforced"] == "deny"
    assert (part.holds, bool(part.words)) == (False, True)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != RUN_IDS])  # a list of IDs is never cut
def test_what_a_refusal_proposes_keeps_it(name: str, tmp_path: Path) -> None:
    """A request that only asks for too many is told the smaller one, which all that it said otherwise still admits."""
    sample = SAMPLES[name]
    decision = sample.inside.question.judged(policies_of(tmp_path / "few", sample, "count: {max: 3}"))
    assert isinstance(decision, Denial)
    assert decision.nearest == {**sample.inside.question.request.wire(), "count": 3}


@SAMPLED
def test_a_case_can_state_it(sample: Sample, ruled: Policies) -> None:
    """A request inside is permitted and one outside is refused, with typed fields as well as with a query."""
    asked = [(sample.inside, "permit"), *([(sample.outside, "deny")] if sample.outside is not None else [])]
    lines = [
        line
        for number, (one, expected) in enumerate(asked)
        for form in (one.query, one.question.request.wire())
        for line in (
            f"  - it: {number} {type(form).__name__}",
            f"    team: billing\n    request: {json.dumps(form)}\n    at: {instant(one.now_ms)}",
            f"    expect: {expected}",
            *([f"    reason: {one.reason}"] if one.reason is not None else []),
        )
    ]
    cases = parse_cases("own.cases.yaml", "\n".join(["version: 1", "cases:", *lines, ""]).encode())
    assert [verdict.differences for verdict in judge_cases(ruled, cases)] == [()] * 2 * len(asked)


@SAMPLED
def test_a_replay_of_the_record_finds_no_change(sample: Sample, ruled: Policies) -> None:
    """Under the very policies that were in force: what the key asks about is on record, and is read back from there."""
    asked = [one for one in (sample.inside, sample.outside) if one is not None]
    records = [record_of(ruled, "d", BILLING, one.question.request, one.now_ms) for one in asked]
    members = [
        {"event": one.event, "ts": instant(at.now_ms), **one.members} for one, at in zip(records, asked, strict=True)
    ]
    result = replay(ruled, [("here", json.loads(json.dumps(one))) for one in members])
    # These records are of orders without a look-up.
    looked_up = {"look-up"} if "resolve: true" in sample.key else set()
    assert (result.judged, result.unread.total()) == (len(asked), 0)
    assert {change.value for change in result.totals} == looked_up
