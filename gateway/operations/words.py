"""The words in which each action is spoken of, to callers and operators: what is done, and to what things.

A sentence that holds for every action is written once, with these words in it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.core.errors import counted
from gateway.core.request import Action


class Words(NamedTuple):
    """The words of one action: a `verb` and what it has `done`, an `act` and several `acts`, a `thing` and `things`.

    `repeat` says what to do, if nobody knows what came of a request, before the same is sent again.
    """

    verb: str
    done: str
    act: str
    acts: str
    thing: str
    things: str
    repeat: str

    def number(self, number: int, *, before: str = "", after: tuple[str, str] = ("", "")) -> str:
        """Return a number of things in words, each with the words `before` it, and `after` one or several of them."""
        one, several = after
        return counted(number, f"{before}{self.thing}{one}", f"{before}{self.things}{several}")

    def were(self, number: int) -> str:
        """Return the beginning of a sentence about what was done to a number of things."""
        return self.number(number, after=(" was", " were"))


def _words(verb: str, done: str, act: str, acts: str, things: tuple[str, str], *, repeat: str) -> Words:
    return Words(verb, done, act, acts, *things, repeat=repeat)


_RUN, _ENTRY, _MESSAGE, _NAME = ("run", "runs"), ("entry", "entries"), ("message", "messages"), ("name", "names")
_STARTED_TWICE = "Do not repeat it blindly, a repeat may start the same thing again; look at what was started first."

WORDS: Mapping[str, Words] = {
    Action.CANCEL_RUNS: _words(
        "cancel",
        "cancelled",
        "cancel",
        "cancels",
        _RUN,
        repeat="Do not repeat it blindly, a repeat may cancel further runs; look at the runs' states first.",
    ),
    Action.DELETE_DLQ: _words(
        "delete",
        "deleted",
        "deletion",
        "deletions",
        _ENTRY,
        repeat="Look whether the entries are still in the dead letter queue before you repeat it.",
    ),
    Action.RESUME_DLQ: _words("resume", "resumed", "resume", "resumes", _ENTRY, repeat=_STARTED_TWICE),
    Action.RESTART_DLQ: _words("restart", "restarted", "restart", "restarts", _ENTRY, repeat=_STARTED_TWICE),
    Action.CANCEL_MESSAGES: _words(
        "cancel",
        "cancelled",
        "cancel",
        "cancels",
        _MESSAGE,
        repeat="Look whether the messages are still there before you repeat it.",
    ),
    Action.DELETE_MESSAGE_DLQ: _words(
        "delete",
        "deleted",
        "deletion",
        "deletions",
        _ENTRY,
        repeat="Look whether the entries are still in the dead letter queue before you repeat it.",
    ),
    Action.RETRY_MESSAGE_DLQ: _words("retry", "retried", "retry", "retries", _ENTRY, repeat=_STARTED_TWICE),
    Action.PAUSE: _words(
        "pause", "paused", "pause", "pauses", _NAME, repeat="Look whether it is paused before you repeat it."
    ),
    Action.RESUME: _words(
        "resume", "resumed", "resume", "resumes", _NAME, repeat="Look whether it is paused before you repeat it."
    ),
}
"""The words of every action."""

OTHER = _words("do", "done", "request", "requests", ("thing", "things"), repeat="Do not repeat it blindly.")
"""The words of an action of another version, whose name is on record."""


def words_of(action: object) -> Words:
    """Return the words of an action by its name, as a record or a document has it; of one that is not known, `OTHER`.

    A record without an action is about a cancel of runs.
    """
    name = Action.CANCEL_RUNS if action is None else action
    return WORDS.get(name, OTHER) if isinstance(name, str) else OTHER
