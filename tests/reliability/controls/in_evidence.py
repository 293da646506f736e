"""Bugs in what is told of cancels: metrics, ids, traces, readiness, and what is made of the record for others."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug, Edit

COUNTS, TIMING, READINESS = "gateway/metrics/counts.py", "gateway/edge/timing.py", "gateway/serving/readiness.py"
CORRELATION, OCSF, JOINED = (
    "gateway/core/forms/correlation.py",
    "gateway/audit/evidence/ocsf.py",
    "gateway/audit/decisions/joined.py",
)
RECOVERY, TEXTS, VERIFY = (
    "gateway/audit/recovery.py",
    "gateway/audit/evidence/texts.py",
    "gateway/audit/evidence/verify.py",
)
OTLP, STEPS = "gateway/telemetry/otlp.py", "gateway/telemetry/steps.py"
NUMBERS, IDS, QUEUE = (
    ("tests/metrics/test_page.py",),
    ("tests/edge/test_correlation.py",),
    ("tests/telemetry/test_queue.py",),
)
KEPT = ("tests/audit/test_policy_texts.py",)

IN_EVIDENCE = (
    Bug("a repeat that joined counts twice", (Edit(COUNTS, "self.joins += 1", "self.joins += 2"),), NUMBERS),
    Bug(
        "the metrics add the parts of a plan and its outcome",
        (Edit(COUNTS, 'outcome == "cancelled" and name not in self._several and', 'outcome == "cancelled" and'),),
        NUMBERS,
    ),
    Bug(
        "a label of a metric is the caller's path",
        (Edit(TIMING, "self.answered(inbound.route,", 'self.answered(str(scope["path"]),'),),
        ("tests/metrics/test_counters.py",),
    ),
    Bug(
        "a request id that looks like a key is echoed",
        (Edit(CORRELATION, 'rb"(?!qgk_)[A-Za-z0-9_.-]{1,128}"', 'rb"[A-Za-z0-9_.-]{1,128}"'),),
        IDS,
    ),
    Bug(
        "a traceparent is not checked to its end",
        (Edit(CORRELATION, "_TRACEPARENT.fullmatch(", "_TRACEPARENT.match("),),
        ("tests/core/test_correlation.py",),
    ),
    Bug(
        "a trace of zeros is taken for one",
        (Edit(CORRELATION, "(?P<trace>(?!0{32})", "(?P<trace>"),),
        ("tests/core/test_correlation.py",),
    ),
    Bug(
        "an export leaves out what the schema has no place for",
        (Edit(OCSF, '"unmapped": left}', '"unmapped": {}}'),),
        ("tests/cli/test_audit_export.py",),
    ),
    Bug(
        "a report adds the parts of a plan and its outcome",
        (
            Edit(
                JOINED,
                "certain = sum(runs for _, runs in self.orders.values()) if self.said is None else self.said",
                "certain = sum(runs for _, runs in self.orders.values()) + (self.said or 0)",
            ),
        ),
        ("tests/cli/test_audit_report.py",),
    ),
    Bug(
        "a gateway whose upstream is away is not ready",
        (
            Edit(
                READINESS,
                "ready = state.ready and not stopping",
                'ready = state.ready and not stopping and not self.upstream().get("cause")',
            ),
        ),
        ("tests/serving/test_upstream_shown.py",),
    ),
    Bug(
        "a policy's text is kept after the start that names it",
        (
            Edit(
                RECOVERY,
                "                self.settings.before_start()\n"
                "                begun = self._first_record(start, lock, stdout=stdout)\n",
                "                begun = self._first_record(start, lock, stdout=stdout)\n"
                "                self.settings.before_start()\n",
            ),
        ),
        KEPT,
    ),
    Bug("a policy's text is kept and not synced", (Edit(TEXTS, "        disk.fdatasync(descriptor)\n", ""),), KEPT),
    Bug(
        "verify does not compare the texts of policies",
        (Edit(VERIFY, "            self._compare_texts()\n", "            pass\n"),),
        KEPT,
    ),
    Bug("spans wait without a bound", (Edit(OTLP, "self._spans + len(steps) > self._most", "not self._most"),), QUEUE),
    Bug(
        "a span that cannot be encoded fails a request",
        (Edit(OTLP, "self._put_singly(steps, fault_of(caught))", "raise"),),
        QUEUE,
    ),
    Bug("a collector that takes spans later is not asked again", (Edit(OTLP, "in LATER and", "in () and"),), QUEUE),
    Bug(
        "a caller's wish not to be traced is passed over",
        (Edit(STEPS, "        if ids.sampled:\n", "        if ids:\n"),),
        QUEUE,
    ),
)
