"""The queue of spans: bounded, counted, and emptied by a thread that no request waits for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from gateway.telemetry.otlp import LATER, SWITCH_S, TraceQueue
from gateway.telemetry.steps import CURRENT, Ids, Step, Trace, TracedStep
from tests.support.waiting import until
from tests.telemetry.collector import Collector
from tests.upstream.authority import Authority, new_authority

SPAN = TracedStep("decide", 1, 2, None, 10, 20, {"gateway.team": "billing"})


@pytest.fixture(autouse=True)
def _interpreter_as_before() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before_s)


def test_a_cancel_waits_for_the_interpreter_a_moment_and_not_for_a_batch() -> None:
    """Who wants it is given it sooner from when spans are sent on, and as before until then."""
    queue = TraceQueue("http://127.0.0.1:9", version="1")
    before_s = sys.getswitchinterval()
    queue.begin()
    queue.close(5)
    assert before_s > SWITCH_S
    assert sys.getswitchinterval() == pytest.approx(SWITCH_S, rel=0.01)


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    """Before the thread runs, nothing makes room."""
    queue = TraceQueue("http://127.0.0.1:9", version="1", most=3)
    for _ in range(5):
        queue.put([SPAN])
    assert queue.dropped == 2
    assert queue.notices() == []


def test_what_waits_at_the_end_is_sent() -> None:
    """All of it, with its ids, its times and what is known of it."""
    with Collector() as collector:
        queue = TraceQueue(collector.url, version="1")
        for number in range(1, 1200):
            queue.put([SPAN._replace(span_id=number)])
        queue.begin()
        queue.close(10)
    assert (queue.dropped, queue.notices()) == (0, [])
    assert [int(one.span, 16) for one in collector.spans] == list(range(1, 1200))
    [first, *_] = collector.spans
    assert (first.trace, first.parent, first.started_ns, first.ended_ns) == (f"{1:032x}", "", 10, 20)
    assert first.attributes == {"gateway.team": "billing"}
    assert len(collector.bodies) == 1


def test_a_notice_stands_until_spans_are_taken_again() -> None:
    """It counts what was lost since the start, and goes by itself."""
    with Collector(status=400) as collector:
        queue = TraceQueue(collector.url, version="1")
        queue.begin()
        queue.put([SPAN])
        until(lambda: queue.notices() != [])
        assert queue.notices()[0].startswith("the collector of traces (telemetry.otlp) does not take them: 1 spans")
        collector.status = 200
        queue.put([SPAN])
        until(lambda: queue.notices() == [])
        assert queue.dropped == 1
        queue.close(5)


UNFIT = [
    SPAN._replace(attributes={"gateway.runs": 1 << 63}),
    SPAN._replace(attributes={"gateway.rule": "a lone surrogate: \ud800"}),
    SPAN._replace(attributes={"gateway.rule": 1.5}),  # type: ignore[dict-item]
    SPAN._replace(span_id=1 << 64),
    SPAN._replace(trace_id=-1),
    SPAN._replace(started_ns=-1),
]


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_span_that_cannot_be_encoded_is_lost_alone(unfit: TracedStep) -> None:
    """It is counted, operators are told of a fault of ours, and the others of its cancel are sent."""
    with Collector() as collector:
        queue = TraceQueue(collector.url, version="1")
        queue.put([SPAN, unfit, SPAN._replace(name="cancel")])
        queue.begin()
        queue.close(10)
    assert [one.name for one in collector.spans] == ["decide", "cancel"]
    assert queue.dropped == 1
    [notice] = queue.notices()
    assert notice.startswith("a fault of the gateway keeps spans from being encoded (")
    assert "surrogate" not in notice


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_step_that_cannot_be_encoded_fails_nobody_s_request(unfit: TracedStep) -> None:
    """Neither the end of its cancel, nor a step that goes on after it."""
    queue = TraceQueue("http://127.0.0.1:9", version="1")
    trace = Trace(lambda steps: queue.put([*steps[:-1], unfit]))
    token = CURRENT.set(trace)
    try:
        with Step("lookup") as late:
            late.attributes = {"gateway.pages": 3}
            trace.end(Ids(7, None, sampled=True, common={}))
    finally:
        CURRENT.reset(token)
    assert queue.dropped == 2


@pytest.mark.parametrize("status", sorted(LATER))
def test_a_batch_is_sent_again_to_a_collector_that_takes_it_later(status: int) -> None:
    """The same bytes, over the same connection, and nothing is dropped."""
    with Collector(status=status) as collector:
        queue = TraceQueue(collector.url, version="1", timeout_s=60)
        queue.put([SPAN])
        queue.begin()
        until(lambda: collector.bodies)
        collector.status = 200
        until(lambda: collector.spans)
        queue.close(10)
    assert (queue.dropped, queue.notices()) == (0, [])
    assert (len(set(collector.bodies)), len(collector.callers)) == (1, 1)


def test_a_batch_is_sent_again_for_a_bounded_time() -> None:
    """A collector that always says later has not taken it; other answers are taken at their word."""
    for status, attempts in ((503, 2), (500, 1)):
        with Collector(status=status) as collector:
            queue = TraceQueue(collector.url, version="1", timeout_s=0.9)
            queue.put([SPAN])
            queue.begin()
            queue.close(10)
        assert queue.dropped == 1
        assert 1 <= len(collector.bodies) <= attempts


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.mark.parametrize(
    ("names", "trusted", "taken"),
    [("IP:127.0.0.1", True, True), ("IP:127.0.0.1", False, False), ("DNS:elsewhere.example", True, False)],
)
def test_a_collector_proves_who_it_is_to_the_roots_of_the_machine(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, names: str, *, trusted: bool, taken: bool
) -> None:
    """Where it cannot, it gets no span, and no key of the session goes where the environment says."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(authority.folder / "keys.log"))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    with Collector(tls=authority.server(names)) as collector:
        queue = TraceQueue(collector.url, version="1")
        queue.put([SPAN])
        queue.begin()
        queue.close(10)
    assert (queue.dropped, len(collector.bodies)) == ((0, 1) if taken else (1, 0))
    assert not Path(authority.folder / "keys.log").exists()


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans go to the collector that is named, and to nobody else."""
    with Collector() as collector, Collector() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        queue = TraceQueue(collector.url, version="1")
        queue.put([SPAN])
        queue.begin()
        queue.close(10)
    assert (len(collector.spans), proxy.bodies) == (1, [])


@pytest.mark.parametrize("status", [204, 301, 302, 307, 399, 403, 500, 503])
def test_only_an_answer_of_2xx_says_that_spans_were_taken(status: int) -> None:
    """A collector that is elsewhere took none, and no redirect is followed."""
    with Collector(status=status) as collector:
        queue = TraceQueue(collector.url, version="1", timeout_s=0.5)
        queue.put([SPAN])
        queue.begin()
        queue.close(10)
    assert (queue.dropped, len(queue.notices())) == ((0, 0) if status < 300 else (1, 1))
    assert collector.paths == {"/v1/traces"}


def test_a_notice_stands_while_spans_do_not_fit() -> None:
    """Also where the collector takes all that it is sent; it goes by itself."""
    with Collector() as collector:
        queue = TraceQueue(collector.url, version="1", most=3)
        queue.begin()
        queue.put([SPAN] * 4)
        until(lambda: queue.notices() != [])
        [notice] = queue.notices()
        assert notice.startswith("there are more spans than are sent in a second: 4 spans were dropped")
        until(lambda: queue.notices() == [])
        queue.close(5)


@pytest.mark.parametrize("piece", [b"x", b"x" * 4096])
def test_an_answer_without_end_is_given_up(piece: bytes) -> None:
    """However slowly it comes, and however much of it: the next spans have their turn."""
    with Collector(trickle=(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", piece)) as collector:
        queue = TraceQueue(collector.url, version="1", timeout_s=0.3)
        queue.begin()
        for number in (1, 2):
            queue.put([SPAN])
            until(lambda number=number: queue.dropped == number)  # type: ignore[misc]
        assert len(queue.notices()) == 1
        queue.close(5)


def test_a_notice_stands_while_an_answer_does_not_begin() -> None:
    """A head may come as slowly as it likes, so the thread may be held: operators know of it all the same."""
    with Collector(trickle=(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")) as collector:
        queue = TraceQueue(collector.url, version="1", timeout_s=0.3)
        queue.begin()
        queue.put([SPAN])
        until(lambda: queue.notices() != [])
        queue.close(0.01)


def test_putting_a_span_never_waits() -> None:
    """While the collector does not answer, and above the bound."""
    with Collector(held=True) as collector:
        queue = TraceQueue(collector.url, version="1", most=10)
        queue.begin()

        def put() -> None:
            for _ in range(10_000):
                queue.put([SPAN])

        putting = Thread(target=put, daemon=True)
        putting.start()
        until(lambda: not putting.is_alive())
        assert queue.dropped >= 9_000
        collector.free.set()
        queue.close(5)


def test_the_end_does_not_wait_for_an_answer_that_does_not_come() -> None:
    """It waits as long as it is told to, whatever the collector may take."""
    with Collector(held=True) as collector:
        queue = TraceQueue(collector.url, version="1", timeout_s=3600)
        queue.begin()
        queue.put([SPAN])
        queue.close(0.01)
        assert collector.bodies == []


def test_a_step_outside_a_cancel_goes_nowhere() -> None:
    """As one of a page, or of a follow-up."""
    assert CURRENT.get() is None
    with Step("lookup") as step:
        step.attributes = {"gateway.runs": 1}


def test_a_step_that_ends_after_its_cancel_is_told_at_once() -> None:
    """A look-up goes on when its caller waits no more."""
    told: list[TracedStep] = []
    trace = Trace(told.extend)
    trace.step("decide", 1, {}, failed=False)
    assert told == []
    trace.end(Ids(7, None, sampled=True, common={"gateway.team": "billing"}))
    assert [one.name for one in told] == ["decide", "cancel"]
    trace.step("lookup", 1, {"gateway.pages": 3}, failed=True)
    assert (told[-1].name, told[-1].parent_id, told[-1].failed) == ("lookup", told[1].span_id, True)
    assert told[-1].attributes == {"gateway.team": "billing", "gateway.pages": 3}


def test_a_cancel_that_its_caller_does_not_record_is_told_nowhere() -> None:
    """Nor is what ends after it."""
    told: list[TracedStep] = []
    trace = Trace(told.extend)
    trace.step("decide", 1, {}, failed=False)
    trace.end(Ids(7, 8, sampled=False, common={}))
    trace.step("lookup", 1, {}, failed=False)
    assert told == []
