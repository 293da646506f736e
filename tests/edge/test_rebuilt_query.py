"""What reaches upstream is our own spelling, whatever the caller's was."""

from __future__ import annotations

import pytest

from tests.edge.wire import PATH, Edge

OURS = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true&label=nightly&count=7"
SPELLINGS = (
    "label=nightly&count=7&workflowUrlExactMatch=true&workflowUrl=https://billing.example.com/api/invoice",
    "workflowUrl=https%3a%2f%2fbilling.example.com%2fapi%2finvoice&workflowUrlExactMatch=true&count=7&label=%6eightly",
)


@pytest.mark.parametrize("query", SPELLINGS)
def test_another_spelling_of_the_caller_never_reaches_upstream(edge: Edge, query: str) -> None:
    """Order, escapes and case are ours: the caller's bytes are read and thrown away."""
    [answer] = edge.send(edge.request(line=f"DELETE {PATH}?{query} HTTP/1.1"), want=1)
    assert answer.status == 200
    call = edge.reached[-1].call
    assert (call.path, call.query, call.body) == (PATH, OURS, b"")
