"""The actions that a rule names: what may stand in it, at which place a misuse is reported, and what it admits."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.errors import InvalidConfiguration
from gateway.core.plan import Decision, Denial, Permit
from gateway.core.request import Action, ActionRequest, ByFilter, ByIds, Everything, FailedFilter, Principal, Selection
from gateway.core.run import Listing, Resolved, Run
from gateway.policy.choose import choose, covers_failed, showing_failed
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies, parse_policy
from gateway.policy.rules import Policies
from tests.core.strategies import NOW_MS, counted

TEAM = Principal("a", "ci")
HEAD = "version: 1\nname: t\nteams: [a]\n"
URL = "https://a.example/api"
LOOK_UP = "resolve: true, runs: {max: 5}"
OWN = f'workflowUrl: {{prefix: ["{URL}"]}}, {LOOK_UP}'
TRUSTED = "dlqIds: {max: 2, prefix: [own-]}, owner: unchecked"

FAULTS = {
    "an action that there is not": ("allow", "action: stop", "21: 'stop': expected cancel_runs or delete_dlq"),
    "any in an allow": ("allow", f"action: any, {OWN}", "21: an allow names its actions one by one: 'any' exists in"),
    "any and another": ("deny", "action: [any, pause]", "21: 'any' stands alone: it is every action"),
    "an action twice": ("deny", "action: [pause, pause]", "29: the same action stands in line 5 already"),
    "no action": ("deny", "action: []", "21: the list is empty"),
    "a field of some": ("deny", "action: any, queue: {any_of: [q]}", "26: 'queue' is not allowed here: cancel_runs"),
    "dlqIds of runs": ("allow", TRUSTED, "13: 'dlqIds' is not allowed here: cancel_runs selects by workflowRunIds,"),
    "runs of entries": ("allow", "action: delete_dlq, workflowRunIds: {max: 2}", "33: 'workflowRunIds' is not allowed"),
    "a host of entries": ("require", "action: delete_dlq, host: {any_of: [x]}", "33: 'host' is not allowed here: dele"),
    "a prefix of entries": (
        "require",
        "action: delete_dlq, workflowUrlExactMatch: true",
        "33: 'workflowUrlExactMatch'",
    ),
    "logs of entries": ("allow", f"action: delete_dlq, {OWN}, logs: full", "114: 'logs' is not allowed here: delete_d"),
    "a filter on trust": (
        "allow",
        "action: delete_dlq, label: {any_of: [x]}",
        "33: a filter of failed runs is matched by the gateway and never sent: an allow on it has the entries looked",
    ),
    "IDs of nobody": (
        "allow",
        "action: delete_dlq, dlqIds: {max: 2}",
        "5: entry IDs carry no owner: say 'resolve: true' to have the entries looked up, or 'owner: unchecked'",
    ),
    "entries of any workflow": (
        "allow",
        f"action: delete_dlq, dlqIds: {{max: 2}}, {LOOK_UP}",
        "5: with 'resolve: true' an allow on dlqIds names the workflowUrl its entries must have",
    ),
    "a filter beside IDs": (
        "allow",
        f"action: delete_dlq, dlqIds: {{max: 2}}, label: {{any: true}}, {OWN}",
        "51: beside dlqIds an allow with 'resolve: true' names workflowUrl only, not label",
    ),
    "IDs and a filter": (
        "deny",
        "action: delete_dlq, dlqIds: {prefix: [x]}, label: {any_of: [x]}",
        "5: entry IDs and filters never stand in one rule: a request has one or the other",
    ),
    "messages of nobody": (
        "allow",
        "action: cancel_messages, messageIds: {max: 2}",
        "5: message IDs carry no owner: say 'resolve: true' to have the messages looked up, or 'owner: unchecked'",
    ),
    "every message": (
        "allow",
        f"action: cancel_messages, selects: [everything], {LOOK_UP}",
        "5: the allow names nothing that selects: write messageIds, like messageIds: {max: 20}; nothing else selects",
    ),
    "a label of messages": (
        "allow",
        f"action: cancel_messages, label: {{any_of: [x]}}, {LOOK_UP}",
        "38: 'label' is not allowed here: cancel_messages selects by messageIds",
    ),
    "a look-up of what nothing lists": (
        "allow",
        f"action: retry_message_dlq, dlqIds: {{max: 2}}, owner: unchecked, {LOOK_UP}",
        "76: 'resolve' is not allowed here: retry_message_dlq has nothing looked up: write 'owner: unchecked'",
    ),
    "what nothing lists, of nobody": (
        "allow",
        "action: retry_message_dlq, dlqIds: {max: 2}",
        "5: entry IDs carry no owner, and nothing shows it: say 'owner: unchecked' to allow them all the same",
    ),
    "a pause of nothing": (
        "allow",
        "action: pause",
        "5: the allow names nothing: write one of flowControlKey, queue, schedule, like queue: {any_of: [mail]}",
    ),
    "a pause of two things": (
        "allow",
        "action: pause, queue: {any_of: [q]}, schedule: {any_of: [s]}",
        "5: a request names one of flowControlKey, queue, schedule, and so does a rule",
    ),
    "a pause beside a cancel": (
        "allow",
        "action: [pause, cancel_runs], flowControlKey: {any_of: [k]}",
        "5: pause and resume are allowed by rules of their own: name the other actions in another",
    ),
    "a count of pauses": ("allow", "action: pause, queue: {any: true}, count: {max: 2}", "48: 'count' is not allowed"),
    "a budget of pauses": (
        "allow",
        "action: pause, queue: {any: true}, budget: {requests: 2, per: 1h}",
        "48: 'budget'",
    ),
    "an owner of a pause": (
        "allow",
        "action: pause, queue: {any: true}, owner: unchecked",
        "48: 'owner' is not allowed",
    ),
    "a look-up of a pause": ("require", "action: pause, reason: true, resolve: true", "42: 'resolve' is not allowed"),
    "overrides of a delete": (
        "allow",
        f"action: delete_dlq, {OWN}, overrides: true",
        "114: 'overrides' is not allowed",
    ),
    "overrides of a cancel": ("allow", f"{OWN}, overrides: true", "94: 'overrides' is not allowed here: cancel_runs"),
    "overrides required": ("require", "action: resume_dlq, overrides: true", "33: 'overrides' is not allowed here: it"),
    "approval on trust": (
        "allow",
        f"action: delete_dlq, {TRUSTED}, approve: {{by: [a]}}",
        "85: people approve entries that were found, so 'approve' stands only beside 'resolve: true'",
    ),
    "a prefix of IDs": (
        "deny",
        "action: delete_dlq, dlqIds: {prefix: [a/b]}",
        "51: 'a/b': the prefix of an ID is 1 to",
    ),
    "ids and run_ids": ("deny", "selects: [ids, run_ids]", "28: the same value stands in line 5 already"),
}


@pytest.mark.parametrize(("effect", "members", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_misuse_is_refused_at_its_place_in_words(effect: str, members: str, fault: str) -> None:
    """The first problem is the one at the key, and says what to write."""
    text = f"{HEAD}{effect}:\n  - {{id: r, {members}}}\n"
    with pytest.raises(InvalidConfiguration) as raised:
        parse_policy("t.yaml", text.encode())
    found = [str(problem).removeprefix("t.yaml:5:") for problem in raised.value.problems]
    assert any(one.startswith(fault) for one in found), found


POLICY = f"""{HEAD}
deny:
  - {{id: kept, action: [delete_dlq, restart_dlq], label: {{any_of: [keep]}}}}
  - {{id: mail, action: [pause, resume], queue: {{any_of: [mail]}}}}
  - {{id: all, action: any, selects: [everything], message: Name them.}}
allow:
  - {{id: runs, label: {{any_of: [nightly]}}}}
  - {{id: failed, action: [delete_dlq, restart_dlq], {OWN}, count: {{cap: 4}}}}
  - {{id: named, action: restart_dlq, dlqIds: {{max: 3}}, {OWN}}}
  - {{id: other, action: [resume_dlq, restart_dlq], overrides: true, flowControlKey: {{any_of: [slow, fast]}},
     workflowUrl: {{exact: ["https://b.example/x"]}}, {LOOK_UP}}}
  - {{id: trusted, action: [resume_dlq, retry_message_dlq], selects: [ids], {TRUSTED}}}
  - {{id: messages, action: cancel_messages, messageIds: {{max: 2}}, {LOOK_UP}}}
  - {{id: keys, action: [pause, resume], flowControlKey: {{any_of: [k]}}}}
  - {{id: queues, action: pause, queue: {{any: true}}}}
"""


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Policies:
    """Rules about every kind of action."""
    directory = tmp_path_factory.mktemp("policies")
    (directory / "t.yaml").write_text(POLICY)
    return load_policies(directory)


def asks(action: str, selection: Selection, *overrides: tuple[str, str], count: int = 4) -> ActionRequest:
    """A request for an action."""
    read = counted(selection, count)
    return ActionRequest(read.selection, read.count, action=Action(action), overrides=overrides)


def judged(policies: Policies, request: ActionRequest) -> Decision:
    """What is decided on it."""
    return decide(policies, TEAM, request, NOW_MS)


def failed(**members: object) -> FailedFilter:
    """A filter of entries."""
    return FailedFilter(**({"workflow_urls": (URL,), "exact": True} | members))  # type: ignore[arg-type]


def entries(*ids: str) -> ByIds:
    """Entries by ID."""
    return ByIds(ids, "dlqIds")


SLOW = ("Upstash-Flow-Control-Key", "slow")
OTHER = failed(workflow_urls=("https://b.example/x",), flow_control_keys=("fast",))

PERMITTED = {
    "runs by their label": (asks("cancel_runs", ByFilter(labels=("nightly",))), "runs"),
    "entries of a workflow": (asks("delete_dlq", failed()), "failed"),
    "an entry of a run": (asks("delete_dlq", failed(failed_run_ids=("wfr_1",))), "failed"),
    "entries by ID": (asks("restart_dlq", entries("e-1", "e-2", "e-3")), "named"),
    "entries on trust": (asks("resume_dlq", entries("own-1", "own-2")), "trusted"),
    "entries of messages": (asks("retry_message_dlq", entries("own-1")), "trusted"),
    "messages": (asks("cancel_messages", ByIds(("msg_1", "msg_2"), "messageIds")), "messages"),
    "a key": (asks("pause", ByIds(("k",), "flowControlKey")), "keys"),
    "a key again": (asks("resume", ByIds(("k",), "flowControlKey")), "keys"),
    "a queue": (asks("pause", ByIds(("q",), "queue")), "queues"),
    "a pause for a while": (asks("pause", ByIds(("q",), "queue"), ("Gateway-Until", "30m")), "queues"),
    "with other retries": (asks("restart_dlq", OTHER, ("Upstash-Retries", "2")), "other"),
    "under another key": (asks("restart_dlq", OTHER, SLOW), "other"),
}


@pytest.mark.parametrize(("request_", "rule"), PERMITTED.values(), ids=PERMITTED)
def test_a_request_is_admitted_by_a_rule_about_its_action(
    policies: Policies, request_: ActionRequest, rule: str
) -> None:
    """And by none about another."""
    decision = judged(policies, request_)
    assert isinstance(decision, Permit), decision
    assert decision.rule == f"t/{rule}"
    assert decision.effective.action is request_.action


EVERY_ENTRY = (
    "This request names no entries and no filter, so it would {} every failed run in the dead letter queue of the "
    "account. Name them."
)
REFUSED = {
    "another action": (asks("delete_message_dlq", entries("own-1")), "None allows", None),
    "everything restarted": (asks("restart_dlq", Everything()), EVERY_ENTRY.format("restart"), "all"),
    "everything deleted": (asks("delete_dlq", Everything()), EVERY_ENTRY.format("delete"), "all"),
    "every message": (
        asks("cancel_messages", Everything()),
        "This request names no messages, so it would cancel every message of the account. Name them.",
        "all",
    ),
    "every entry of messages": (
        asks("retry_message_dlq", Everything()),
        "This request names no entries, so it would send everything in the dead letter queue of the account again.",
        "all",
    ),
    "every run": (
        asks("cancel_runs", Everything()),
        "This request names no runs and no filter, so it would cancel every run of the account. Name them.",
        "all",
    ),
    "too many entries": (asks("resume_dlq", entries("own-1", "own-2", "own-3")), "at most 2 IDs", None),
    "too many of two actions": (asks("restart_dlq", entries(*"abcd")), "dlqIds: at most 3 IDs", None),
    "entries of others": (asks("resume_dlq", entries("e-1")), "beginning with own-", None),
    "a filter on trust": (
        asks("retry_message_dlq", failed()),
        "A filter of failed runs is matched here and never sent to QStash, so only a rule with 'resolve: true' allows",
        None,
    ),
    "a denied label": (
        asks("delete_dlq", failed(labels=("keep",))),
        "Rule t/kept refuses every request that could select such entries: label: keep.",
        "kept",
    ),
    "a denied queue": (
        asks("pause", ByIds(("mail",), "queue")),
        "Rule t/mail refuses every request that could select such queues: queue: mail.",
        "mail",
    ),
    "another key": (asks("pause", ByIds(("j",), "flowControlKey")), "flowControlKey 'j' is not among them", None),
    "a schedule": (
        asks("pause", ByIds(("s",), "schedule")),
        "it says nothing of schedule, and the request names",
        None,
    ),
    "a queue again": (asks("resume", ByIds(("q",), "queue")), "it says nothing of queue, and the request names", None),
    "headers": (
        asks("restart_dlq", failed(), ("Upstash-Retries", "2")),
        "(only a rule with 'overrides: true' admits one), but the request has Upstash-Retries: '2'",
        None,
    ),
    "a key that is not listed": (
        asks("restart_dlq", OTHER, ("Upstash-Flow-Control-Key", "mine")),
        "it wants Upstash-Flow-Control-Key: fast or slow, but 'mine' is not among them",
        None,
    ),
    "headers of a delete": (asks("delete_dlq", failed(), SLOW), "it wants no header that changes", None),
}


@pytest.mark.parametrize(("request_", "said", "rule"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_what_the_action_would_have_done(
    policies: Policies, request_: ActionRequest, said: str, rule: str | None
) -> None:
    """In the words of what it is about: entries, messages, keys, queues."""
    decision = judged(policies, request_)
    assert isinstance(decision, Denial)
    assert said in decision.reason, decision.reason
    assert decision.rule == (rule and f"t/{rule}")


def test_what_is_proposed_is_of_the_same_action(policies: Policies) -> None:
    """Fewer IDs under the same name, or a filter of failed runs."""
    few = judged(policies, asks("resume_dlq", entries("own-1", "x", "own-2", "own-3")))
    assert isinstance(few, Denial)
    assert few.nearest == {"dlqIds": ["own-1", "own-2"]}
    other = judged(policies, asks("delete_dlq", failed(workflow_urls=(URL, "https://b.example/x")), count=9))
    assert isinstance(other, Denial)
    assert other.nearest == {"workflowUrl": [URL], "workflowUrlExactMatch": True, "count": 4}


def entry(entry_id: str, url: str = URL, **members: object) -> Run:
    """An entry of the dead letter queue."""
    return Run(entry_id, url, NOW_MS - 1, failed_run_id=f"wfr_{entry_id}", **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("selection", "found", "end"),
    [
        (failed(failed_run_ids=("wfr_e-1", "wfr_e-9")), [entry("e-1"), entry("e-2")], ["e-1"]),
        (entries("e-2", "e-1"), [entry("e-1"), entry("e-2")], ["e-1", "e-2"]),
        (entries("e-1", "e-9"), [entry("e-1")], "e-9: there is no such entry that rule t/named covers."),
        (entries("e-1"), [entry("e-1", "https://b.example/x")], "e-1: there is no such entry that rule t/named covers"),
        (
            entries("e-1"),
            [entry("e-1", labels=("keep",))],
            "Rule t/kept refuses such entries. Of those found that is 1 entry (e-1).",
        ),
        (failed(), [entry(f"e-{number}") for number in range(6)], "The request means 6 entries (e-0, e-1, e-2, …)"),
    ],
)
def test_entries_are_judged_as_runs_are(
    policies: Policies, selection: Selection, found: list[Run], end: list[str] | str
) -> None:
    """Each by its own workflow and labels; by `workflowRunId` the run that failed is meant."""
    request = asks("restart_dlq", selection)
    permit = judged(policies, request)
    assert isinstance(permit, Permit)
    ended = choose(policies, TEAM, request, permit, Listing(tuple(found)), NOW_MS)
    if isinstance(ended, Resolved):
        assert [one.run_id for one in ended.runs] == end
    else:
        assert isinstance(end, str)
        assert end in ended.reason


@pytest.mark.parametrize(
    ("shown", "rule"),
    [
        (entry("e-1"), "failed"),
        (entry("own-1", "https://c.example/x"), None),
        (entry("e-1", "https://b.example/x", flow_control_key="slow"), "other"),
        (entry("e-1", "https://b.example/x", flow_control_key="other"), None),
        (entry("e-1", labels=("keep",)), None),
    ],
)
def test_a_team_is_shown_the_entries_that_a_resolving_rule_covers(
    policies: Policies, shown: Run, rule: str | None
) -> None:
    """Of any action on them; a rule that takes IDs on trust shows none, and what a `deny` is about stays hidden."""
    covering = covers_failed(policies, "a", shown, NOW_MS)
    assert (covering and covering.name) == (rule and f"t/{rule}")
    assert covers_failed(policies, "b", shown, NOW_MS) is None
    assert [one.id for one in showing_failed(policies, "a", NOW_MS)] == ["failed", "named", "other"]
    assert showing_failed(policies, "b", NOW_MS) == []


def test_actions_are_named_alone_or_in_a_list(tmp_path: Path) -> None:
    """Without any a rule is about cancels of runs; `any` is about all."""
    (tmp_path / "t.yaml").write_text(
        f"{HEAD}deny:\n  - {{id: one, action: pause}}\n  - {{id: two, action: [pause, resume]}}\n"
        "  - {id: none}\n  - {id: all, action: any}\n"
    )
    named = {rule.id: rule.actions for rule in load_policies(tmp_path).rules}
    assert named == {
        "one": {Action.PAUSE},
        "two": {Action.PAUSE, Action.RESUME},
        "none": {Action.CANCEL_RUNS},
        "all": {*Action},
    }
