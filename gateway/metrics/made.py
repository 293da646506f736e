"""The page of a process that begins: what counts and times is put where records and calls pass by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from gateway.audit.log import AuditLog
from gateway.callers.in_force import LiveSettings
from gateway.metrics.page import MetricsPage
from gateway.metrics.sources import Metrics, States
from gateway.state.freezes import Freeze
from gateway.upstream.client import Reach


def page(
    audit: AuditLog,
    reach: Reach,
    current: LiveSettings,
    tokens: Callable[[], Iterable[tuple[str, bool, float]]],
    certificate_ends: Callable[[], datetime] | None,
    freezes: Callable[[], Sequence[Freeze] | None],
    budgets: Callable[[], Mapping[str, int]],
) -> MetricsPage:
    """Return the page; from now on it is told of every record and of every call to QStash."""
    metrics = Metrics()
    audit.watch, reach.watch = metrics, metrics.called
    return MetricsPage(metrics, States(audit, current, tokens, certificate_ends, freezes, budgets))
