"""What a refused caller could have asked for instead: the request, bent as little as possible towards an `allow` rule.

The requests made here are only proposals; `decide` judges each before it shows one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from gateway.cancel import ByFilter, ByRunIds, CancelRequest, Selection
from gateway.policy.model import (
    Condition,
    CreatedCondition,
    Rule,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.rules import TeamRules

SLACK_MS = 60_000
MOST = 20
"""How many rules are asked for a proposal."""
MOST_JUDGED = 6
"""How many proposals are made: each is judged like a request, and a refusal may not cost many times a permit."""


def candidates_near(rules: TeamRules, request: CancelRequest, now_ms: int) -> Iterator[CancelRequest]:
    """A few proposals from the rules that share something with the request first, then from the others by name."""
    known = {request}  # It was just refused.
    for proposal in _proposals(rules, request, now_ms):
        if proposal not in known:
            known.add(proposal)
            yield proposal
        if len(known) > MOST_JUDGED:
            return


def _proposals(rules: TeamRules, request: CancelRequest, now_ms: int) -> Iterator[CancelRequest]:
    close = list(islice(rules.near(request.selection, now_ms), MOST))
    others = (rule for rule in rules.allowed(now_ms) if rule not in close)
    for rule in islice(chain(close, others), MOST):
        for asked in _spellings(request.selection):
            selection = _bent(rule, asked, now_ms)
            if selection is not None:
                yield _counted(rule, selection, request.count)


def _spellings(asked: Selection) -> Iterator[Selection]:
    """A URL prefix with its closing `/` first: the same runs as far as a rule with a boundary can admit them."""
    if isinstance(asked, ByFilter) and asked.workflow_urls and not asked.exact:
        closed = dict.fromkeys(url.rstrip("/") + "/" for url in asked.workflow_urls)
        yield replace(asked, workflow_urls=tuple(closed))
    yield asked


def in_words(wire: Mapping[str, object]) -> str:
    """A request (`CancelRequest.wire`) as a person would say it."""
    parts = []
    for name, value in wire.items():
        if name == "workflowUrlExactMatch":
            parts.append(f"{name}=true")
        elif isinstance(value, list):
            parts.append(f"{name} " + ", ".join(map(str, value[:3])) + (" …" if len(value) > 3 else ""))
        else:
            parts.append(f"{name} {value}")
    return "; ".join(parts)


def _counted(rule: Rule, selection: Selection, asked: int) -> CancelRequest:
    if isinstance(selection, ByRunIds):
        return CancelRequest(selection, len(selection.run_ids))
    bound = rule.count.max if rule.count is not None else None
    return CancelRequest(selection, min(asked, bound) if bound is not None else asked)


def _bent(rule: Rule, asked: Selection, now_ms: int) -> Selection | None:
    ids = rule.conditions.get("workflowRunIds")
    if isinstance(ids, RunIdCondition):
        return _fewer_ids(rule, ids, asked)
    if isinstance(asked, ByRunIds):
        return None  # Who named single runs is not sent to a filter, which may reach many.
    wanted = asked if isinstance(asked, ByFilter) else None
    kept = {field: _values(field, condition, wanted, now_ms) for field, condition in rule.conditions.items()}
    try:
        return ByFilter(
            workflow_urls=tuple(kept.get("workflowUrl", ())),
            exact=_exactly(rule.conditions.get("workflowUrl"), kept.get("workflowUrl", ()), wanted),
            from_date=_number(kept.get("created", ()), 0),
            to_date=_number(kept.get("created", ()), 1),
            caller_ips=tuple(kept.get("callerIp", ())),
            flow_control_keys=tuple(kept.get("flowControlKey", ())),
            labels=tuple(kept.get("label", ())),
        )
    except ValueError:
        return None  # Nothing to propose: every field of the rule is optional, or two proposals do not go together.


def _exactly(condition: Condition | None, urls: Sequence[str], asked: ByFilter | None) -> bool:
    """Whether the proposal is an exact one: always, unless all of it are prefixes and nobody asked for exact values."""
    if not urls or not isinstance(condition, UrlCondition):
        return False
    if asked is not None and asked.exact:
        return True
    return not all(url.endswith("/") for url in urls) or not condition.exact.isdisjoint(urls)


def _fewer_ids(rule: Rule, ids: RunIdCondition, asked: Selection) -> Selection | None:
    if not isinstance(asked, ByRunIds):
        return None  # Which runs are the caller's cannot be guessed.
    fitting = [run_id for run_id in asked.run_ids if not ids.prefix or run_id.startswith(ids.prefix)]
    bounds = (ids.max, rule.count.ceiling if rule.count is not None else None, len(fitting))
    fewer = fitting[: min(bound for bound in bounds if bound is not None)]
    return ByRunIds(tuple(fewer)) if fewer else None


def _values(field: str, condition: Condition, asked: ByFilter | None, now_ms: int) -> Sequence[str]:
    match condition:
        case UrlCondition():
            return _urls(condition, asked.workflow_urls if asked is not None else ())
        case CreatedCondition():
            return _dates(condition, asked, now_ms)
        case ValueCondition():
            return _listed(condition, asked)
    return ()


def _listed(condition: ValueCondition, asked: ByFilter | None) -> Sequence[str]:
    values = list(condition.values(asked)) if asked is not None else []
    fitting = values if condition.any else [value for value in values if value in condition.any_of]
    return fitting or ([] if condition.optional or condition.any else sorted(condition.any_of)[:1])


def _urls(condition: UrlCondition, asked: Iterable[str]) -> Sequence[str]:
    fitting = [url for url in asked if condition.any or condition.admits(url, exact=True)]
    if fitting:
        return fitting
    if condition.optional or condition.any:
        return []
    return sorted(condition.exact)[:1] or [condition.prefix[0].rstrip("/") + "/"]


def _dates(condition: CreatedCondition, asked: ByFilter | None, now_ms: int) -> Sequence[str]:
    if condition.any or (condition.optional and (asked is None or "created" not in asked.carried)):
        return _asked_dates(asked)
    earliest = None
    if condition.within_last_ms is not None:
        # A little later than the rule would take, so that it still holds when somebody has read it.
        earliest = now_ms - condition.within_last_ms + min(SLACK_MS, condition.within_last_ms // 2)
    start = asked.from_date if asked is not None and asked.from_date is not None else earliest
    start = start if start is not None else now_ms - (condition.max_span_ms or 0)
    start = max(start, earliest) if earliest is not None else start
    if condition.max_span_ms is None:
        return [str(start)]
    return [str(start), str(min(now_ms, start + condition.max_span_ms))]


def _asked_dates(asked: ByFilter | None) -> Sequence[str]:
    if asked is None or asked.from_date is None:
        return ()
    return [str(asked.from_date)] + ([str(asked.to_date)] if asked.to_date is not None else [])


def _number(texts: Sequence[str], index: int) -> int | None:
    return int(texts[index]) if index < len(texts) else None
