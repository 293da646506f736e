"""What a caller reads of a path that nobody has: the fault where it can be seen, and where to go."""

from __future__ import annotations

import pytest

from tests.edge.wire import TARGET, Edge

ONLY = "This gateway only passes bulk cancels, DELETE /v2/workflows/runs."
RUNTIMES = "Runtimes that host workflows keep their own client and token."


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"/{TARGET}", f"This path has a double slash, as a base URL that ends in '/' makes one: leave one out. {ONLY}"),
        ("/v2//workflows/runs", "This path has a double slash"),
        ("//gateway/v1/whoami", "This path has a double slash"),
        ("/v2/workflows/runs/", "This path ends in a slash that does not belong to it: leave it out."),
        ("/v2/workflows/run", f"This path is none of the gateway's. {ONLY} {RUNTIMES}"),
        ("/v2/publish/x", f"This path is none of the gateway's. {ONLY} {RUNTIMES}"),
        ("/gateway/v1/plan", f"This path is none of the gateway's. {ONLY} GET /gateway/v1/whoami says"),
    ],
)  # fmt: skip
def test_a_path_that_nobody_has_says_why(edge: Edge, target: str, said: str) -> None:
    """404 whatever it resembles, and nothing is repaired or sent."""
    before = len(edge.reached)
    [answer] = edge.send(edge.request("Connection: close", line=f"DELETE {target} HTTP/1.1"))
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert str(answer.json()["error"]).startswith(said)
    assert len(edge.reached) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("POST /v2/workflows/runs", f"This path takes DELETE and nothing else. {ONLY} {RUNTIMES}"),
        ("DELETE /gateway/v1/whoami", "This path takes GET and nothing else."),
        ("GET /gateway/v1/plans", "This path takes POST and nothing else."),
    ],
)
def test_another_method_is_told_the_one_there_is(edge: Edge, line: str, said: str) -> None:
    """405 with the method that the path takes; only a path of QStash is explained by QStash's clients."""
    [answer] = edge.send(edge.request("Connection: close", line=f"{line} HTTP/1.1"))
    assert (answer.status, answer.json()["error"]) == (405, said)
