"""The commands say which action a plan or a decision is about: nobody approves a restart that is called a cancel."""

from __future__ import annotations

from gateway.audit.decisions.joined import RecordedDecision
from gateway.cli.approvals.said import _runs, _what_next, about
from gateway.cli.audit.report import row
from gateway.cli.cancel.answers import ShownDecision
from gateway.cli.cancel.decisions import _state, _table
from tests.audit.test_joined import intent, outcome

PLAN = {"plan": "p1", "principal": "billing/ci", "rule": "billing/again", "runs": 2}


def test_who_approves_reads_what_would_be_done() -> None:
    """The verb, the number of things, each by its own ID, and what comes next."""
    assert next(iter(about({**PLAN, "action": "restart_dlq"}))) == (
        "billing/ci wants to restart 2 entries, by rule billing/again"
    )
    assert next(iter(about(PLAN))) == "billing/ci wants to cancel 2 runs, by rule billing/again"
    assert list(_runs([{"dlqId": "d1", "workflowRunId": "wfr_1", "created": "then"}])) == ["  d1  then  "]
    assert "They are restarted when" in _what_next("approve", {**PLAN, "action": "restart_dlq"})


def test_a_decision_is_told_in_the_words_of_its_action() -> None:
    """In the list, and by itself."""

    def decision(action: str, state: str, number: int | None) -> ShownDecision:
        members = {"decision_id": "d1", "state": state, "action": action, "cancelled": number}
        return ShownDecision.from_json(members)

    assert _state(decision("delete_dlq", "cancelled", 3)) == "3 entries deleted"
    assert _state(decision("delete_dlq", "cancelled", 0)) == "no entry was deleted"
    assert _state(decision("pause", "refused", 0)) == "QStash refused it, nothing was paused"
    assert _state(decision("cancel_runs", "cancelled", 3)) == "3 runs cancelled"
    assert next(iter(_table([decision("delete_dlq", "cancelled", 3)]))).endswith("d1  3 entries deleted")
    assert next(iter(_table([decision("cancel_runs", "cancelled", 3)]))).endswith("d1  3 runs")


def test_a_report_has_the_action_and_what_was_named() -> None:
    """Entries that were looked up were sent by their IDs."""
    found = RecordedDecision("a")
    begun = {"ts": "t", "action": "restart_dlq", "digest": "0", "orders": ["dlqIds=d1"], "effective": {"count": 1}}
    for members in ({**intent("a"), **begun}, outcome("a", "cancelled", 1, upstream_status=200)):
        found.take(members)
    cells = row(found)
    assert (cells["action"], cells["cancelled"]) == ("restart_dlq", "1")
    assert "by entry IDs" in cells["sent"] or cells["sent"] == "nothing"
