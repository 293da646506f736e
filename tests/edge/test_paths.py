"""What a caller reads who asks for a path, or with a method, that the gateway does not have."""

from __future__ import annotations

import pytest

from tests.edge.wire import Edge

ONLY = (
    "Of QStash's calls this gateway passes cancels of workflow runs (DELETE /v2/workflows/runs) and of messages, those "
    "on failed runs and messages, pauses and resumes; it shows your team its runs (GET /v2/workflows/logs) and failed "
    "runs (GET /v2/dlq?source=workflow). Previews, plans and what you may do are at /preview/v2/ and /gateway/v1/."
)
RUNTIMES = "Runtimes that host workflows keep their own client and token."
REST = f"{ONLY} {RUNTIMES}"
NO_RUN = (
    "The path names no run: an ID is 1 to 128 letters, digits, '_', '.' or '-', at least one a letter or digit, and "
    f"'undefined' is what a client writes that was given no ID. {REST}"
)
REPORT = (
    "With cancel=false this call is a runtime's report that its run has ended, which the gateway does not pass: "
    "runtimes that host workflows keep their own client and token."
)
BY_QUERY = "Runs are cancelled with DELETE, and chosen in the query: DELETE /v2/workflows/runs?workflowUrl=URL. " + REST
ONE_RUN = f"A run of your team is shown by GET /v2/workflows/logs?workflowRunId=ID. {REST}"
NOT_SHOWN = f"Messages are not shown here; runs of your team are, by GET /v2/workflows/logs. {REST}"
NOTHING_NAMED = (
    "The path names nothing: an ID is 1 to 128 letters, digits, '_', '.' or '-', at least one a letter or digit, and "
    f"'undefined' is what a client writes that was given no ID. {REST}"
)
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
        ("DELETE /v2/workflows/runs/wfr_1?cancel=false", REPORT),
        ("DELETE /preview/v2/workflows/runs/wfr_1?cancel=false", REPORT),
        ("DELETE /v2/workflows/runs/undefined?cancel=true", NO_RUN),
        ("DELETE /v2/workflows/runs/..", NO_RUN),
        ("DELETE /v2/workflows/runs/wfr_%41", NO_RUN),
        ("DELETE /v2//workflows/runs/wfr_A", REST),
        ("POST /v2/workflows/runs/cancel", BY_QUERY),
        ("GET /v2/workflows/runs/wfr_1", ONE_RUN),
        ("DELETE /v2/workflows/runs/wfr_1/steps", REST),
        ("GET /v2/logs", NOT_SHOWN),
        ("GET /v2/events?cursor=1", NOT_SHOWN),
        ("GET /v1/logs", NOT_SHOWN),
        ("DELETE /v2/messages/undefined", NOTHING_NAMED),
        ("DELETE /preview/v2/dlq/..", NOTHING_NAMED),
        ("POST /v2/dlq/retry/-", NOTHING_NAMED),
        ("DELETE /v2/dlq/", "This path has a slash at its end: write it as /v2/dlq."),
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


NOTHING_INSTEAD = (
    "DELETE /v1/messages/msg_1/more",
    "POST /v2/messages/msg_1",
    "PUT /v2/keys/rotate",
    "GET /v2/keys/rotate",
    "DELETE /v2/schedules/",
    "PUT /v2/dlq/d",
    "POST /v2/keys%2Frotate",
    "POST /v2/Keys/rotate",
    "PATCH /v2/\\canary",
)


@pytest.mark.parametrize("line", NOTHING_INSTEAD)
def test_a_path_below_qstashs_that_is_none_of_its_calls_is_refused_alike_and_shown_back_to_nobody(
    edge: Edge, line: str
) -> None:
    """404 with all that the gateway does, and nothing of what was asked; nothing is sent."""
    before = len(edge.reached)
    [answer] = edge.send(edge.request("Connection: close", line=f"{line} HTTP/1.1"))
    assert (answer.status, answer.json()["error"]) == (404, REST)
    assert len(edge.reached) == before


@pytest.mark.parametrize("line", ["DELETE /v2/workflows/runs/wfr_1", "DELETE /v2/messages", "POST /v2/keys/rotate"])
def test_a_stranger_is_told_of_no_call(edge: Edge, line: str) -> None:
    """Without a key every path gets the same 401."""
    [known] = edge.send(edge.request("Connection: close", line="GET /gateway/v1/whoami HTTP/1.1", team=None))
    [answer] = edge.send(edge.request("Connection: close", line=f"{line} HTTP/1.1", team=None))
    assert (answer.status, answer.json()["error"]) == (401, known.json()["error"])
