"""The runs that a team may see: those that its rules cover, read with the read-only token, without steps and payloads.

What is shown is built from what was read; of upstream's own members only known ones, and full ones where a rule says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from gateway.errors import LookupFailed
from gateway.lookup.asked import Question, parse_question
from gateway.lookup.entries import read_entry
from gateway.lookup.narrowing import narrowing
from gateway.lookup.pages import Page, Pairs, deadline
from gateway.policy.model import UrlCondition
from gateway.policy.rules import TeamRules
from gateway.policy.runs import covers
from gateway.run import Run

MAX_PAGES = 20
"""How many of upstream's pages are read for one of ours."""
DEADLINE_S = 30.0

_FULL: dict[str, type] = {
    "steps": list,
    "failureFunction": dict,
    "workflowRunResponse": str,
    "invoker": dict,
    "dlqId": str,
}
"""Members that may hold payloads or headers, or speak of other runs."""


class PagePort(Protocol):
    """What this needs of upstream's log."""

    async def page(self, pairs: Pairs) -> Page:
        """One page. Raises: LookupFailed."""

    def is_secret(self, text: str) -> bool:
        """Whether the text holds a token of the account."""


async def own_runs(query: bytes, rules: TeamRules, log: PagePort, now_ms: int, *, events: bool) -> dict[str, object]:
    """One page of the runs that the rules cover, as upstream's log would show it: `{"cursor": …, "runs": […]}`.

    A page may hold fewer runs than asked for, even none, and still have a cursor: then there is more to look at.

    Raises:
        MalformedRequest: the query cannot be read in exactly one way.
        LookupFailed: upstream cannot be read.
    """
    question = parse_question(query, events=events)
    fixed = _fixed(question, rules, now_ms)
    if fixed is None:
        return {"cursor": "", "runs": []}
    shown: list[dict[str, object]] = []
    cursor, seen = question.cursor, {question.cursor}
    async with deadline(DEADLINE_S):
        for _ in range(MAX_PAGES):
            # No more than still fits is asked for: upstream's cursor stands behind its whole page.
            pairs = [*fixed, ("count", str(question.count - len(shown)))]
            page = await log.page([*pairs, ("cursor", cursor)] if cursor else pairs)
            shown += _shown(page, question, rules, log=log, now_ms=now_ms)
            cursor = page.cursor
            if not cursor or len(shown) >= question.count:
                break
            if cursor in seen:
                raise LookupFailed("cursor", "Upstream's list of runs leads back into itself. Nothing was sent.")
            seen.add(cursor)
    return {"cursor": cursor, "runs": shown}


def _fixed(question: Question, rules: TeamRules, now_ms: int) -> Pairs | None:
    """What is asked of upstream with every page; None where no run can be shown."""
    allows = list(rules.enforced.allowed(now_ms))
    if not allows:
        return None
    pairs = narrowing(question.selection)
    own_url = _only_url([allow.conditions.get("workflowUrl") for allow in allows])
    if own_url is not None and "workflowUrl" not in question.selection.carried:
        pairs.append(("workflowUrl", own_url))
    pairs += [("state", question.state)] if question.state is not None else []
    pairs += [("workflowRunId", question.run_id)] if question.run_id is not None else []
    full = any(allow.logs_full for allow in allows) and not question.trimmed
    return [*pairs, ("trimBody", "false" if full else "true")]


def _only_url(conditions: list[object]) -> str | None:
    """The one URL that every run must have which any of the rules covers."""
    urls: set[str] = set()
    for condition in conditions:
        if not isinstance(condition, UrlCondition) or condition.prefix or condition.any or condition.optional:
            return None
        urls |= condition.exact
    return urls.pop() if len(urls) == 1 else None


def _shown(
    page: Page, question: Question, rules: TeamRules, *, log: PagePort, now_ms: int
) -> Iterator[dict[str, object]]:
    for entry in page.entries:
        run = read_entry(entry)
        rule = covers(rules, run, now_ms) if run is not None and question.means(run) else None
        if run is None or rule is None or not isinstance(entry, dict):
            continue
        known = _known(run, entry)
        full = {**known, **_full(entry)} if rule.logs_full and not question.trimmed else known
        # A secret may have been put into a payload; then the run is shown without, and not at all if it has it itself.
        found = next((one for one in (full, known) if not any(map(log.is_secret, _texts(one)))), None)
        if found is not None:
            yield found


def _known(run: Run, entry: Mapping[str, object]) -> dict[str, object]:
    ended_ms = entry.get("workflowRunCompletedAt")
    return {
        "workflowRunId": run.run_id,
        "workflowUrl": run.workflow_url,
        "workflowState": run.state,
        "workflowRunCreatedAt": run.created_ms,
        **({"workflowRunCompletedAt": ended_ms} if type(ended_ms) is int else {}),
        **({"workflowRunCallerIp": run.caller_ip} if run.caller_ip is not None else {}),
        **({"flowControlKey": run.flow_control_key} if run.flow_control_key is not None else {}),
        **({"label": run.labels[0]} if run.labels else {}),
        "labels": list(run.labels),
        "steps": [],
    }


def _full(entry: Mapping[str, object]) -> dict[str, object]:
    return {name: entry[name] for name, kind in _FULL.items() if isinstance(entry.get(name), kind)}


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    left = [value]
    while left:
        match left.pop():
            case str(text):
                yield text
            case dict(members):
                left += [*members, *members.values()]
            case list(items):
                left += items
