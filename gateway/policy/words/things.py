"""The words for what actions are about: runs, entries of the dead letter queue, messages, and what is paused."""

from __future__ import annotations

from typing import NamedTuple

from gateway.core.request import RUN_IDS, Action, ByIds, FailedFilter, Selection


class Thing(NamedTuple):
    """The word for one thing that an action is about, and the word for several."""

    one: str
    many: str

    def counted(self, number: int) -> str:
        """Return a number of these things in words."""
        return f"{number} {self.one if number == 1 else self.many}"


RUN, ENTRY, MESSAGE = Thing("run", "runs"), Thing("entry", "entries"), Thing("message", "messages")
_NAME = Thing("name", "names")

_NAMED = {
    RUN_IDS: RUN,
    "dlqIds": ENTRY,
    "messageIds": MESSAGE,
    "flowControlKey": Thing("flow-control key", "flow-control keys"),
    "queue": Thing("queue", "queues"),
    "schedule": Thing("schedule", "schedules"),
}
_OF_ACTION = {
    Action.CANCEL_RUNS: RUN,
    Action.DELETE_DLQ: ENTRY,
    Action.RESUME_DLQ: ENTRY,
    Action.RESTART_DLQ: ENTRY,
    Action.CANCEL_MESSAGES: MESSAGE,
    Action.DELETE_MESSAGE_DLQ: ENTRY,
    Action.RETRY_MESSAGE_DLQ: ENTRY,
    Action.PAUSE: _NAME,
    Action.RESUME: _NAME,
}


def named_by(field: str) -> Thing:
    """Return the word for what IDs of this field, one of `core.request.IDS`, name."""
    return _NAMED[field]


def of_action(action: Action) -> Thing:
    """Return the word for what an action is about."""
    return _OF_ACTION[action]


def selected(selection: Selection, action: Action) -> Thing:
    """Return the word for what a request for the action selects."""
    if isinstance(selection, ByIds):
        return _NAMED[selection.name]
    return ENTRY if isinstance(selection, FailedFilter) else _OF_ACTION[action]


def kind_word(kind: str, action: Action) -> str:
    """Return the word for a kind of selection: only of runs are IDs called run IDs."""
    return "ids" if kind == "run_ids" and action is not Action.CANCEL_RUNS else kind


_FAILED = "every failed run in the dead letter queue of the account"
_EVERYTHING = {
    Action.CANCEL_RUNS: "no runs and no filter, so it would cancel every run of the account",
    Action.DELETE_DLQ: f"no entries and no filter, so it would delete {_FAILED}",
    Action.RESUME_DLQ: f"no entries and no filter, so it would resume {_FAILED}",
    Action.RESTART_DLQ: f"no entries and no filter, so it would restart {_FAILED}",
    Action.CANCEL_MESSAGES: "no messages, so it would cancel every message of the account",
    Action.DELETE_MESSAGE_DLQ: "no entries, so it would delete everything in the dead letter queue of the account",
    Action.RETRY_MESSAGE_DLQ: "no entries, so it would send everything in the dead letter queue of the account again",
    Action.PAUSE: "nothing to pause",
    Action.RESUME: "nothing to resume",
}
_FAILED_RUNS = "Name the entries (dlqIds), or the workflow (workflowUrl)."
_INSTEAD = {
    Action.CANCEL_RUNS: "Name the runs (workflowRunIds), or the workflow (workflowUrl, exactly).",
    Action.DELETE_DLQ: _FAILED_RUNS,
    Action.RESUME_DLQ: _FAILED_RUNS,
    Action.RESTART_DLQ: _FAILED_RUNS,
    Action.CANCEL_MESSAGES: "Name the messages (messageIds).",
    Action.DELETE_MESSAGE_DLQ: "Name the entries (dlqIds).",
    Action.RETRY_MESSAGE_DLQ: "Name the entries (dlqIds).",
    Action.PAUSE: "Name a flow-control key, a queue or a schedule.",
    Action.RESUME: "Name a flow-control key, a queue or a schedule.",
}


def would_do(action: Action) -> str:
    """Return the sentence that says what a request for everything would do."""
    return f"This request names {_EVERYTHING[action]}."


def name_them(action: Action) -> str:
    """Return the sentence that says what to name instead of everything."""
    return _INSTEAD[action]
