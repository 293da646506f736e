"""The part of a filter that is asked of upstream's log: only what upstream understands exactly as the gateway does.

For a team, nothing is asked for that none of its rules can cover, so that pages say little of what others run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from gateway.core.request import Everything, Filter
from gateway.policy.conditions import UrlCondition, ValueCondition
from gateway.policy.model import Rule

Pairs = list[tuple[str, str]]

MAX_LABELS = 20
"""If a team's rules name more labels than this, upstream is not asked for them: its pages are searched instead."""


def narrowing(selection: Filter | Everything) -> Pairs:
    """Return query pairs that exclude none of the runs that the selection means.

    Upstream's log takes one exact URL, one address, one flow-control key, and any of several labels. An IPv6 address
    can be written in several ways, so upstream is not asked to compare it. A host or path is never sent.
    """
    if isinstance(selection, Everything):
        return []
    pairs: Pairs = []
    if selection.exact and len(selection.workflow_urls) == 1:
        pairs.append(("workflowUrl", selection.workflow_urls[0]))
    if len(selection.caller_ips) == 1 and ":" not in selection.caller_ips[0]:
        pairs.append(("callerIp", selection.caller_ips[0]))
    if len(selection.flow_control_keys) == 1:
        pairs.append(("flowControlKey", selection.flow_control_keys[0]))
    pairs += [("label", label) for label in selection.labels]
    dates = (("fromDate", selection.from_date), ("toDate", selection.to_date))
    return [*pairs, *((name, str(date)) for name, date in dates if date is not None)]


def narrowing_of_team(
    selection: Filter | Everything, allows: Sequence[Rule], may_show: Callable[[str], bool]
) -> Pairs | None:
    """Return pairs as `narrowing` does, for the runs that one of the `allow` rules can cover; None if there are none.

    `may_show` tells whether the rules can cover any run of a URL.
    """
    coverable = _coverable(selection, may_show)
    if not allows or coverable is None:
        return None
    pairs = [pair for pair in narrowing(coverable) if pair[0] != "label"]
    pairs = [*(("label", label) for label in _labels(selection, allows)), *pairs]
    own_url = _only_url(allow.conditions.get("workflowUrl") for allow in allows)
    return [*pairs, ("workflowUrl", own_url)] if own_url and "workflowUrl" not in selection.carried else pairs


def _coverable(selection: Filter | Everything, may_show: Callable[[str], bool]) -> Filter | Everything | None:
    """Return the selection without the URLs that none of the rules can cover; None if no URL is left."""
    if not isinstance(selection, Filter) or not selection.workflow_urls:
        return selection
    urls = tuple(url for url in selection.workflow_urls if may_show(url))
    return replace(selection, workflow_urls=urls) if urls else None


def _labels(selection: Filter | Everything, allows: Sequence[Rule]) -> Sequence[str]:
    """Return the labels to ask upstream for: those of the question if the rules cover them, else those of the rules.

    If a rule covers runs without regard to their labels, or the rules name too many, they are those of the question.
    """
    asked = selection.labels if isinstance(selection, Filter) else ()
    bounds: set[str] = set()
    for allow in allows:
        condition = allow.conditions.get("label")
        if not isinstance(condition, ValueCondition) or condition.any or condition.optional:
            return asked
        bounds |= condition.any_of
        if len(bounds) > MAX_LABELS:
            return asked
    within = bool(asked) and bounds.issuperset(asked)
    return asked if within else sorted(bounds)


def _only_url(conditions: Iterable[object]) -> str | None:
    """Return the one URL that every run must have to be covered by any of the rules; None if there is no such URL."""
    urls: set[str] = set()
    for condition in conditions:
        if not isinstance(condition, UrlCondition) or condition.prefix or condition.any or condition.optional:
            return None
        urls |= condition.exact
        if len(urls) > 1:
            return None
    return urls.pop() if urls else None
