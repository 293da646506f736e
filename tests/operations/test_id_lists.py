"""Messages and failed messages are selected by IDs alone: one reading, or a refusal in words."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import MalformedRequest, TooLarge
from gateway.core.request import Action, ActionRequest, ByIds, Dialect, Everything
from gateway.operations.id_lists import MOST_IDS
from gateway.operations.table import OPERATIONS, asked_by
from tests.operations.reading import asked, read

CALLS = {
    Action.CANCEL_MESSAGES: ("DELETE /v2/messages", "messageIds"),
    Action.DELETE_MESSAGE_DLQ: ("DELETE /v2/dlq", "dlqIds"),
    Action.RETRY_MESSAGE_DLQ: ("POST /v2/dlq/retry", "dlqIds"),
}
"""The line of each call on many, and the name of its IDs."""

FILTERS = (
    *("label", "url", "host", "path", "topicName", "queueName", "scheduleId", "flowControlKey", "callerIp"),
    *("fromDate", "toDate", "messageId", "responseStatus", "workflowUrl", "workflowUrlStartingWith", "cursor"),
    *("workflowRunIds", "all", "filter", "urlGroup", "async", "order"),
)
"""The filters of QStash's calls, and names that it would ignore."""

actions = st.sampled_from(sorted(CALLS))
an_id = st.from_regex(r"[A-Za-z0-9_.-]{0,20}[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(
    lambda one: one != "undefined"
)
id_lists = st.lists(an_id, min_size=1, max_size=MOST_IDS, unique=True)


def refused(line: str, body: object = None, **more: object) -> MalformedRequest:
    """The refusal of a call."""
    with pytest.raises(MalformedRequest) as caught:
        read(line, body, **more)
    return caught.value


@given(actions, id_lists)
def test_ids_are_read_as_exactly_these_in_either_dialect(action: Action, ids: list[str]) -> None:
    """In the order in which they were given, whether in the query or in a body."""
    line, name = CALLS[action]
    expected = ActionRequest(ByIds(tuple(ids), name), len(ids), action=action)
    in_query = read(f"{line}?{'&'.join(f'{name}={one}' for one in ids)}")
    in_body = read(line, {name: ids})
    assert (in_query, in_query.dialect, in_query.in_path) == (expected, Dialect.QUERY, False)
    assert (in_body, in_body.dialect, in_body.in_path) == (expected, Dialect.BODY, False)


@given(actions, an_id)
def test_an_id_in_the_path_is_that_one_id(action: Action, one: str) -> None:
    """Read as the list of it; it is remembered that the path named it, because the answer looks different."""
    line, name = CALLS[action]
    request = read(f"{line}/{one}")
    assert request == ActionRequest(ByIds((one,), name), 1, action=action)
    assert request.in_path


@given(actions, st.binary(max_size=60), st.one_of(st.none(), st.text(max_size=60)))
def test_whatever_is_sent_is_ids_or_everything_or_refused(action: Action, query: bytes, body: str | None) -> None:
    """No bytes make a filter, and what selects nothing is never a list."""
    line, name = CALLS[action]
    try:
        request = read(f"{line}?{query.decode('latin-1')}", body)
    except (MalformedRequest, TooLarge):
        return
    assert isinstance(request.selection, ByIds | Everything)
    assert (name in query.decode("latin-1") or name in (body or "")) is isinstance(request.selection, ByIds)


@given(actions, st.integers(1, 999_999_999))
def test_a_count_alone_is_everything(action: Action, count: int) -> None:
    """`{all: true}`, `{filter: {}}` and `{filter: {label: undefined}}` all send this; a count bounds nothing."""
    request = read(f"{CALLS[action][0]}?count={count}")
    assert (request.selection, request.count, request.action) == (Everything(), count, action)


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize("body", [None, "{}"])
def test_a_bare_call_is_everything(action: Action, body: str | None) -> None:
    """As `messages.deleteAll()` of older clients sends it."""
    assert read(CALLS[action][0], body) == ActionRequest(Everything(), 100, action=action)


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("more", ["", "&count=100"])
def test_a_filter_is_refused_and_told_to_select_by_ids(action: Action, name: str, more: str) -> None:
    """In a query, in a body, and beside IDs: the sentence names the field that takes IDs."""
    line, ids = CALLS[action]
    if name == ids:
        return
    for refusal in (refused(f"{line}?{name}=x{more}"), refused(line, {name: ["x"]})):
        assert f"Select by IDs: {ids}=ID" in refusal.sentence
    for refusal in (refused(f"{line}?{ids}=a&{name}=x"), refused(line, {ids: ["a"], name: "x"})):
        assert refusal.cause in ("unknown_parameter", "beside_ids")


@pytest.mark.parametrize("action", CALLS)
def test_nothing_stands_beside_ids(action: Action) -> None:
    """QStash would ignore it, and the caller believes that it narrows."""
    line, name = CALLS[action]
    assert refused(f"{line}?{name}=a&count=1").cause == "beside_ids"
    assert refused(line, {name: ["a"], "count": 1}).cause == "beside_ids"
    assert refused(f"{line}?{name}=a", {name: ["a"]}).cause == "query_and_body"


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize(
    "value", [[], None, "a", "", {}, 1, True, [1], ["a", None], [["a"]], [""], ["a,b"], ["a", "a"]]
)
def test_a_list_that_is_none_is_refused(action: Action, value: object) -> None:
    """QStash takes an empty one for everything, and what else it makes of the others nobody knows."""
    line, name = CALLS[action]
    assert refused(line, {name: value}).cause in ("body_shape", "value")


@pytest.mark.parametrize("action", CALLS)
def test_an_empty_list_is_refused_in_words(action: Action) -> None:
    """The Python client sends it for a list that ran empty."""
    line, name = CALLS[action]
    assert "is empty, which QStash takes for everything" in refused(line, {name: []}).sentence


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize(
    "value", ["", "a%2Cb", "a%2Fb", "..", "%2E%2E", "a;b", "a%", "a%00", "a+b", "%C3%A9", "undefined"]
)
def test_a_value_that_is_no_id_is_refused(action: Action, value: str) -> None:
    """Also beside one that is: no part of a list is dropped."""
    line, name = CALLS[action]
    refused(f"{line}?{name}={value}")
    refused(f"{line}?{name}=a&{name}={value}")


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize(
    "name", ["messageId", "MessageIds", "messageIds[]", "dlqId", "DlqIds", "dlqIds[]", "id", "ids"]
)
def test_a_name_that_is_nearly_right_is_told_the_right_one(action: Action, name: str) -> None:
    """QStash would ignore it and take the call for everything."""
    line, known = CALLS[action]
    sentence = refused(f"{line}?{name}=a").sentence
    own = known.lower().removesuffix("s")
    assert ("did you mean" in sentence) is (name in ("id", "ids") or name.lower().startswith(own))
    assert f"Select by IDs: {known}=ID" in sentence


@pytest.mark.parametrize("action", CALLS)
def test_nothing_stands_beside_an_id_in_the_path(action: Action) -> None:
    """No query, no body, no coding: which of the two would count is not known."""
    line, name = CALLS[action]
    assert refused(f"{line}/a?count=100").cause == "path_and_query"
    assert refused(f"{line}/a?{name}=a").cause == "path_and_query"
    assert refused(f"{line}/a", "{}").cause == "path_and_body"
    assert refused(f"{line}/a", encodings=(b"gzip",)).cause == "path_and_body"


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize("segment", ["undefined", "..", ".", "-", "a/b", "a/", "", "a%2Fb", "a" * 129])
def test_what_is_no_id_makes_a_path_of_nobody(action: Action, segment: str) -> None:
    """Clients splice what they are given into the path: `messages.delete("../dlq")` deletes the DLQ."""
    method, _, path = CALLS[action][0].partition(" ")
    assert asked_by(method, f"{path}/{segment}") is None


@pytest.mark.parametrize("action", CALLS)
def test_a_list_longer_than_one_order_is_refused_in_words(action: Action) -> None:
    """One call of QStash's takes a hundred; more are never sent as several that nobody asked for."""
    line, name = CALLS[action]
    ids = [f"id_{number}" for number in range(MOST_IDS + 1)]
    assert OPERATIONS[action].most_ids == MOST_IDS
    assert read(line, {name: ids[1:]}).count == MOST_IDS
    for body, query in (({name: ids}, ""), (None, "?" + "&".join(f"{name}={one}" for one in ids))):
        with pytest.raises(TooLarge, match=f"At most {MOST_IDS} IDs"):
            read(f"{line}{query}", body)


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize("body", ["null", "[]", '"a"', '{"a": 1, "a": 2}', "{", "﻿{}"])
def test_a_body_that_is_no_object_is_refused(action: Action, body: str) -> None:
    """Two readers could read it differently, and QStash reads `null` as everything."""
    assert refused(CALLS[action][0], body).cause == "not_json"


@pytest.mark.parametrize("action", CALLS)
def test_a_coded_body_is_refused(action: Action) -> None:
    """Nobody but upstream would know what it asks for."""
    line, name = CALLS[action]
    assert refused(line, {name: ["a"]}, encodings=(b"gzip",)).cause == "content_encoding"


@given(actions, st.text(max_size=80))
def test_no_refusal_repeats_what_may_not_be_shown(action: Action, name: str) -> None:
    """A name of a request is shown only if it is short and plain: it may be a secret, or markup."""
    line, _ = CALLS[action]
    if name == CALLS[action][1]:
        return
    sentence = refused(line, json.dumps({name: "x"})).sentence
    assert sentence.isprintable()
    assert len(sentence) < 400
    try:
        shown = refused(f"{line}?{quote(name, safe='')}=x").sentence
    except AssertionError:
        assert name in ("", "count")
    else:
        assert "<" not in shown


@pytest.mark.parametrize(
    "name",
    ["Upstash-Retries", "upstash-delay", "Upstash-Label", "Upstash-Flow-Control-Key", "Upstash-Failure-Callback"],
)
def test_no_header_of_qstashs_is_passed(name: str) -> None:
    """It would be dropped without a word, and a message be sent again otherwise than was meant."""
    lists = [f"{line}?{ids}=a" for line, ids in CALLS.values()]
    for line in (*lists, *(f"{line}/a" for line, _ in CALLS.values())):
        refusal = refused(line, headers={name: "1"})
        assert refusal.cause == "override"
        assert name.lower() in refusal.sentence.lower()


def test_each_call_knows_its_own_name_only() -> None:
    """`dlqIds` selects no message to cancel, and `messageIds` no failed one."""
    assert [asked(line)[0].fields for line, _ in CALLS.values()] == [(name,) for _, name in CALLS.values()]
    refused("DELETE /v2/messages?dlqIds=a")
    refused("DELETE /v2/dlq?messageIds=a")
