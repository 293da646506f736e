"""What is said of a name that a call does not have: true under both contracts, and with the name that was meant."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from gateway.core.errors import MalformedRequest
from gateway.core.parse import Body
from gateway.operations.calls.cancel_runs import NAMES, parse_cancel
from gateway.upstream.runs.query import parse_question

JSON = (b"application/json",)

MEANT = {
    "workflowUrlStartingWith": "workflowUrl",
    "workflowRunId": "workflowRunIds",
    "ids": "workflowRunIds",
    "run_id": "workflowRunIds",
    "runIds": "workflowRunIds",
    "workflow_run_ids": "workflowRunIds",
    "workflowRunIDs": "workflowRunIds",
    "labels": "label",
    "Label": "label",
    "LABEL": "label",
    "lable": "label",
    "label[]": "label",
    "label[0]": "label",
    "Host": "host",
    "hostname": "host",
    "pathname": "path",
    "workflowUrl[]": "workflowUrl",
    "workflowURL": "workflowUrl",
    "workflow-url": "workflowUrl",
    "url": "workflowUrl",
    "exactMatch": "workflowUrlExactMatch",
    "from_date": "fromDate",
    "since": "fromDate",
    "until": "toDate",
    "callerIP": "callerIp",
    "ip": "callerIp",
    "flowControlKeys": "flowControlKey",
    "limit": "count",
    "counts": "count",
}
PLACED = {
    "async": "waits and tells you the total",
    "dlqIds": "dead letter queue",
    "messageIds": "messages",
    "cursor": "lists runs",
    "state": "lists runs",
    "all": "means every run already",
    "filter": "with nothing around them",
    "qstash_token": "Authorization: Bearer",
    "reason": "Gateway-Reason",
    "dryRun": "/preview/v2/workflows/runs",
}


def _in_query(name: str) -> str:
    with pytest.raises(MalformedRequest) as refused:
        parse_cancel(f"{name}=x".encode(), Body())
    return refused.value.sentence


def _in_body(name: str) -> str:
    with pytest.raises(MalformedRequest) as refused:
        parse_cancel(b"", Body(json.dumps({name: ["x"]}).encode(), JSON))
    return refused.value.sentence


@pytest.mark.parametrize(("name", "meant"), MEANT.items())
def test_a_near_miss_names_what_was_meant_in_a_query_and_in_a_body(name: str, meant: str) -> None:
    """One table answers both, also where the query's name is percent-encoded."""
    for said in (_in_query(name), _in_query(quote(name, safe="")), _in_body(name)):
        assert said.startswith(f"'{name}' is not a parameter of this call; did you mean '{meant}'?"), said


@pytest.mark.parametrize(("name", "why"), PLACED.items())
def test_a_name_of_another_place_is_said_to_be_one(name: str, why: str) -> None:
    """Nobody is sent to a name that means something else, and nothing is called ignored that may be obeyed."""
    for said in (_in_query(name), _in_body(name)):
        assert said.startswith(f"'{name}' is not a parameter of this call: ")
        assert why in said
        assert "did you mean" not in said
        assert "ignore" not in said


@pytest.mark.parametrize("name", [*MEANT, *PLACED, "x", "frobnicate", "%ff", "a" * 9000, "%00"])
def test_nothing_is_claimed_of_upstream_that_one_contract_belies(name: str) -> None:
    """Whether a name is ignored differs from account to account and from year to year: it *may* be."""
    for said in (_in_query(name), _in_body(name)):
        assert "would ignore" not in said
        assert len(said) < 600


def test_a_strange_name_brings_the_known_ones() -> None:
    """Where nothing is near, all names that the call has are listed."""
    assert all(name in _in_query("frobnicate") for name in NAMES)


@pytest.mark.parametrize("name", ["label", "callerIp", "flowControlKey", "host", "path", "fromDate", "count"])
def test_a_filter_in_a_body_is_sent_to_the_query(name: str) -> None:
    """A name of the call that a body does not take is not called unknown."""
    said = _in_body(name)
    assert said.startswith(f"'{name}' is not read from a body.")
    assert "a query takes every filter" in said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"workflowRunIds": []}, "'workflowRunIds' is empty, which upstream may read as every run"),
        ({"workflowUrl": ""}, "'workflowUrl' is empty, which upstream may read as every run"),
        ({"workflowRunIds": "wfr_1"}, "'workflowRunIds' is a list of strings"),
        ({"workflowRunIds": None}, "'workflowRunIds' is a list of strings"),
        ({"workflowUrl": 7}, "'workflowUrl' is a string or a list of strings"),
        ({"workflowRunIds": ["a"], "workflowUrl": "https://a.example/"}, "nothing may stand beside it"),
        ({"workflowRunIds": ["a", 1]}, "strings only"),
        ({"workflowRunIds": ["a"], "all": True}, "'all' is not a parameter of this call"),
    ],
)
def test_a_misshapen_body_says_which_member_is_wrong(body: object, said: str) -> None:
    """The sentence begins with the fault, and the shape that would do follows."""
    with pytest.raises(MalformedRequest) as refused:
        parse_cancel(b"", Body(json.dumps(body).encode(), JSON))
    assert said in refused.value.sentence
    assert "A body is" in refused.value.sentence


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("workflowRunIds", "did you mean 'workflowRunId'?"),
        ("labels", "did you mean 'label'?"),
        ("State", "did you mean 'state'?"),
        ("workflowUrlStartingWith", "did you mean 'workflowUrl'?"),
        ("workflowUrlExactMatch", "matched exactly"),
        ("dlqIds", "dead letter queue"),
    ],
)
def test_the_call_that_lists_runs_says_its_own_names(name: str, said: str) -> None:
    """The same table, with the names that the listing has."""
    with pytest.raises(MalformedRequest) as refused:
        parse_question(f"{name}=x".encode(), events=False)
    assert said in refused.value.sentence
