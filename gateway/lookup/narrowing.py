"""What of a filter is asked of upstream's log: only where upstream means by it exactly what the gateway means."""

from __future__ import annotations

from gateway.cancel import ByFilter, EveryRun

Pairs = list[tuple[str, str]]


def narrowing(selection: ByFilter | EveryRun) -> Pairs:
    """Query pairs under which no run is left out that the selection means.

    Upstream's log takes one exact URL, one address, one flow-control key, and any of several labels. An IPv6 address
    can be written in several ways, so upstream is not asked to compare it.
    """
    if isinstance(selection, EveryRun):
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
