"""What is sent for messages and failed messages, whatever was asked, and what QStash's answers say became of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.outcome import Cancelled, Made
from gateway.core.plan import order_of
from gateway.core.request import Action, ActionRequest, ByFilter, ByIds, Everything
from gateway.core.run import Run
from gateway.operations.operation import Said
from gateway.operations.table import OPERATIONS
from tests.operations.test_id_lists import CALLS, actions, id_lists

CANCEL, DELETE, RETRY = CALLS


def came_of(action: Action, members: dict[str, object], status: int = 200) -> object:
    """What the operation reads in an answer."""
    return OPERATIONS[action].came_of(Said(status, members))


def request(action: Action, *ids: str, in_path: bool = False) -> ActionRequest:
    """A request for these IDs."""
    return ActionRequest(ByIds(ids, CALLS[action][1]), len(ids), action=action, in_path=in_path)


@given(actions, id_lists)
def test_only_ids_are_ever_sent(action: Action, ids: list[str]) -> None:
    """One call on many names exactly these IDs in its query, and nothing else: no count, no filter, no path."""
    line, name = CALLS[action]
    operation = OPERATIONS[action]
    direct = order_of(request(action, *ids))
    expected = (line.split()[0], f"{line.split()[1]}?{'&'.join(f'{name}={one}' for one in ids)}")
    assert operation.target(direct) == expected
    [found] = operation.orders([Run(one, "https://a.example/x", 1) for one in ids], request(action, *ids))
    assert operation.target(found) == expected


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize("selection", [Everything(), ByFilter(labels=("l",))])
def test_nothing_else_becomes_an_order(action: Action, selection: Everything | ByFilter) -> None:
    """Even for a policy that would allow it."""
    with pytest.raises(TypeError):
        order_of(ActionRequest(selection, 100, action=action))


@pytest.mark.parametrize("action", CALLS)
def test_no_things_make_no_order(action: Action) -> None:
    """A list without IDs means everything to QStash."""
    assert OPERATIONS[action].orders([], request(action, "a")) == ()


@pytest.mark.parametrize("action", CALLS)
def test_many_things_are_ordered_in_lists_of_a_hundred(action: Action) -> None:
    """Each of them once."""
    things = [Run(f"id_{number}", "https://a.example/x", 1) for number in range(250)]
    orders = OPERATIONS[action].orders(things, request(action, "a"))
    assert [order.count for order in orders] == [100, 100, 50]
    assert [one for order in orders for _, one in order.selection.pairs()] == [thing.run_id for thing in things]


@given(st.integers(0, 2**63 - 1), st.sampled_from([200, 201, 202]))
def test_a_number_is_read_under_its_own_name_whatever_the_success(number: int, status: int) -> None:
    """A single cancel is documented with 202 and with 200; both have said how many."""
    assert came_of(CANCEL, {"cancelled": number}, status) == Cancelled(status, number)
    assert came_of(DELETE, {"cursor": "", "deleted": number}, status) == Cancelled(status, number)
    assert came_of(CANCEL, {"deleted": number}, status) is None
    assert came_of(DELETE, {"cancelled": number}, status) is None


@pytest.mark.parametrize("value", [None, True, -1, 1.0, "1", [1], 2**63])
def test_what_is_no_number_is_unknown(value: object) -> None:
    """Nobody knows how many there were."""
    assert came_of(CANCEL, {"cancelled": value}) is None
    assert came_of(DELETE, {"cursor": "", "deleted": value}) is None


@pytest.mark.parametrize("action", CALLS)
@pytest.mark.parametrize("members", [{}, {"actionId": "a"}, {"messages": []}, {"cursor": ""}])
def test_an_answer_of_another_shape_is_unknown(action: Action, members: dict[str, object]) -> None:
    """No bulk action is documented for these calls either."""
    assert came_of(action, members) is None


@pytest.mark.parametrize("error", ["failed", "", None])
def test_an_answer_with_an_error_is_unknown(error: object) -> None:
    """Whatever number stands beside it."""
    assert came_of(CANCEL, {"cancelled": 1, "error": error}) is None
    assert came_of(DELETE, {"cursor": "", "deleted": 1, "error": error}) is None
    assert came_of(RETRY, {"cursor": "", "responses": [{"messageId": "m"}], "error": error}) is None
    assert came_of(RETRY, {"cursor": "", "responses": [{"messageId": "m"}, {"messageId": "n", "error": error}]}) is None


@given(id_lists)
def test_a_retry_names_the_messages_that_it_made(ids: list[str]) -> None:
    """As many as were sent again, in order."""
    responses = [{"messageId": one} for one in ids]
    made = tuple(Made(one) for one in ids)
    assert came_of(RETRY, {"cursor": "", "responses": responses}, 201) == Cancelled(201, len(ids), made=made)


@pytest.mark.parametrize(
    "response", [None, "m", {}, {"messageId": None}, {"messageId": ""}, {"messageId": "a b"}, {"messageId": "m"}]
)
def test_a_message_that_cannot_be_read_makes_the_retry_unknown(response: object) -> None:
    """Perhaps it was not sent, perhaps it was."""
    assert came_of(RETRY, {"cursor": "", "responses": [{"messageId": "m"}, response]}) is None
    assert came_of(RETRY, {"cursor": "", "responses": response}) is None


def test_the_answers_are_those_that_clients_expect() -> None:
    """A list of numbers or messages; for an ID in the path the object alone, or no body."""
    done, nothing = Cancelled(200, 1, made=(Made("new"),)), Cancelled(200, 0)

    def answer(action: Action, came: Cancelled, *, in_path: bool = False) -> object:
        """Our answer to a request for one ID."""
        return OPERATIONS[action].answer(request(action, "a", in_path=in_path), came)

    assert answer(CANCEL, done) == answer(CANCEL, done, in_path=True) == {"cancelled": 1}
    assert answer(DELETE, done) == {"cursor": "", "deleted": 1}
    assert answer(DELETE, done, in_path=True) is None
    assert answer(DELETE, nothing, in_path=True) == {"cursor": "", "deleted": 0}
    assert answer(RETRY, done) == {"cursor": "", "responses": [{"messageId": "new"}]}
    assert answer(RETRY, done, in_path=True) == {"messageId": "new"}
    assert answer(RETRY, nothing, in_path=True) == {"cursor": "", "responses": []}
