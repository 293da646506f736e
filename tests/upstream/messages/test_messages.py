"""Messages are read one by one; what is a workflow's, is not there or cannot be read is left out alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import LookupFailed, TooLarge
from gateway.core.request import Everything
from gateway.core.run import Listing, LookUp, Run
from gateway.operations.id_lists import MOST_IDS
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault, Kind
from gateway.simulator.holdings.held import Holdings
from gateway.simulator.holdings.things import Message
from gateway.simulator.server import SimulatorServer
from gateway.upstream.messages.entries import read_message
from gateway.upstream.messages.log import MessageLog
from tests.support.holdings import NOW_MS, small_holdings
from tests.upstream.runs.reading import READING, WRITING, opened, tokens

SHOWN: Mapping[str, Any] = {
    "messageId": "m",
    "url": "https://a.example/hook",
    "createdAt": NOW_MS,
    "method": "POST",
    "header": {"Content-Type": ["application/json"], "Upstash-Label": ["l"]},
    "body": '{"workflowRunId": "wfr_1"}',
    "maxRetries": 3,
    "callerIP": "203.0.113.7",
    "flowControlKey": "k",
    "labels": ["l", "n"],
    "label": "l",
}
"""A message as QStash shows one, with everything that is read of it. What a body says is the receiver's."""

STEPS: Mapping[str, Mapping[str, Any]] = {
    "the header": {"header": {"Upstash-Workflow-RunId": ["wfr_1"]}},
    "in another case": {"header": {"upstash-workflow-runid": ["wfr_1"]}},
    "a text for a list": {"header": {"Upstash-Workflow-RunId": "wfr_1"}},
    "the first step": {"header": {"Upstash-Workflow-Init": ["true"]}},
    "a callback": {"header": {"Upstash-Callback-Workflow-RunId": ["wfr_1"]}},
    "the callback's headers": {"callbackHeader": {"Upstash-Workflow-RunId": ["wfr_1"]}},
    "the failure's headers": {"failureCallbackHeader": {"Upstash-Workflow-RunId": ["wfr_1"]}},
    "a member": {"workflowRunId": "wfr_1"},
    "a list of pairs": {"header": [["Upstash-Workflow-RunId", "wfr_1"]]},
    "a list of objects": {"headers": [{"name": "Upstash-Callback-Workflow-RunId", "value": ["wfr_1"]}]},
    "a list of lines": {"headers": ["upstash-workflow-runid: wfr_1"]},
    "the URL of a workflow": {"workflowUrl": "https://a.example/x"},
}
"""What shows that a message is a step of a workflow, or reports to one."""

UNREADABLE: Mapping[str, Mapping[str, Any]] = {
    "another message": {"messageId": "m2"},
    "no ID": {"messageId": None},
    "no URL": {"url": None},
    "a URL of another type": {"url": ["https://a.example/hook"]},
    "a URL with a user": {"url": "https://u@a.example/hook"},
    "a URL with a dot segment": {"url": "https://a.example/a/../hook"},
    "no URL at all": {"url": "https://"},
    "a time in seconds": {"createdAt": NOW_MS // 1000},
    "a time as text": {"createdAt": str(NOW_MS)},
    "no time": {"createdAt": None},
    "a label of another type": {"labels": [1]},
    "a label that no request can carry": {"labels": ["a b"], "label": "a b"},
    "a key that no request can carry": {"flowControlKey": "a b"},
    "an address that is none": {"callerIP": "here"},
}


async def looked_up(server: SimulatorServer, *ids: str, seconds: float = 60) -> Listing:
    """The listing of these IDs."""
    async with opened(server.url, deadline_s=seconds) as log:
        return await MessageLog(log).look_up(ids)


def serving(*faults: Fault, held: Holdings | None = None, latency_ms: int = 0) -> SimulatorServer:
    """An account with four messages, one of them a step of a workflow."""
    simulator = Simulator((), holdings=held or small_holdings())
    simulator.script(*faults)
    return SimulatorServer(simulator, token=WRITING, read_token=READING, clock=lambda: NOW_MS, latency_ms=latency_ms)


def answered(members: object, *, status: int = 200, times: int = 1) -> Fault:
    """A reading that is answered with these members, or this text."""
    body = members if isinstance(members, str) else json.dumps(members)
    return Fault(on=Kind.MESSAGE, times=times, status=status, body=body)


# ---------------------------------------------------------------- one message


def test_a_message_is_read_as_what_it_is() -> None:
    """Its own ID, the URL that it goes to, and what rules may speak of."""
    assert read_message(SHOWN, "m") == Run(
        "m",
        "https://a.example/hook",
        NOW_MS,
        caller_ip="203.0.113.7",
        flow_control_key="k",
        labels=("l", "n"),
    )


def test_a_url_that_ends_with_its_host_has_the_path_of_a_slash() -> None:
    """RFC 3986, 6.2.3: the two are the same."""
    found = read_message({**SHOWN, "url": "https://a.example:8443"}, "m")
    assert found is not None
    assert found.workflow_url == "https://a.example:8443/"


@pytest.mark.parametrize("members", [*STEPS.values(), *UNREADABLE.values()], ids=[*STEPS, *UNREADABLE])
def test_a_step_of_a_workflow_and_what_cannot_be_read_are_none(members: Mapping[str, Any]) -> None:
    """Whether its run goes on without it nobody knows, and what cannot be read may be a step."""
    assert read_message({**SHOWN, **members}, "m") is None


@pytest.mark.parametrize("name", ["workflowRunId", "workflowUrl"])
@pytest.mark.parametrize("value", [None, "", [], {}])
def test_a_member_without_a_value_shows_no_run(name: str, value: object) -> None:
    """Servers written in Go write members that they have nothing for."""
    assert read_message({**SHOWN, name: value}, "m") is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*SHOWN, "x"]), json_values))
def test_no_answer_breaks_the_reader(members: dict[str, object]) -> None:
    """Whatever the values are: a message with that ID, or none."""
    found = read_message({**SHOWN, **members}, "m")
    assert found is None or (found.run_id, found.running) == ("m", True)


@given(st.dictionaries(st.text(max_size=10), json_values, max_size=3), st.sampled_from(["workflow", "Workflow-Run"]))
def test_a_run_is_seen_at_any_depth(header: dict[str, object], name: str) -> None:
    """Where QStash shows headers is not documented for every one of them."""
    assert read_message({**SHOWN, "header": {**header, "x": {f"X-{name}": ["1"]}}}, "m") is None


# ---------------------------------------------------------------- the look-up


async def test_messages_are_read_by_their_ids_with_the_read_only_token() -> None:
    """In the order asked, each once; one that is not there and one that is a step are left out alike."""
    with serving() as server:
        listing = await looked_up(server, "m2", "gone", "step", "m", "m2")
        readings = server.simulator.readings
    assert [run.run_id for run in listing.runs] == ["m2", "m"]
    assert listing.unreadable == ()
    assert (server.ledger, {reading.call.token.value for reading in readings}) == ((), {"read-only"})
    assert sorted(reading.call.path for reading in readings) == [
        "/v2/messages/gone", "/v2/messages/m", "/v2/messages/m2", "/v2/messages/step"
    ]  # fmt: skip


async def test_a_look_up_asks_for_a_second_look_before_each_order() -> None:
    """A message may become another one, or be gone, so the first look is never enough."""
    with serving() as server:
        assert (await looked_up(server, "m")).narrowed


@pytest.mark.parametrize("members", [*STEPS.values(), *UNREADABLE.values()], ids=[*STEPS, *UNREADABLE])
async def test_a_message_of_which_nothing_may_be_known_looks_like_none(members: Mapping[str, Any]) -> None:
    """The listing is the same, to the last member, as for an ID that does not exist."""
    with serving(answered({**SHOWN, **members})) as server:
        hidden = await looked_up(server, "m")
    with serving(answered({"error": "not found"}, status=404)) as server:
        assert await looked_up(server, "m") == hidden


@pytest.mark.parametrize(
    "body", ["<html>", "[]", '{"messageId": "m', '{"messageId": "m", "messageId": "m"}', "", "null"]
)
async def test_an_answer_that_is_no_message_looks_like_none(body: str) -> None:
    """It may be anybody's."""
    with serving(answered(body)) as server:
        assert (await looked_up(server, "m")).runs == ()


@pytest.mark.parametrize("secret", [WRITING, READING])
@pytest.mark.parametrize("name", ["labels", "url"])
async def test_a_message_that_holds_a_token_looks_like_none(secret: str, name: str) -> None:
    """Its values would go on record."""
    value = [secret] if name == "labels" else f"https://a.example/{secret}"
    with serving(answered({**SHOWN, "label": None, name: value})) as server:
        assert (await looked_up(server, "m")).runs == ()


@pytest.mark.parametrize("status", [204, 302, 400, 500, 503])
async def test_another_status_ends_the_look_up(status: int) -> None:
    """Half a list never looks whole: nothing is sent."""
    refused = pytest.raises(LookupFailed, match="the look-up of a message")
    with serving(answered("{}", status=status)) as server, refused as failed:
        await looked_up(server, "m", "m1", "m2")
    assert failed.value.upstream_status == status
    assert "Nothing was sent and nothing was cancelled." in failed.value.sentence


async def test_an_upstream_that_is_away_ends_the_look_up() -> None:
    """Told in words about messages."""
    away, refused = Fault(on=Kind.MESSAGE, times=8, ending=Ending.RESET), pytest.raises(LookupFailed)
    with serving(away) as server, refused as failed:
        await looked_up(server, "m")
    assert "messages were looked up" in failed.value.sentence
    assert failed.value.cause == "unreachable"


async def test_a_look_up_ends_at_its_deadline() -> None:
    """In all, however many messages there are."""
    with serving(latency_ms=2_000) as server, pytest.raises(LookupFailed, match="Looking the messages up took longer"):
        await looked_up(server, "m", "m1", "m2", seconds=0.2)


async def test_a_hundred_are_read_at_most() -> None:
    """More than one order takes are not looked up, and none of them is read."""
    ids = [f"m_{number}" for number in range(MOST_IDS)]
    held = Holdings()
    held.add(messages=[Message(message_id=one, url="https://a.example/hook", created_ms=NOW_MS) for one in ids])
    with serving(held=held, latency_ms=20) as server:
        assert [run.run_id for run in (await looked_up(server, *ids)).runs] == ids
        assert len(server.simulator.readings) == MOST_IDS
        with pytest.raises(TooLarge, match=f"At most {MOST_IDS} messages"):
            await looked_up(server, *ids, "one-more")
        assert len(server.simulator.readings) == MOST_IDS


async def test_messages_cannot_be_listed() -> None:
    """QStash has no such call; a rule that would need one is told so."""
    with serving() as server:
        async with opened(server.url) as log:
            with pytest.raises(LookupFailed, match="Select by IDs") as failed:
                await MessageLog(log).running(Everything(), LookUp())
        assert server.simulator.readings == ()
    assert failed.value.cause == "no_listing"


async def test_without_a_read_only_token_no_message_is_read() -> None:
    """The writing token reads nothing."""
    with serving() as server:
        async with opened(server.url, account=tokens(None)) as log:
            with pytest.raises(LookupFailed, match="no read-only token"):
                await MessageLog(log).look_up(["m"])
        assert server.simulator.readings == ()


async def test_the_second_look_reads_each_message_again() -> None:
    """As it is then."""
    with serving() as server:
        async with opened(server.url) as log:
            messages = MessageLog(log)
            first = await messages.look_up(["m", "m1"])
            del server.simulator.holdings.messages["m"]
            again = await messages.look_again(first.runs, Everything(), 0)
    assert [run.run_id for run in again.runs] == ["m1"]
