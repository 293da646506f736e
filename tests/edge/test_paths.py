"""What a caller reads who uses another method than a path takes."""

from __future__ import annotations

import pytest

from tests.edge.wire import Edge

OF_QSTASH = (
    "This path takes DELETE and nothing else. This gateway only passes bulk cancels, DELETE /v2/workflows/runs; "
    "for other calls, use a client with its own token."
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("POST /v2/workflows/runs", OF_QSTASH),
        ("DELETE /gateway/v1/whoami", "This path takes GET and nothing else."),
        ("GET /gateway/v1/plans", "This path takes POST and nothing else."),
    ],
)
def test_another_method_is_told_the_one_there_is(edge: Edge, line: str, said: str) -> None:
    """405 with the method that the path takes; only a path of QStash is explained by QStash's clients."""
    [answer] = edge.send(edge.request("Connection: close", line=f"{line} HTTP/1.1"))
    assert (answer.status, answer.json()["error"]) == (405, said)
