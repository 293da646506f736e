"""The conclusions from the answers to `probe-upstream`, and what the gateway may promise by them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.core.errors import counted

NOT_TOLD = "not told"


@dataclass(frozen=True, slots=True)
class Tracked:
    """One cancel that hit nothing: its action and the filter that the action reports, or the status that refused it."""

    action_id: str | None = None
    filter: Mapping[str, object] | None = None
    refused: int | None = None


@dataclass(slots=True)
class Findings:
    """The answers so far: to a filter, to a filter and a body, to a comma, and to a repeated label."""

    by_label: Tracked | None = None
    both_ways: Tracked | None = None
    comma: Tracked | None = None
    repeated: Tracked | None = None

    @property
    def contract(self) -> str:
        """The contract that gives such answers; only the newer one tracks a filter as an action."""
        return "2025" if self.by_label is None or self.by_label.action_id is None else "2026-09"


def unsafe(members: Mapping[str, object]) -> str | None:
    """Return an alarm if an answer says that runs were cancelled, or if their number cannot be read; else None."""
    cancelled = members.get("cancelled")
    if cancelled is None or (type(cancelled) is int and cancelled == 0):
        return None
    if type(cancelled) is int and cancelled > 0:
        were = counted(cancelled, "run was", "runs were")
        return f"ALARM: {were} cancelled by a label that no run has. Look at the account now."
    return "ALARM: the number of cancelled runs cannot be read. Look at the account now."


def labels_shown(shown: Mapping[str, object]) -> list[str]:
    """Return the labels in an action's filter. A single label may be given without a list."""
    value = shown.get("label")
    values = value if isinstance(value, list) else [value]
    return [label for label in values if isinstance(label, str)]


def conclusion(findings: Findings, *, configured: str, reads: bool) -> str:
    """Return what was found, the lines for the configuration, and what the gateway may promise."""
    return "\n".join([*_found(findings), "", *_lines(findings, configured), "", *_promises(findings, reads=reads)])


def _found(findings: Findings) -> Iterator[str]:
    yield "What was found:"
    tracked = findings.contract == "2026-09"
    yield f"  answer to a filter: {'an action, actionId' if tracked else 'a number, without an action'}"
    yield f"  count:              {_count(findings)}"
    yield f"  body or query:      {_body_or_query(findings)}"
    yield f"  a comma:            {_values(findings.comma)}"
    yield f"  a repeated label:   {_values(findings.repeated)}"


def _count(findings: Findings) -> str:
    if findings.by_label is None or findings.by_label.filter is None:
        return f"{NOT_TOLD}; a cap, by the documentation of this contract"
    if "count" in findings.by_label.filter:
        return "part of the filter that the action works on"
    return "not part of the filter that the action works on: it may bound nothing"


def _body_or_query(findings: Findings) -> str:
    both = findings.both_ways or Tracked()
    if both.refused is not None:
        return f"{NOT_TOLD}; both at once are refused with {both.refused}"
    if both.filter is not None:
        return "the query is read" + (", and the body too" if "workflowRunIds" in both.filter else "")
    if findings.contract == "2026-09":
        return "the body is read before the query: no action was made, as for run IDs"
    return f"{NOT_TOLD}; this contract answers the same to both"


def _values(tracked: Tracked | None) -> str:
    if tracked is None:
        return NOT_TOLD
    if tracked.refused is not None:
        return f"refused with {tracked.refused}"
    labels = labels_shown(tracked.filter or {})
    if len(labels) == 1 and "," in labels[0] and isinstance((tracked.filter or {}).get("label"), str):
        return f"{NOT_TOLD}: shown as one text with a comma"
    return "one value" if len(labels) == 1 else counted(len(labels), "value")


def _lines(findings: Findings, configured: str) -> Iterator[str]:
    same = "as it is configured now" if configured == findings.contract else f'in place of "{configured}"'
    yield f"For the configuration, {same}:"
    yield "  upstream:"
    yield f'    contract: "{findings.contract}"'


def _promises(findings: Findings, *, reads: bool) -> Iterator[str]:
    yield "What the gateway may promise with it:"
    if findings.contract == "2026-09":
        yield "  A filter that is passed on cancels what matches it; `count` is advisory, and more may be cancelled."
        yield "  The true total of each action is recorded as `settled`; a total above `count` and a filter"
        yield "  wider than the one sent are alarms."
    else:
        yield "  A filter that is passed on cancels at most `count` runs, by the documentation; this cannot be tried"
        yield "  without cancelling runs. More than `count` is an alarm."
    yield "  It sends a query, never a body or a comma, so how those are read does not matter."
    yield "  Run IDs, and rules with `resolve: true`, cancel these runs and no others, under either contract."
    if not reads:
        yield "  `resolve: true` needs `upstream.read_token`, the account's read-only token. None is configured."
