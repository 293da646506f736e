"""The answers to other actions than a cancel of runs speak of what was asked, never of runs or of cancelling."""

from __future__ import annotations

import json
import re

import pytest

from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.plan import Order, Permit, Plan, Reserved
from gateway.core.request import IDS, Action, ActionRequest, ByIds
from gateway.core.run import Resolved, Run, Skip
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.execution.in_flight import Result, Stopped
from gateway.operations.words import WORDS
from tests.audit.samples import ID, KEY, ZEROS

NAMES = dict.fromkeys(Action, "dlqIds") | {
    Action.CANCEL_MESSAGES: "messageIds",
    Action.PAUSE: "flowControlKey",
    Action.RESUME: "queue",
}
OTHERS = [action for action in Action if action is not Action.CANCEL_RUNS]
OUTCOMES: list[Outcome] = [
    Accepted(202, "act_1"),
    Refused(429, "slow", 3),
    Refused(403, "no"),
    NotSent("dns"),
    NotSent("frozen"),
    NotSent("lookup_failed"),
    NotSent("team_connections"),
    NotSent("revoked"),
    NotSent("too_large"),
    Unknown("timeout"),
    Unknown("status", 500),
    Unknown("partial_audit", None, Progress(1, ("a",), ("b",))),
]


def result(action: Action, outcome: Outcome, **more: object) -> Result:
    """What came of one thing that was asked for."""
    asked = ActionRequest(ByIds(("x",), NAMES[action]), 1, action=action)
    order = Order(asked.selection, 1, action)  # type: ignore[arg-type]
    resolved = more.pop("resolved", None)
    plan = Plan(ID, KEY, asked, Permit("a/r", "permit", None, asked), (order,), ZEROS, None, resolved=resolved)  # type: ignore[arg-type]
    return Result(plan, outcome, **more)  # type: ignore[arg-type]


def sentence(answer: Answer) -> str:
    """The sentence that clients show."""
    error = json.loads(answer.body)["error"]
    assert isinstance(error, str)
    return error


def wrong_words(text: str, action: Action) -> list[str]:
    """The words in it that speak of another action."""
    wrong = {"run", "runs", "cancel", "cancels", "cancelled"} - set(WORDS[action][:6])
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word in wrong]


@pytest.mark.parametrize("action", OTHERS)
def test_no_answer_speaks_of_another_action(action: Action) -> None:
    """Whatever came of it, also where the process ended before it could be said."""
    skipped = Resolved((Run("x", "https://a.example/x", 1),), {Skip.YOUNG: ("y",)}, more=True)
    shown = [answers.outcome(result(action, outcome), ID) for outcome in OUTCOMES]
    shown += [
        answers.outcome(result(action, Unknown("timeout"), over_cancelled=2), ID),
        answers.outcome(result(action, Cancelled(200, 0), resolved=skipped), ID),
        answers.outcome(result(action, Cancelled(200, 1), stop=Stopped("a/b", "p1", 1, ("y",))), ID),
        answers.not_shown(ID, WORDS[action]),
        answers.not_awaited(ID, WORDS[action]),
    ]
    assert {sentence(answer): wrong_words(sentence(answer), action) for answer in shown} == {
        sentence(answer): [] for answer in shown
    }


def test_what_was_done_is_said_in_the_words_of_the_action() -> None:
    """The beginning, the number, and what to look at before a repeat."""
    restart = Action.RESTART_DLQ
    unknown = sentence(answers.outcome(result(restart, Unknown("timeout")), ID))
    assert unknown.startswith("The restart may have happened: no trustworthy answer came back from QStash. ")
    assert "a repeat may start the same thing again" in unknown
    stopped = answers.outcome(result(restart, Cancelled(200, 1), stop=Stopped("a/b", "p1", 1, ("y", "z"))), ID)
    assert sentence(stopped).startswith("The plan was stopped: 1 entry was restarted, 2 were not sent.")
    refused = sentence(answers.outcome(result(Action.DELETE_DLQ, Refused(403, "")), ID))
    assert refused.startswith("QStash refused the gateway's call with status 403; nothing was deleted.")
    frozen = sentence(answers.outcome(result(Action.PAUSE, NotSent("frozen")), ID))
    assert frozen.startswith("Pauses were frozen meanwhile; nothing was sent and nothing was paused.")
    more = sentence(answers.outcome(result(Action.DELETE_DLQ, Unknown("timeout"), over_cancelled=2), ID))
    assert more.endswith("QStash deleted 2 more entries than were sent to it.")


def test_only_runs_are_said_to_be_read_back() -> None:
    """Nothing says later what became of an entry."""
    partly = Unknown("partial_audit", None, Progress(1, ("a",), ("b",)))
    assert "read back" not in sentence(answers.outcome(result(Action.DELETE_DLQ, partly), ID))


def test_the_codes_are_the_same_for_all() -> None:
    """Programs tell answers apart by them, whatever the action."""
    codes = {
        tuple(json.loads(answers.outcome(result(action, outcome), ID).body)["code"] for outcome in OUTCOMES)
        for action in OTHERS
    }
    assert len(codes) == 1


def test_the_budget_on_an_answer_counts_things() -> None:
    """What was taken and certainly not needed is there again."""
    found = result(Action.DELETE_DLQ, Refused(403, "no"))
    budget = found.plan.permit._replace(budget=object())  # type: ignore[arg-type]
    plan = found.plan._replace(permit=budget, reserved=Reserved("a/r", "rule", 1, 9, None, 0))
    assert dict(answers.outcome(found._replace(plan=plan), ID).headers)[b"gateway-budget"] == b"left=10;reset=0"


def test_every_field_that_names_things_is_looked_at_here() -> None:
    """So that a new one gets an example."""
    assert set(NAMES.values()) < set(IDS)
