"""What upstream says, and what the gateway makes of it: only a true count is a cancel, only four statuses a refusal."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from gateway.core.outcome import Accepted, Cancelled, Outcome, Pace, Refused, Unknown
from gateway.upstream.client import UpstreamLimits
from tests.upstream.raw import (
    DONE,
    LIMITS,
    ORDER,
    RECEIPT,
    SHORT,
    Peer,
    RawServer,
    answer,
    answers,
    connected,
    play,
    run,
)

NOTICED_S = 0.05


def outcome_of(content: bytes, *, limits: UpstreamLimits = LIMITS) -> Outcome:
    played = play(answers(content), limits=limits)
    assert played.requests == 1, "no answer makes the gateway send again"
    return played.outcomes[0]


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted"])
@pytest.mark.parametrize("number", [0, 1, 100_000])
def test_a_count_with_any_2xx_is_a_cancel(status: str, number: int) -> None:
    """A non-negative integer is believed, also one above what was ordered: the record says so."""
    body = json.dumps({"cancelled": number, "more": "members"}).encode()
    assert outcome_of(answer(body, status=status)) == Cancelled(int(status[:3]), number)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"3",
        b"[]",
        b'[{"cancelled":3}]',
        b"{}",
        b'{"error":"partial"}',
        b'{"Cancelled":3}',
        b'{"cancelled":true}',
        b'{"cancelled":3.0}',
        b'{"cancelled":3e0}',
        b'{"cancelled":-1}',
        b'{"cancelled":"3"}',
        b'{"cancelled":null}',
        b'{"cancelled":NaN}',
        b'{"cancelled":Infinity}',
        b'{"cancelled":3,"cancelled":4}',
        b'{"cancelled":3,"cancelled":3}',
        b'{"cancelled":3,"x":{"a":1,"a":2}}',
        b'{"cancelled":3} {"cancelled":4}',
        b'{"cancelled":3',
        b'\xef\xbb\xbf{"cancelled":3}',
        b'{"cancelled":3,"x":"\xff"}',
        '{"cancelled":3}'.encode("utf-16"),
        b'{"cancelled":' + b"9" * 5000 + b"}",
        b'{"x":' + b"[" * 60_000,
        b"<html>cancelled: 3</html>",
        b'{"cancelled":"3","actionId":"a1"}',
        b'{"cancelled":null,"actionId":"a1"}',
        b'{"actionId":7}',
        b'{"actionId":""}',
        b'{"actionId":"a b"}',
        b'{"actionId":"' + b"a" * 129 + b'"}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_2xx_without_a_true_count_is_unknown(body: bytes) -> None:
    """Booleans, floats, strings, negatives, NaN, two keys of one name, half an object: none of them is a count."""
    assert outcome_of(answer(body)) == Unknown("no_cancelled", 200)


@pytest.mark.parametrize("number", [2**64, 10**30])
def test_a_count_that_no_record_can_hold_is_unknown(number: int) -> None:
    """No account has so many runs, and the answer and the record hold 64 bits."""
    assert outcome_of(answer(b'{"cancelled":%d}' % number)) == Unknown("no_cancelled", 200)


def test_an_action_id_is_accepted_work_and_not_a_cancel() -> None:
    """The newest contract works in the background; how many is not known yet."""
    assert outcome_of(answer(b'{"actionId":"act_1"}')) == Accepted(200, "act_1")


def test_an_empty_204_is_unknown() -> None:
    """Success without a count proves nothing."""
    assert outcome_of(b"HTTP/1.1 204 No Content\r\n\r\n") == Unknown("no_cancelled", 204)


@pytest.mark.parametrize("status", [300, 304, 400, 404, 405, 409, 418, 500, 502, 503, 504, 599])
def test_any_other_status_is_unknown_whatever_its_body_says(status: int) -> None:
    """An error may have cancelled some runs, and a count beside an error is not believed."""
    assert outcome_of(answer(b'{"cancelled":3,"error":"x"}', status=f"{status} No")) == Unknown("status", status)


@pytest.mark.parametrize("status", [401, 403, 412])
def test_a_refusal_says_what_upstream_said(status: int) -> None:
    """These three mean that nothing was cancelled."""
    assert outcome_of(answer(b'{"error":"read-only token"}', status=f"{status} No")) == Refused(
        status, "read-only token"
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":7}', b'{"error":"a","error":"b"}', b'["error"]'])
def test_a_refusal_without_a_readable_text_is_still_a_refusal(body: bytes) -> None:
    """The status decides; the text is only shown where it can be read in one way."""
    assert outcome_of(answer(body, status="401 No")) == Refused(401, "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("30", 30),
        ("3600", 3600),
        ("86400", 3600),
        ("999999999", 3600),
        ("0", 1),
        ("9999999999", 60),
        ("-1", 60),
        ("+5", 60),
        ("1.5", 60),
        ("1e309", 60),
        ("\u0661", 60),
        ("", 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 60),
        ("5, 7", 60),
    ],
)
def test_a_wait_is_bounded_and_never_nonsense(text: str, seconds: int) -> None:
    """Retry-After is 1 to 3600 whole seconds, and what is not plain digits becomes the default."""
    outcome = outcome_of(answer(b"{}", status="429 Slow down", headers=[f"Retry-After: {text}"]))
    assert isinstance(outcome, Refused)
    assert outcome.retry_after_s == seconds


def test_a_429_without_a_wait_has_the_default() -> None:
    """A caller is always told how long."""
    assert outcome_of(answer(b"{}", status="429 Slow down")) == Refused(429, "", 60)


def test_only_plain_burst_numbers_are_passed_on() -> None:
    """The client shows them, so they hold digits and nothing else."""
    headers = ["Burst-RateLimit-Limit: 100", "burst-ratelimit-remaining: 0x0", "Burst-RateLimit-Reset: 17"]
    outcome = outcome_of(answer(b'{"error":"slow"}', status="429 No", headers=headers))
    burst = (("Burst-RateLimit-Limit", "100"), ("Burst-RateLimit-Reset", "17"))
    assert outcome == Refused(429, "slow", 60, burst, Pace(reset_s=17))


DATE = "Thu, 01 Jan 1970 00:01:40 GMT"


@pytest.mark.parametrize(
    ("headers", "pace"),
    [
        ([f"Date: {DATE}", "Burst-RateLimit-Reset: 117", "Retry-After: 9"], Pace(100, 117, 9)),
        (["Date: 1970-01-01T00:01:40Z", "Retry-After: 0"], Pace(None, None, 0)),
        (["Date: Thursday, 01-Jan-70 00:01:40 GMT", "Burst-RateLimit-Reset: -1"], Pace()),
        (["Date: Thu, 31 Feb 1970 00:01:40 GMT", "Burst-RateLimit-Reset: 1e3"], Pace()),
        (["Date: Thu, 01 Jan 1970 00:01:40 +0000", f"Retry-After: {DATE}"], Pace()),
        ([f"Date: {DATE}, {DATE}", "Retry-After: 5, 7", "Burst-RateLimit-Reset: \u0661"], Pace()),
        ([f"Date: {DATE}", "Burst-RateLimit-Reset: 99999999999999999999"], Pace(100)),
    ],
)
def test_when_to_come_again_is_read_in_one_way_or_not_at_all(headers: list[str], pace: Pace) -> None:
    """A reset in whole seconds, a wait in whole seconds, a date in the one form that RFC 9110 lets be written."""
    outcome = outcome_of(answer(b"{}", status="429 No", headers=headers))
    assert isinstance(outcome, Refused)
    assert outcome.pace == pace


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "identity, gzip", "x"])
def test_a_coded_answer_is_not_inflated(coding: str) -> None:
    """We asked for identity; what comes coded all the same is no answer."""
    content = answer(gzip.compress(b'{"cancelled":3}'), headers=[f"Content-Encoding: {coding}"])
    assert outcome_of(content) == Unknown("no_cancelled", 200)


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nContent-Length: 16\r\n\r\n{"cancelled":3} ',
        b'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{"cancelled":3}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nno colon\r\n\r\n{"cancelled":3}',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
    ids=lambda content: repr(content[:50]),
)
def test_what_is_not_http_is_unknown(content: bytes) -> None:
    """Something read the order and said something else: it may have acted."""
    assert outcome_of(content, limits=SHORT).name == "unknown"


def test_informational_answers_before_the_true_one_are_passed_over() -> None:
    """100 and 103 are no outcome."""
    content = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + DONE
    assert outcome_of(content) == Cancelled(200, 3)


@pytest.mark.parametrize("surplus", [DONE, answer(b'{"cancelled":0}'), b"X"], ids=["same", "other", "junk"])
@pytest.mark.parametrize("behind_s", [None, 0, 0.001, 0.01], ids=["in one write", "at once", "soon", "later"])
def test_surplus_bytes_after_an_answer_are_never_the_answer_to_the_next_order(
    surplus: bytes, behind_s: float | None
) -> None:
    """Two answers to one request: the second belongs to nobody, and the connection is not used again."""
    own = answer(b'{"cancelled":7}')
    both = asyncio.Event()

    async def twice(peer: Peer) -> None:
        await peer.request()
        await peer.send(DONE if behind_s is not None else DONE + surplus)
        if behind_s is not None:
            await asyncio.sleep(behind_s)
            await peer.send(surplus)
        both.set()
        await peer.left()

    async def scenario() -> tuple[list[Outcome], int]:
        async with RawServer(twice, answers(own)) as server, connected(server.url) as upstream:
            outcomes = [await upstream.send(ORDER, RECEIPT)]
            await both.wait()
            await asyncio.sleep(NOTICED_S)
            outcomes.append(await upstream.send(ORDER, RECEIPT))
        return outcomes, server.requests

    assert run(scenario()) == ([Cancelled(200, 3), Cancelled(200, 7)], 2)


def test_surplus_bytes_in_the_same_write_are_noticed_without_any_time() -> None:
    """They lie in the library's own buffer, so the next order may follow at once."""
    bad = answer(b'{"cancelled":99}')
    played = play(answers(DONE + bad), orders=[ORDER] * 200)
    assert played.outcomes == (Cancelled(200, 3),) * 200
    assert len(played.received) == 200
