"""One exchange, whatever it is for: bounded, undecoded, once; and what a cancel's answer says of its bulk action."""

from __future__ import annotations

import gzip
import itertools
import json

import pytest

from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Unknown
from gateway.core.plan import Receipt
from gateway.process import NO_THREAD
from gateway.upstream.client import Exchange, Failed, Reach, Reply, UpstreamLimits
from gateway.upstream.pool import PooledTransport
from gateway.upstream.token import UpstreamToken
from tests.upstream.raw import (
    ORDER,
    TOKEN,
    RawServer,
    Script,
    answer,
    answers,
    connected,
    play,
    run,
)


def exchanged(*scripts: Script, max_answer_bytes: int = 1000, times: int = 1) -> tuple[list[Reply | Failed], bytes]:
    """What became of some exchanges, and the first request's bytes."""

    async def scenario() -> tuple[list[Reply | Failed], bytes]:
        async with RawServer(*scripts) as server:
            transport = PooledTransport(max_connections=2, connect_timeout_s=5)
            exchange = Exchange(server.url, limits=UpstreamLimits(5, 10), transport=transport)
            token = UpstreamToken(TOKEN)
            found = [
                await exchange.send("GET", b"/v2/x?a=%2F", token, max_answer_bytes=max_answer_bytes)
                for _ in range(times)
            ]
            await exchange.aclose()
        assert len(server.peers) == times
        return found, server.received[0]

    return run(scenario())


def test_a_request_is_its_method_its_target_and_our_own_headers() -> None:
    """The target goes out byte for byte; nothing else does."""
    _, sent = exchanged(answers(answer(b"{}")))
    head = sent.decode().split("\r\n")
    assert head[0] == "GET /v2/x?a=%2F HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in head[1:] if line}
    assert names == {"host", "authorization", "accept", "accept-encoding", "user-agent"}


def test_whether_upstream_is_there_is_what_the_last_call_found() -> None:
    """A fault of the machine's own says nothing of it; neither does what an answer says."""
    reach = Reach()
    assert reach.notices() == []
    for result, begins in [
        (Failed(sent=True, cause="timeout"), "QStash gave no whole answer to the last call (timeout): "),
        (Failed(sent=False, cause=NO_THREAD), "QStash gave no whole answer to the last call (timeout): "),
        (Failed(sent=False, cause="dns"), "QStash could not be reached by the last call (dns): "),
    ]:
        reach.note(result)
        [notice] = reach.notices()
        assert notice.startswith(begins)
    reach.note(Reply(500, {}, b""))
    assert reach.notices() == []


def test_the_last_success_and_failure_are_kept_with_their_times() -> None:
    """From the calls that are made anyway: an answer of 5xx is a failure, and a fault of our own is neither."""
    times = itertools.count(0, 1_000_000_000)
    reach = Reach(lambda: next(times))
    assert reach.members() == {"last_success": None, "last_failure": None, "cause": None}
    reach.note(Reply(401, {}, b""))
    first = "1970-01-01T00:00:00.000000Z"
    assert reach.members() == {"last_success": first, "last_failure": None, "cause": None}
    failures: list[tuple[Reply | Failed, str, int]] = [
        (Reply(503, {}, b""), "status", 1),
        (Failed(sent=False, cause="dns"), "dns", 2),
        (Failed(sent=False, cause=NO_THREAD), "dns", 2),
    ]
    for result, cause, at in failures:
        reach.note(result)
        failed = f"1970-01-01T00:00:0{at}.000000Z"
        assert reach.members() == {"last_success": first, "last_failure": failed, "cause": cause}
    reach.note(Reply(200, {}, b""))
    last = {"last_failure": "1970-01-01T00:00:02.000000Z", "cause": "dns"}
    assert reach.members() == {"last_success": "1970-01-01T00:00:03.000000Z", **last}


def test_header_names_are_read_in_lower_case() -> None:
    """A header that stands twice is both values, which no reader of one value takes for one."""
    content = answer(b"{}", headers=["Retry-After: 1", "RETRY-AFTER: 2"])
    [reply] = exchanged(answers(content))[0]
    assert isinstance(reply, Reply)
    assert reply.headers["retry-after"] == "1, 2"


@pytest.mark.parametrize(("size", "held"), [(999, True), (1000, True), (1001, False)])
def test_an_answer_is_held_up_to_its_bound(size: int, held: bool) -> None:
    """One byte more is not kept, and no member of it is believed."""
    body = b'{"a":"' + b"x" * (size - 8) + b'"}'
    assert len(body) == size
    [reply] = exchanged(answers(answer(body)))[0]
    assert isinstance(reply, Reply)
    assert (reply.body == body, reply.members() is not None) == (held, held)


def test_a_compressed_answer_is_not_decoded() -> None:
    """Nobody asked for one, and a small one could fill the memory."""
    body = gzip.compress(b'{"a":1}')
    [reply] = exchanged(answers(answer(body, headers=["Content-Encoding: gzip"])))[0]
    assert isinstance(reply, Reply)
    assert (reply.body, reply.members()) == (body, None)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"cancelled": 3, "actionId": "act_1"}, Cancelled(200, 3, "act_1")),
        ({"cancelled": 0, "actionId": "act_1"}, Cancelled(200, 0, "act_1")),
        ({"cancelled": 3}, Cancelled(200, 3)),
        ({"cancelled": 3, "actionId": 7}, Cancelled(200, 3)),
        ({"cancelled": 3, "actionId": "a b"}, Cancelled(200, 3)),
        ({"cancelled": 3, "actionId": TOKEN}, Cancelled(200, 3)),
        ({"cancelled": None, "actionId": "act_1"}, Unknown("no_cancelled", 200)),
        ({"actionId": "act_1"}, Accepted(200, "act_1")),
    ],
)
def test_a_total_and_the_name_under_which_it_may_change_are_both_kept(
    body: dict[str, object], outcome: Outcome
) -> None:
    """The number is what upstream says now; the name is where its last word will stand, where it can be shown."""
    played = play(answers(answer(json.dumps(body).encode())))
    assert played.outcomes == (outcome,)


def test_without_the_receipt_of_an_intent_nothing_is_sent() -> None:
    """No connection is even made."""

    async def scenario() -> tuple[Outcome, int]:
        async with RawServer(answers(answer(b"{}"))) as server, connected(server.url) as upstream:
            outcome = await upstream.send(ORDER, Receipt("", 1))
        return outcome, len(server.peers)

    assert run(scenario()) == (NotSent("no_receipt"), 0)
