"""The notices: what each kind says, as data and as a sentence. Pure; nothing here is of a run.

An event that can be told twice, by two gateways or after a death, has an ID of its own subject: it is kept once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import orjson

from gateway.core.forms.times import run_time
from gateway.core.outcome import Excess
from gateway.operations.words import words_of
from gateway.state.freezes import Freeze, Scope, scope_in_words
from gateway.state.notices import ApprovalStep, Event

Data = Mapping[str, object]

MOST_CHARS = 1000
"""The most characters of one text in a notice."""

NOT_SHOWN = "(not shown: it may hold a secret)"


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice. `event` is the key of `notify` that asks for it, and `kind` what exactly happened.

    `subject` is what it is about: notices of one subject are told in order. `at_ms` is in Unix milliseconds.
    """

    notice_id: str
    event: Event
    kind: str
    subject: str
    at_ms: int
    data: Data

    def document(self) -> bytes:
        """Return it as JSON, as the store keeps it."""
        members = {"kind": self.kind, "subject": self.subject, "time": run_time(self.at_ms), "data": self.data}
        return orjson.dumps(members)

    def without(self, is_secret: Callable[[str], bool]) -> Notice:
        """Return the notice with every text of its data shortened, and not shown where it may hold a secret."""
        return replace(self, data={name: _clean(value, is_secret) for name, value in self.data.items()})


def frozen(freeze: Freeze) -> Notice:
    """Return the notice that a freeze has begun."""
    return Notice(
        f"freeze_{freeze.freeze_id}", "freeze", "freeze", freeze.freeze_id, freeze.at_ms, _freeze_data(freeze)
    )


def thawed(freeze: Freeze) -> Notice:
    """Return the notice that a freeze was ended by somebody."""
    at_ms = freeze.at_ms if freeze.thawed_ms is None else freeze.thawed_ms
    data = {**_freeze_data(freeze), "thawed_by": freeze.thawed_by}
    return Notice(f"thaw_{freeze.freeze_id}", "freeze", "thaw", freeze.freeze_id, at_ms, data)


def exceeded(excess: Excess, at_ms: int) -> Notice:
    """Return the notice that QStash cancelled more than was sent, or did more of another action; or a wider filter."""
    event: Event = "filter_wider" if excess.runs is None else "over_cancelled"
    data: dict[str, object] = {"decision_id": excess.decision_id, "team": excess.team, "rule": excess.rule}
    data["action"] = excess.action
    if excess.runs is not None:
        data["over_cancelled"] = excess.runs
    return Notice(f"{event}_{excess.decision_id}", event, event, excess.decision_id, at_ms, data)


def reload_refused(notice_id: str, why: str, gateway: str, at_ms: int) -> Notice:
    """Return the notice that changed files were refused; `why` is the sentence that `/readyz` shows."""
    return Notice(notice_id, "reload_refused", "reload_refused", gateway, at_ms, {"gateway": gateway, "why": why})


def audit_changed(notice_id: str, cause: str | None, gateway: str, at_ms: int) -> Notice:
    """Return the notice that the record cannot be written, by its fixed word, or can again (`cause` None)."""
    kind = "audit_available" if cause is None else "audit_unavailable"
    return Notice(notice_id, "audit_unavailable", kind, gateway, at_ms, {"gateway": gateway, "cause": cause})


def approval(step: ApprovalStep) -> Notice:
    """Return the notice of a step of an approval: the plan by its number of runs, and who has to decide."""
    data = {
        "plan": step.plan_id,
        "state": step.state,
        "team": step.team,
        "principal": step.principal,
        "rule": step.rule,
        "runs": step.runs,
        "action": step.action,
        "until": run_time(step.until_ms),
        "needed": step.needed,
        "by": list(step.by),
        "given": list(step.given),
        "decided_by": step.decided_by,
        "reason": step.reason,
    }
    name = f"approval_{step.plan_id}_{step.state}_{len(step.given)}"
    return Notice(name, "approval", "approval", step.plan_id, step.at_ms, data)


def sentence(kind: str, data: Data) -> str:
    """Return what happened in a sentence for people, made of the data of a notice of this kind."""
    return _SENTENCES[kind](data)


def _freeze_data(freeze: Freeze) -> dict[str, object]:
    return {
        "freeze_id": freeze.freeze_id,
        "team": freeze.scope.team,
        "rule": freeze.scope.rule,
        "reason": freeze.reason,
        "by": freeze.by,
        "until": None if freeze.until_ms is None else run_time(freeze.until_ms),
    }


def _clean(value: object, is_secret: Callable[[str], bool]) -> object:
    if isinstance(value, list):
        return [_clean(one, is_secret) for one in value]
    if not isinstance(value, str):
        return value
    if is_secret(value):
        return NOT_SHOWN
    # The name of a file may hold bytes that are no text, which JSON does not take.
    text = value.encode("utf-8", errors="replace").decode()
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}…"


def _scope(data: Data) -> str:
    team, rule = data["team"], data["rule"]
    return scope_in_words(Scope(None if team is None else str(team), None if rule is None else str(rule)))


def _frozen(data: Data) -> str:
    ends = "until somebody thaws them" if data["until"] is None else f"until {data['until']}"
    return f"Calls {_scope(data)} are frozen {ends}, by {data['by']}: {data['reason']} (freeze {data['freeze_id']})."


def _thawed(data: Data) -> str:
    return f"Calls {_scope(data)} are thawed by {data['thawed_by']} (freeze {data['freeze_id']})."


def _over(data: Data) -> str:
    # An outbox may hold notices of a version that knew no other action than to cancel runs.
    words = words_of(data.get("action"))
    more = words.number(int(str(data["over_cancelled"])), before="more ")
    return f"QStash {words.done} {more} than were sent by decision {data['decision_id']} {_scope(data)}."


def _wider(data: Data) -> str:
    return f"QStash works on a wider filter than decision {data['decision_id']} {_scope(data)} sent."


def _refused(data: Data) -> str:
    return f"Gateway {data['gateway']}: {data['why']}."


def _unavailable(data: Data) -> str:
    return f"Gateway {data['gateway']} cannot write its record ({data['cause']}), so it sends nothing: see its /readyz."


def _available(data: Data) -> str:
    return f"Gateway {data['gateway']} can write its record again."


def _approval(data: Data) -> str:
    words = words_of(data.get("action"))
    runs = "" if data["runs"] is None else words.number(int(str(data["runs"])))
    runs = runs and f", {runs}" + f" to be {words.done}" * (data.get("action") not in (None, "cancel_runs"))
    plan = f"plan {data['plan']} of {data['principal']}{runs}, under {data['rule']}"
    given, by = data["given"], data["by"]
    so_far = len(given) if isinstance(given, list) else 0
    teams = ", ".join(map(str, by)) if isinstance(by, list) else ""
    if data["state"] == "awaiting_approval":
        return f"Awaits approval ({so_far} of {data['needed']}) by {teams} until {data['until']}: {plan}."
    if data["state"] == "void":
        return f"Holds no longer, because of a changed {data['reason']}: {plan}. The same request begins anew."
    decided = f" by {data['decided_by']}" if data["decided_by"] is not None else ""
    why = f" ({data['reason']})" if data["reason"] is not None else ""
    return f"{str(data['state']).capitalize()}{decided}{why}: {plan}."


_SENTENCES: Mapping[str, Callable[[Data], str]] = {
    "freeze": _frozen,
    "thaw": _thawed,
    "over_cancelled": _over,
    "filter_wider": _wider,
    "reload_refused": _refused,
    "audit_unavailable": _unavailable,
    "audit_available": _available,
    "approval": _approval,
}
KINDS = tuple(_SENTENCES)
"""What can have happened, as the last part of the `type` of a CloudEvent."""
