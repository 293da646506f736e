"""A pause and a resume: one name in the path, nothing beside it, and a path made anew of that name."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core.errors import MalformedRequest
from gateway.core.outcome import Cancelled
from gateway.core.parse import Body
from gateway.core.plan import Order, order_of
from gateway.core.request import Action, ActionRequest, ByIds
from gateway.operations.operation import Asked, Said
from gateway.operations.table import OPERATIONS, asked_by
from tests.support.project import ROOT

PLACES = {
    ("POST", "flowControl"): "flowControlKey",
    ("POST", "queues"): "queue",
    ("PATCH", "schedules"): "schedule",
    ("POST", "schedules"): "schedule",
}
WORDS = {"pause": Action.PAUSE, "resume": Action.RESUME}
NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True).filter(
    lambda name: bool(name.strip("_.-")) and name != "undefined" and "qgk_" not in name
)
RECORDED = [
    one
    for line in (ROOT / "tests/wire/actions.jsonl").read_text().splitlines()
    if (one := json.loads(line))["target"].endswith(tuple(f"/{word}" for word in WORDS))
    and not one["target"].startswith("/v2/workflows/")
]


def read(method: str, path: str, query: bytes = b"", body: Body | None = None, **headers: bytes) -> ActionRequest:
    found = asked_by(method, path)
    assert found is not None
    operation, form = found
    given = {name.replace("_", "-").encode(): [value] for name, value in headers.items()}
    return operation.read(form, Asked(form.named(path), query, body or Body(), lambda name: given.get(name, [])))


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(("method", "sort"), PLACES)
@given(name=NAMES)
def test_the_name_in_the_path_is_all_that_is_asked_for(method: str, sort: str, word: str, name: str) -> None:
    """Under the field of its sort, as one ID; the two methods of a schedule ask for the same."""
    request = read(method, f"/v2/{sort}/{name}/{word}")
    assert request == ActionRequest(ByIds((name,), PLACES[method, sort]), 1, action=WORDS[word])
    assert request.in_path


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(("method", "sort"), PLACES)
@given(name=NAMES)
def test_the_order_names_the_same_thing_as_clients_do(method: str, sort: str, word: str, name: str) -> None:
    """The path is made of the name, without a query; a schedule is switched by PATCH, whatever the caller's method."""
    order = order_of(read(method, f"/v2/{sort}/{name}/{word}"))
    sent, path = OPERATIONS[order.action].target(order)
    assert (sent, path) == ("PATCH" if sort == "schedules" else "POST", f"/v2/{sort}/{name}/{word}")
    assert order.headers == ()


@pytest.mark.parametrize("one", RECORDED, ids=lambda one: f"{one['client']} {one['call']}")
def test_what_clients_were_recorded_to_send_is_sent_on_as_it_is(one: dict[str, str]) -> None:
    """Method and path; none of them has a body."""
    order = order_of(read(one["method"], one["target"], body=Body(one["body"].encode())))
    assert OPERATIONS[order.action].target(order) == (one["method"], one["target"])


def test_every_recorded_form_is_among_them() -> None:
    """Of keys, queues and schedules."""
    assert {one["target"].split("/")[2] for one in RECORDED} == {sort for _, sort in PLACES}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/flowControl/a/../b/pause",
        "/v2/flowControl/../pause",
        "/v2/flowControl/.../pause",
        "/v2/flowControl/a%2Fb/pause",
        "/v2/flowControl/a%2e/pause",
        "/v2/flowControl//pause",
        "/v2/flowControl/pause",
        "/v2/flowControl/a,b/pause",
        "/v2/flowControl/a/pause/",
        "/v2/flowControl/a//pause",
        "/v2/flowControl/a/Pause",
        "/v2/flowcontrol/a/pause",
        "/v2/flowControl/undefined/pause",
        f"/v2/flowControl/{'a' * 129}/pause",
        "/v2/flowControl/a/pin",
        "/v2/flowControl/a/unpin",
        "/v2/flowControl/a/resetRate",
        "/v2/queues/a b/pause",
        "/v1/queues/a/pause",
        "/v2/topics/a/pause",
    ],
)
def test_a_spliced_or_misspelt_path_asks_for_nothing(path: str) -> None:
    """Nobody guesses what was meant: `flowControl.pause("a/../b")` would pause `b`."""
    assert asked_by("POST", path) is None


@pytest.mark.parametrize(("method", "sort"), [("PATCH", "flowControl"), ("PATCH", "queues"), ("PUT", "schedules")])
def test_another_method_asks_for_nothing(method: str, sort: str) -> None:
    """Only schedules are switched by PATCH."""
    assert asked_by(method, f"/v2/{sort}/k/pause") is None


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    ("query", "body"),
    [
        (b"count=1", Body()),
        (b"flowControlKey=other", Body()),
        (b"", Body(b"{}", (b"application/json",))),
        (b"", Body(b'{"queue": "other"}', (b"application/json",))),
        (b"", Body(content_encodings=(b"gzip",))),
    ],
)
def test_nothing_stands_beside_the_path(word: str, query: bytes, body: Body) -> None:
    """No recorded client sends a query or a body; what they would mean to QStash nobody knows."""
    with pytest.raises(MalformedRequest, match=f"The path says what to {word}: send no query"):
        read("POST", f"/v2/queues/q/{word}", query, body)


@pytest.mark.parametrize("action", WORDS.values())
def test_an_empty_answer_says_that_it_was_done(action: Action) -> None:
    """To the one thing that was named; our own answer is empty as well."""
    done = OPERATIONS[action].came_of(Said(200, {}, is_empty=True))
    assert done == Cancelled(200, 1)
    request = ActionRequest(ByIds(("k",), "queue"), 1, action=action)
    assert OPERATIONS[action].answer(request, Cancelled(200, 1)) is None


@pytest.mark.parametrize("members", [{}, {"error": "no"}, {"cancelled": 1}, {"paused": False}])
def test_an_answer_of_another_shape_is_unknown(members: dict[str, object]) -> None:
    """Nobody has seen one: it may say anything."""
    assert OPERATIONS[Action.PAUSE].came_of(Said(200, members)) is None


def test_no_order_of_a_pause_is_made_from_a_look_up() -> None:
    """Its names are under several fields, so there is nothing to look them up by."""
    request = ActionRequest(ByIds(("k",), "queue"), 1, action=Action.PAUSE)
    with pytest.raises(ValueError, match="too many values"):
        OPERATIONS[Action.PAUSE].orders([], request)


@pytest.mark.parametrize("action", WORDS.values())
def test_an_order_has_one_name(action: Action) -> None:
    """The path has room for no other."""
    order = Order(ByIds(("a", "b"), "queue"), 2, action)
    with pytest.raises(ValueError, match="too many values"):
        OPERATIONS[action].target(order)


@given(st.integers(1, 99_999), st.sampled_from("mh"))
def test_how_long_a_pause_lasts_is_kept_and_never_sent(number: int, unit: str) -> None:
    """Whole minutes or hours, at most seven days; another pause is another request."""
    lasts_ms = number * (3_600_000 if unit == "h" else 60_000)
    if lasts_ms > 7 * 24 * 3_600_000:
        with pytest.raises(MalformedRequest, match="as in 90m or 2h, at most 168h"):
            read("POST", "/v2/queues/q/pause", gateway_until=b"%d%s" % (number, unit.encode()))
        return
    request = read("POST", "/v2/queues/q/pause", gateway_until=b"%d%s" % (number, unit.encode()))
    assert (request.lasts_ms, request.wire()["Gateway-Until"]) == (lasts_ms, f"{number}{unit}")
    assert (request.headers, order_of(request).headers) == ((), ())
    assert request != read("POST", "/v2/queues/q/pause")


@given(st.text(st.characters(codec="latin-1"), max_size=8))
def test_what_is_not_exactly_a_time_is_malformed(text: str) -> None:
    """No sign, space, zero before, other unit or other digits."""
    assume(not re.fullmatch("[1-9][0-9]*[mh]", text))
    with pytest.raises(MalformedRequest, match="Send the header Gateway-Until once"):
        read("POST", "/v2/queues/q/pause", gateway_until=text.encode("latin-1"))


def test_a_time_is_said_once() -> None:
    """Of two nobody knows which is meant."""
    found = asked_by("POST", "/v2/queues/q/pause")
    assert found is not None
    operation, form = found
    twice = Asked("q", b"", Body(), lambda name: [b"1h", b"1h"] if name == b"gateway-until" else [])
    with pytest.raises(MalformedRequest, match="once"):
        operation.read(form, twice)
