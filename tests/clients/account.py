"""A small account whose runs say by their names what would hit them, and policies that admit by each kind of filter."""

from __future__ import annotations

from gateway.simulator.runs import Run

BILLING = "https://billing.example.com/api"
INVOICE = f"{BILLING}/invoice"
REMINDER = f"{BILLING}/reminder"

RUNS = (
    Run("wfr_billing_nightly", INVOICE, 0, labels=("nightly",)),
    Run("wfr_billing_batch", INVOICE, 0, labels=("batch",)),
    Run("wfr_invoice_plain", INVOICE, 0),
    Run("wfr_below_invoice", f"{INVOICE}/eu", 0),
    Run("wfr_invoice_v2", f"{INVOICE}-v2", 0, labels=("batch",)),
    Run("wfr_reminder_nightly", REMINDER, 0, labels=("nightly",)),
    Run("wfr_search_1", "https://search.example.com/api/reindex", 0),
    Run("wfr_evil", "https://billing.example.com.evil.example/x", 0),
)

OF_INVOICE = frozenset(("wfr_billing_nightly", "wfr_billing_batch", "wfr_invoice_plain"))
NIGHTLY = frozenset(("wfr_billing_nightly", "wfr_reminder_nightly"))
BELOW_INVOICE = frozenset(("wfr_below_invoice",))

TEST_POLICIES = {
    "billing.yaml": f"""\
version: 1
name: billing
teams: [billing]
allow:
  - {{id: label, label: {{any_of: [nightly]}}}}
  - {{id: prefix, workflowUrl: {{prefix: ["{INVOICE}"]}}}}
"""
}
"""One rule by label, one by URL prefix; nothing forbids prefixes."""
