"""What a receiver reads: CloudEvents 1.0 as published, or what Slack takes; of one notice always the same bytes."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from gateway.core.forms.times import instant_ms
from gateway.core.outcome import Excess
from gateway.notices import events
from gateway.notices.events import KINDS, MOST_CHARS, NOT_SHOWN, Notice
from gateway.notices.formats import formatted
from gateway.state.freezes import Freeze, Scope
from gateway.state.notices import ApprovalStep
from tests.notices.house import AT_MS

FREEZE = Freeze(
    "01890000-0000-7000-8000-00000000000a", Scope("billing", "billing/own"), "QStash is ill", "ops/ana", AT_MS
)
STEP = ApprovalStep(
    "pln_1",
    "awaiting_approval",
    AT_MS,
    "billing",
    "billing/ci",
    "billing/big",
    120,
    AT_MS + 1_800_000,
    ("platform",),
    2,
)
ALL = [
    events.frozen(FREEZE),
    events.frozen(replace(FREEZE, scope=Scope(), until_ms=AT_MS + 1)),
    events.thawed(replace(FREEZE, thawed_ms=AT_MS + 5, thawed_by="ops/bob")),
    events.exceeded(Excess("d1", "billing", "billing/own", 3), AT_MS),
    events.exceeded(Excess("d1", "billing", "billing/old", 1, "delete_dlq"), AT_MS),
    events.exceeded(Excess("d1", "billing", None), AT_MS),
    events.reload_refused("reload_1", "a reload was refused for the policies (p.yaml:3:1)", "gw-1", AT_MS),
    events.audit_changed("audit_1", "full", "gw-1", AT_MS),
    events.audit_changed("audit_2", None, "gw-1", AT_MS),
    events.approval(STEP),
    events.approval(replace(STEP, action="restart_dlq")),
    events.approval(replace(STEP, state="approved", given=("platform/a", "platform/b"), decided_by="platform/b")),
    events.approval(replace(STEP, state="rejected", runs=None, decided_by="platform/a", reason="too many")),
    events.approval(replace(STEP, state="void", runs=None, reason="policy")),
]
SENTENCES = [
    (
        "Calls of team billing under rule billing/own are frozen until somebody thaws them, by ops/ana: QStash is "
        f"ill (freeze {FREEZE.freeze_id})."
    ),
    (
        "Calls of all teams are frozen until 2026-11-18T11:06:40.001Z, by ops/ana: QStash is ill "
        f"(freeze {FREEZE.freeze_id})."
    ),
    f"Calls of team billing under rule billing/own are thawed by ops/bob (freeze {FREEZE.freeze_id}).",
    "QStash cancelled 3 more runs than were sent by decision d1 of team billing under rule billing/own.",
    "QStash deleted 1 more entry than were sent by decision d1 of team billing under rule billing/old.",
    "QStash works on a wider filter than decision d1 of team billing sent.",
    "Gateway gw-1: a reload was refused for the policies (p.yaml:3:1).",
    "Gateway gw-1 cannot write its record (full), so it sends nothing: see its /readyz.",
    "Gateway gw-1 can write its record again.",
    (
        "Awaits approval (0 of 2) by platform until 2026-11-18T11:36:40.000Z: plan pln_1 of billing/ci, 120 runs, "
        "under billing/big."
    ),
    (
        "Awaits approval (0 of 2) by platform until 2026-11-18T11:36:40.000Z: plan pln_1 of billing/ci, 120 entries to "
        "be restarted, under billing/big."
    ),
    "Approved by platform/b: plan pln_1 of billing/ci, 120 runs, under billing/big.",
    "Rejected by platform/a (too many): plan pln_1 of billing/ci, under billing/big.",
    (
        "Holds no longer, because of a changed policy: plan pln_1 of billing/ci, under billing/big. "
        "The same request begins anew."
    ),
]


def slack(notice: Notice) -> str:
    body = formatted("slack", notice.notice_id, notice.document())
    assert body.content_type == "application/json"
    members = json.loads(body.content)
    assert list(members) == ["text"]
    assert isinstance(members["text"], str)
    return members["text"]


def test_every_kind_is_looked_at_here() -> None:
    """A new one needs its sentence and its example."""
    assert {one.kind for one in ALL} == set(KINDS)


@pytest.mark.parametrize("notice", ALL, ids=lambda one: one.notice_id)
def test_an_event_is_one_of_cloudevents(notice: Notice) -> None:
    """The required attributes, the optional ones in their form, and names of lower-case letters and digits (3.1)."""
    body = formatted("cloudevents", notice.notice_id, notice.document())
    assert body.content_type == "application/cloudevents+json; charset=utf-8"
    event = json.loads(body.content)
    assert event.pop("data") == notice.data
    assert all(
        re.fullmatch("[a-z0-9]{1,20}", name) and isinstance(value, str) and value for name, value in event.items()
    )
    assert (event["specversion"], event["id"], event["subject"]) == ("1.0", notice.notice_id, notice.subject)
    assert event["type"] == f"qstash-gateway.{notice.kind}"
    assert re.fullmatch("urn:[a-z0-9-]+:[a-z0-9:]+", event["source"])
    assert instant_ms(event["time"]) == notice.at_ms
    assert event["datacontenttype"] == "application/json"


@pytest.mark.parametrize(("notice", "said"), list(zip(ALL, SENTENCES, strict=True)), ids=lambda one: str(one)[:20])
def test_people_read_a_sentence(notice: Notice, said: str) -> None:
    """That says what happened to whom, and what to look at."""
    assert slack(notice) == said


def test_nobody_is_mentioned_and_nothing_linked_by_what_somebody_wrote() -> None:
    """Slack reads <!channel> as a call to everybody; escaped it is a text."""
    text = slack(events.frozen(replace(FREEZE, reason="<!channel> & <https://evil.example|click>")))
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" in text
    assert "<" not in text
    assert ">" not in text


@pytest.mark.parametrize("form", ["cloudevents", "slack"])
def test_a_notice_has_the_same_bytes_whenever_it_is_sent(form: str) -> None:
    """A receiver may compare them."""
    notice = ALL[0]
    assert formatted(form, "n", notice.document()) == formatted(form, "n", notice.document())  # type: ignore[arg-type]


@pytest.mark.parametrize("notice", ALL, ids=lambda one: one.notice_id)
def test_an_id_can_be_signed_unambiguously(notice: Notice) -> None:
    """It has no full stop, which separates what is signed."""
    assert re.fullmatch("[A-Za-z0-9_-]{1,200}", notice.notice_id)


def test_what_can_be_told_twice_has_one_id() -> None:
    """Whoever tells it: a freeze by two gateways, an excess before and after a death; and each step of an approval."""
    assert events.frozen(FREEZE).notice_id == events.frozen(replace(FREEZE, number=7)).notice_id
    assert (
        events.exceeded(Excess("d1", "a", None, 3), 1).notice_id
        == events.exceeded(Excess("d1", "a", None, 5), 9).notice_id
    )
    steps = [STEP, replace(STEP, given=("a",)), replace(STEP, state="approved", given=("a", "b"))]
    assert len({events.approval(step).notice_id for step in steps}) == 3


def test_a_text_that_may_hold_a_secret_is_not_shown_and_a_long_one_is_shortened() -> None:
    """In lists as well; whatever else it says stays."""
    step = replace(STEP, reason="HUNTER2 is the key", given=("a", "b HUNTER2"), rule="x" * 5000)
    clean = events.approval(step).without(lambda text: "HUNTER2" in text)
    assert "HUNTER2" not in str(clean)
    assert (clean.data["reason"], clean.data["given"], clean.data["team"]) == (NOT_SHOWN, ["a", NOT_SHOWN], "billing")
    assert len(str(clean.data["rule"])) == MOST_CHARS + 1


def test_the_name_of_a_file_that_is_no_text_is_told_as_far_as_it_is() -> None:
    """Python keeps such bytes as lone surrogates, which are no JSON."""
    told = events.reload_refused("r", "refused for p\udcff.yaml", "gw", AT_MS).without(lambda _: False)
    assert slack(told) == "Gateway gw: refused for p?.yaml."


def test_an_approval_says_how_many_runs_and_not_which() -> None:
    """Whoever reads it can look at the plan, if it may."""
    assert set(events.approval(STEP).data) == {
        *(
            "plan",
            "state",
            "team",
            "principal",
            "rule",
            "runs",
            "action",
            "until",
            "needed",
            "by",
            "given",
            "decided_by",
            "reason",
        ),
    }
    assert events.approval(STEP).data["runs"] == 120
