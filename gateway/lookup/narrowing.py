"""What of a filter is asked of upstream's log: only where upstream means by it exactly what the gateway means."""

from __future__ import annotations

from gateway.cancel import ByFilter, EveryRun

Pairs = list[tuple[str, str]]


def narrowing(selection: ByFilter | EveryRun, *, before_ms: int | None = None) -> Pairs | None:
    """Query pairs under which no run is left out that the selection means; None where it can mean none.

    Upstream's log takes one exact URL, one address, one flow-control key, and any of several labels. An IPv6 address
    can be written in several ways, so upstream is not asked to compare it.
    """
    given = selection if isinstance(selection, ByFilter) else None
    dates = _dates(given, before_ms)
    if given is None or dates is None:
        return dates
    pairs: Pairs = []
    if given.exact and len(given.workflow_urls) == 1:
        pairs.append(("workflowUrl", given.workflow_urls[0]))
    if len(given.caller_ips) == 1 and ":" not in given.caller_ips[0]:
        pairs.append(("callerIp", given.caller_ips[0]))
    if len(given.flow_control_keys) == 1:
        pairs.append(("flowControlKey", given.flow_control_keys[0]))
    return [*pairs, *(("label", label) for label in given.labels), *dates]


def _dates(given: ByFilter | None, before_ms: int | None) -> Pairs | None:
    first = given.from_date if given is not None else None
    ends = [end for end in (given.to_date if given is not None else None, before_ms) if end is not None]
    if first is not None and ends and min(ends) < first:
        return None
    pairs = [] if first is None else [("fromDate", str(first))]
    return [*pairs, ("toDate", str(min(ends)))] if ends else pairs
