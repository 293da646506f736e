"""A header that puts what is restarted under another flow-control key, against rules about that key."""

from __future__ import annotations

import pytest

from gateway.core.forms.texts import PolicyText, PolicyTexts
from gateway.core.plan import Permit
from gateway.core.request import Action, ActionRequest, ByIds, Principal, Selection, filter_with
from gateway.policy.decide import decide
from gateway.policy.format.load import policies_of

NOW_MS = 1_790_000_000_000
URL = "https://a.example/x"
BY_URL = filter_with({"workflow_urls": (URL,), "exact": True}, failed=True)
BY_KEY = filter_with({"workflow_urls": (URL,), "exact": True, "flow_control_keys": ("k",)}, failed=True)
BY_ID = ByIds(("d1",), "dlqIds")

ALLOWS = """\
allow:
  - id: filtered
    action: [resume_dlq, restart_dlq]
    workflowUrl: {exact: ["https://a.example/x"]}
    flowControlKey: {any: true}
    overrides: true
    resolve: true
    runs: {max: 50}
  - id: named
    action: [resume_dlq, restart_dlq]
    dlqIds: {max: 5}
    workflowUrl: {exact: ["https://a.example/x"]}
    flowControlKey: {any: true}
    overrides: true
    resolve: true
    runs: {max: 50}
"""
DENY = "deny:\n  - {id: kept, action: restart_dlq, flowControlKey: {any_of: [vip]}}\n"
DENY_OF_URL = (
    "deny:\n  - {id: kept, action: restart_dlq, workflowUrl: {prefix: ['https://b.example/']}, "
    "flowControlKey: {any_of: [vip]}}\n"
)
REQUIRE = "require:\n  - {id: kept, action: restart_dlq, flowControlKey: {any_of: [k]}}\n"


def permitted(rules: str, selection: Selection, key: str, action: Action = Action.RESTART_DLQ) -> bool:
    """Whether a request with this key in its header is permitted, and which rule refuses it otherwise."""
    text = f"version: 1\nname: p\nteams: [billing]\n{rules}{ALLOWS}"
    policies = policies_of(PolicyTexts((PolicyText("p.yaml", text.encode()),)))
    count = len(selection.ids) if isinstance(selection, ByIds) else 100
    asked = ActionRequest(selection, count, action=action, overrides=(("Upstash-Flow-Control-Key", key),))
    decision = decide(policies, Principal("billing", "ci"), asked, NOW_MS)
    assert isinstance(decision, Permit) or decision.rule == "p/kept"
    return isinstance(decision, Permit)


@pytest.mark.parametrize("selection", [BY_URL, BY_KEY, BY_ID], ids=["url", "key", "id"])
def test_nobody_starts_a_run_under_a_key_that_a_deny_is_about(selection: Selection) -> None:
    """Whatever the entries have: the new run would be one that the `deny` is about."""
    assert not permitted(DENY, selection, "vip")
    assert permitted(DENY, selection, "vip", Action.RESUME_DLQ)
    if selection is not BY_ID:
        assert permitted(DENY, selection, "other")


def test_a_deny_that_names_a_url_as_well_is_about_runs_of_that_url() -> None:
    """The request says of which URL its entries are."""
    assert permitted(DENY_OF_URL, BY_URL, "vip")


def test_a_require_on_the_key_holds_for_the_key_in_the_header() -> None:
    """An entry of the right key is not restarted under another."""
    assert not permitted(REQUIRE, BY_KEY, "vip")
    assert permitted(REQUIRE, BY_KEY, "k")
