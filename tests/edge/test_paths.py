"""What a caller reads who asks for a path, or with a method, that the gateway does not have."""

from __future__ import annotations

import pytest

from tests.edge.wire import Edge

ONLY = (
    "Of QStash's calls this gateway only passes bulk cancels (DELETE /v2/workflows/runs) and shows runs of your team "
    "(GET /v2/workflows/logs); previews, plans and what you may do are at /preview/v2/workflows/runs and /gateway/v1/."
)
RUNTIMES = "Runtimes that host workflows keep their own client and token."
BY_ID = "A run is cancelled by its ID in the query, not in the path: DELETE /v2/workflows/runs?workflowRunIds=ID."
NONE = f"The gateway has no such path (it compares byte for byte). {ONLY}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "POST /v2/workflows/runs",
            f"This path takes DELETE and nothing else. {ONLY} For other calls, use a client with its own token.",
        ),
        ("DELETE /gateway/v1/whoami", "This path takes GET and nothing else."),
        ("PUT /gateway/v1/plans", "This path takes GET or POST and nothing else."),
        ("POST /gateway/v1/plans/1", "This path takes GET or DELETE and nothing else."),
    ],
)
def test_another_method_is_told_the_one_there_is(edge: Edge, line: str, said: str) -> None:
    """405 with the method that the path takes; only a path of QStash is explained by QStash's clients."""
    [answer] = edge.send(edge.request("Connection: close", line=f"{line} HTTP/1.1"))
    assert (answer.status, answer.json()["error"]) == (405, said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("DELETE /v2/workflows/runs/wfr_1", f"{BY_ID} {RUNTIMES}"),
        ("DELETE /v2/workflows/runs/wfr_1?cancel=true", f"{BY_ID} {RUNTIMES}"),
        ("DELETE /v2/workflows/runs/wfr_1?cancel=false", f"{BY_ID} {RUNTIMES}"),
        ("DELETE /preview/v2/workflows/runs/wfr_1", f"{BY_ID} {RUNTIMES}"),
        ("GET /v2/workflows/runs/wfr_1", f"{ONLY} {RUNTIMES}"),
        ("DELETE /v2/workflows/runs/wfr_1/steps", f"{ONLY} {RUNTIMES}"),
        ("GET /v2/messages/msg_1", f"{ONLY} {RUNTIMES}"),
        ("GET /gateway/v1/what", NONE),
        ("GET /", NONE),
        ("DELETE /v2//workflows/runs", "This path has a double slash: write it as /v2/workflows/runs."),
        ("DELETE /v2/workflows/runs/", "This path has a slash at its end: write it as /v2/workflows/runs."),
    ],
)
def test_a_path_that_is_none_is_told_what_there_is(edge: Edge, line: str, said: str) -> None:
    """404 with all that the gateway does; who names a run in the path reads where its ID belongs."""
    [answer] = edge.send(edge.request("Connection: close", line=f"{line} HTTP/1.1"))
    assert (answer.status, answer.json()["error"]) == (404, said)
