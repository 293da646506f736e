"""The table of all metrics: the name of each, its labels, its meaning, and where its values are read."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

from gateway import __version__
from gateway.core.outcome import Outcome
from gateway.metrics.counts import ACTION
from gateway.metrics.sources import MOST_KEYS, Metrics, States, ends_s
from gateway.metrics.times import Histogram

PREFIX = "qstash_gateway_"

Labels = tuple[str, ...]
Samples = Iterable[tuple[str, Labels, float]]
"""Each sample: what is added to the family's name, the values of its labels, and its own value."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. A histogram has the label `le` besides its `labels`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    help: str
    read: Callable[[Metrics, States], Samples]


def _one(value: float | None) -> Samples:
    return [] if value is None else [("", (), float(value))]


def _table(table: dict[Labels, int], *always: Labels) -> Samples:
    """Return a counter's values; those that are `always` shown begin with 0, so that the first increase is seen."""
    return [("", labels, float(value)) for labels, value in {**dict.fromkeys(always, 0), **table.copy()}.items()]


def _histogram(times: Histogram) -> Iterator[tuple[str, Labels, float]]:
    names = [*(f"{bound:g}" for bound in times.buckets_s), "+Inf"]
    for labels, (total_s, *counts) in times.rows():
        so_far = list(accumulate(counts))
        for bound, count in zip(names, so_far, strict=True):
            yield "_bucket", (*labels, bound), count
        yield "_sum", labels, total_s
        yield "_count", labels, so_far[-1]


def _keys(states: States) -> Samples:
    ends: dict[str, float] = {}
    # The same id may be of several teams: the first of them to end is shown.
    for key in states.current.live.keys:
        if key.expires is not None:
            ends[key.id] = min(ends.get(key.id, float("inf")), ends_s(key.expires))
    first = sorted(ends.items(), key=lambda one: one[1])[:MOST_KEYS]
    return [("", (key_id,), end_s) for key_id, end_s in first]


def _certificate(states: States) -> Samples:
    return _one(states.certificate_ends().timestamp() if states.certificate_ends is not None else None)


def _frozen(states: States) -> Samples:
    freezes = states.freezes()
    if freezes is None:
        return []
    counts = dict.fromkeys(("everything", "team", "rule"), 0)
    for one in freezes:
        counts["rule" if one.scope.rule is not None else "everything" if one.scope.team is None else "team"] += 1
    return [("", (scope,), float(count)) for scope, count in counts.items()]


def _budgets(states: States) -> Samples:
    first = sorted(states.budgets().items())[:MOST_KEYS]
    return [("", (rule,), float(left)) for rule, left in first]


_OUTCOMES = tuple((ACTION, one.name) for one in get_args(Outcome))
_RESULTS = (("applied",), ("refused",))
_BUILD = (__version__, platform.python_version())

FAMILIES = (
    Family("decisions_total", "counter", ("team", "action", "decision", "enforced"),
           "Decisions on record. `decision` is the judgement with rules in shadow mode counted.",
           lambda metrics, _: _table(metrics.counts.decisions)),
    Family("outcomes_total", "counter", ("action", "outcome"), "Outcomes on record.",
           lambda metrics, _: _table(metrics.counts.outcomes, *_OUTCOMES)),
    Family("runs_cancelled_total", "counter", ("team",), "Runs that QStash is known to have cancelled.",
           lambda metrics, _: _table(metrics.counts.cancelled)),
    Family("effects_total", "counter", ("team", "action"),
           "To how many things each action was certainly done: runs cancelled, entries deleted.",
           lambda metrics, _: _table(metrics.counts.effects)),
    Family("over_cancelled_runs_total", "counter", (),
           "Runs that QStash cancelled above the count that was sent; of other actions, their things.",
           lambda metrics, _: _one(metrics.counts.over_cancelled)),
    Family("refusals_total", "counter", ("code",), "Requests refused before policy, as far as they are on record.",
           lambda metrics, _: _table(metrics.counts.refusals)),
    Family("joins_total", "counter", (), "Repeats that joined a cancel in flight.",
           lambda metrics, _: _one(metrics.counts.joins)),
    Family("in_flight", "gauge", (), "Requests that hold one of `limits.max_in_flight` places.",
           lambda _, states: _one(states.current.admission.in_flight)),
    Family("lookup_pages_total", "counter", (), "Pages that successful look-ups of runs read.",
           lambda metrics, _: _one(metrics.pages)),
    Family("lookup_seconds", "histogram", (), "The time of a look-up of runs, successful or not.",
           lambda metrics, _: _histogram(metrics.look_ups)),
    Family("request_seconds", "histogram", ("route", "status"),
           "The time from a request's head to the end of its answer. `route` is a template, or none before routing.",
           lambda metrics, _: _histogram(metrics.requests)),
    Family("upstream_seconds", "histogram", ("call", "status"), "The time of a call to QStash; 0 is no whole answer.",
           lambda metrics, _: _histogram(metrics.upstream)),
    Family("audit_write_seconds", "histogram", (), "The time of a write of records, with its sync.",
           lambda metrics, _: _histogram(metrics.writes)),
    Family("audit_ready", "gauge", (), "1 while intents can be made durable.",
           lambda _, states: _one(states.audit.state.ready)),
    Family("audit_open_intents", "gauge", (), "Intents without an outcome.",
           lambda _, states: _one(states.audit.state.open_intents)),
    Family("audit_left_out_total", "counter", (), "Records that could not be written and were left out.",
           lambda _, states: _one(states.audit.state.left_out)),
    Family("audit_copies_dropped_total", "counter", (), "Copies of records that nobody took from standard output.",
           lambda _, states: _one(states.audit.state.copies_dropped)),
    Family("policy_reloads_total", "counter", ("result",), "Reloads on record, applied or refused.",
           lambda metrics, _: _table(metrics.counts.reloads, *_RESULTS)),
    Family("policy_last_success_timestamp_seconds", "gauge", (), "When the settings in force were read.",
           lambda metrics, _: _one(metrics.counts.applied_s or metrics.began_s)),
    Family("policy_degraded", "gauge", (),
           "1 while the last reload was refused, and the settings before it are in force.",
           lambda metrics, _: _one(metrics.counts.degraded)),
    Family("policy_info", "gauge", ("digest",), "The policies in force.",
           lambda _, states: [("", (states.current.live.policies.digest,), 1.0)]),
    Family("token_ok", "gauge", ("token",), "0 while QStash refuses the token.",
           lambda _, states: [("", (name,), float(ok)) for name, ok, _ in states.tokens()]),
    Family("token_age_seconds", "gauge", ("token",), "How long the token has been in use.",
           lambda _, states: [("", (name,), age_s) for name, _, age_s in states.tokens()]),
    Family("key_expiry_timestamp_seconds", "gauge", ("key_id",),
           "When a caller's key ends. Of several keys with one id, the first.", lambda _, states: _keys(states)),
    Family("certificate_expiry_timestamp_seconds", "gauge", (), "When the certificate of the listener ends.",
           lambda _, states: _certificate(states)),
    Family("upstream_last_success_timestamp_seconds", "gauge", (),
           "When QStash last gave a whole answer other than 5xx.",
           lambda metrics, _: _one(metrics.answered_s)),
    Family("frozen", "gauge", ("scope",),
           "Freezes in force, by what they stop: everything, a team, a rule. Only with shared state.",
           lambda _, states: _frozen(states)),
    Family("budget_left_runs", "gauge", ("rule",),
           "Runs left of a rule's budget when a request last asked; of several budgets of one rule, the least.",
           lambda _, states: _budgets(states)),
    Family("build_info", "gauge", ("version", "python"), "What runs.", lambda *_: [("", _BUILD, 1.0)]),
)  # fmt: skip
