"""One attempt: to a real receiver, at the address that was judged, for a bounded time, and it follows nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from gateway.notices import post as module
from gateway.notices.post import ATTEMPT_S, Failure, Post, Resolve, resolved
from gateway.state.notices import TakenNotice
from gateway.upstream.shares import Desk
from tests.notices.house import SECRET, desk, notice, receiver, taken
from tests.support.receiving import Receiving, verified
from tests.upstream.authority import Authority, new_authority

NOW_S = 1_795_000_000.9


class Names:
    """A name server: each look-up gets the next answer, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    with Receiving() as found:
        yield found


@pytest.fixture
async def threads() -> AsyncIterator[Desk]:
    found = desk()
    yield found
    found.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority") / "ours")


async def sent(post: Post) -> Failure | None:
    """What came of one attempt."""
    try:
        return await post.deliver(taken())
    finally:
        await post.aclose()


def to(
    receiving: Receiving, directory: Path, threads: Desk, *, path: str = "/hook", resolve: Resolve = resolved
) -> Post:
    """The way to a receiver on loopback."""
    return Post(receiver(directory, receiving.url(path)), threads, resolve=resolve, wall_s=lambda: NOW_S)


async def test_a_real_receiver_believes_what_it_gets(receiving: Receiving, tmp_path: Path, threads: Desk) -> None:
    """By an implementation of its own; the event has the ID of the request."""
    assert await sent(to(receiving, tmp_path, threads, path="/hook?team=a")) is None
    [got] = receiving.taken
    assert verified(got, SECRET, now_s=NOW_S)
    assert not verified(got, SECRET, now_s=NOW_S + 301)
    assert (got.path, got.id, got.json()["id"]) == ("/hook?team=a", "n1", "n1")
    assert got.headers["host"] == f"127.0.0.1:{receiving.port}"
    assert got.headers["content-type"] == "application/cloudevents+json; charset=utf-8"


async def test_slack_gets_a_text_and_needs_no_secret(receiving: Receiving, tmp_path: Path, threads: Desk) -> None:
    """Its URL is the secret; nothing is signed without one."""
    post = Post(receiver(tmp_path, receiving.url("/services/T/B/x"), form="slack", secret=None), threads)
    receiving.status = 200
    assert await sent(post) is None
    [got] = receiving.taken
    assert list(got.json()) == ["text"]
    assert got.headers["content-type"] == "application/json"
    assert "webhook-signature" not in got.headers


async def test_a_secret_that_was_changed_is_used_at_once(receiving: Receiving, tmp_path: Path, threads: Desk) -> None:
    """And one that cannot be read any more is a failure, not a notice without a signature."""
    found = receiver(tmp_path, receiving.url())
    post, path = Post(found, threads, wall_s=lambda: NOW_S), found.settings.secret
    assert path is not None
    path.write_bytes(b"y" * 40)
    assert await post.deliver(taken()) is None
    path.unlink()
    assert await sent(post) == Failure("secret")
    [got] = receiving.taken
    assert verified(got, b"y" * 40, now_s=NOW_S)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused(status: int, receiving: Receiving, tmp_path: Path, threads: Desk) -> None:
    """Nobody but the configuration says where notices go."""
    with Receiving() as elsewhere:
        receiving.status, receiving.headers = status, {"Location": elsewhere.url()}
        assert await sent(to(receiving, tmp_path, threads)) == Failure("redirect")
        assert (len(receiving.seen), elsewhere.seen) == (1, [])


@pytest.mark.parametrize(
    ("status", "asked", "failure"),
    [
        (500, None, Failure("status_500")),
        (410, None, Failure("status_410")),
        (429, "30", Failure("status_429", 30.0)),
        (503, "999999", Failure("status_503", 3600.0)),
        (429, "-1", Failure("status_429")),
        (429, "Wed, 21 Oct 2026 07:28:00 GMT", Failure("status_429")),
    ],
)
async def test_a_refusal_is_a_failure_with_the_wait_that_is_asked_for(
    status: int, asked: str | None, failure: Failure, receiving: Receiving, tmp_path: Path, threads: Desk
) -> None:
    """Up to an hour."""
    receiving.status = status
    receiving.headers = {} if asked is None or not asked.isascii() else {"Retry-After": asked}
    assert await sent(to(receiving, tmp_path, threads)) == failure


async def test_a_receiver_that_is_not_there_is_a_failure(tmp_path: Path, threads: Desk) -> None:
    """Nobody listens."""
    with Receiving() as gone:
        url = gone.url()
    assert await sent(Post(receiver(tmp_path, url), threads)) == Failure("no_connection")


async def test_a_name_that_leads_inside_is_not_connected_to(
    receiving: Receiving, tmp_path: Path, threads: Desk
) -> None:
    """Although somebody listens there: the configuration names no network."""
    url = f"https://hooks.example.com:{receiving.port}/hook"
    for inside in ("127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1"):
        post = Post(receiver(tmp_path, url, networks=False), threads, resolve=Names([inside]))
        assert await sent(post) == Failure("address_refused")
    post = Post(receiver(tmp_path, url, networks=False), threads, resolve=Names(["8.8.8.8", "127.0.0.1"]))
    assert await sent(post) == Failure("address_refused")
    assert receiving.seen == []


async def test_the_connection_goes_to_the_address_that_was_judged(
    authority: Authority, tmp_path: Path, threads: Desk
) -> None:
    """What the name means a moment later is never asked; the certificate is that of the name."""
    with Receiving(tls=authority.server("DNS:hooks.example.com")) as receiving:
        names = Names(["127.0.0.1"], ["192.0.2.1"])
        url = f"https://hooks.example.com:{receiving.port}/in"
        post = Post(receiver(tmp_path, url), threads, resolve=names, roots=authority.root, wall_s=lambda: NOW_S)
        assert await post.deliver(taken()) is None
        assert names.asked == [("hooks.example.com", receiving.port)]
        assert receiving.taken[0].headers["host"] == f"hooks.example.com:{receiving.port}"
        # The next delivery asks anew, and judges anew.
        assert await sent(post) == Failure("address_refused")
        assert len(names.asked) == 2


async def test_a_certificate_of_another_name_is_refused(authority: Authority, tmp_path: Path, threads: Desk) -> None:
    """Also one of the very address that is connected to, and one that nobody vouches for."""
    with Receiving(tls=authority.server("DNS:other.example.com,IP:127.0.0.1")) as receiving:
        url = f"https://hooks.example.com:{receiving.port}/in"
        for roots in (authority.root, None):
            post = Post(receiver(tmp_path, url), threads, resolve=Names(["127.0.0.1"]), roots=roots)
            assert await sent(post) == Failure("no_connection")
        assert receiving.seen == []


async def test_another_address_is_tried_where_one_cannot_be_connected_to(
    authority: Authority, tmp_path: Path, threads: Desk
) -> None:
    """As where a machine has no way to IPv6."""
    with Receiving(tls=authority.server("DNS:hooks.example.com")) as receiving:
        url = f"https://hooks.example.com:{receiving.port}/in"
        names = Names(["::1", "127.0.0.1"])
        assert await sent(Post(receiver(tmp_path, url), threads, resolve=names, roots=authority.root)) is None
        assert len(receiving.taken) == 1


async def test_a_name_that_cannot_be_resolved_is_a_failure(tmp_path: Path, threads: Desk) -> None:
    """As is one without an address."""

    def fails(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, f"HUNTER2 {host}")

    assert await sent(Post(receiver(tmp_path), threads, resolve=fails)) == Failure("dns")
    assert await sent(Post(receiver(tmp_path), threads, resolve=Names([]))) == Failure("address_refused")


async def test_a_receiver_that_answers_without_end_costs_no_memory(
    receiving: Receiving, tmp_path: Path, threads: Desk
) -> None:
    """Its status says all: nothing of the body is read, and the connection is closed."""
    receiving.status, receiving.endless = 200, True
    post = to(receiving, tmp_path, threads)
    assert await post.deliver(taken()) is None
    tracemalloc.start()
    try:
        assert await sent(post) is None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * 1024 * 1024
    assert receiving.sent_bytes < 64 * 1024 * 1024


async def test_a_receiver_whose_head_never_ends_is_given_up(tmp_path: Path, threads: Desk) -> None:
    """Within what a head may take."""

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X-More: " + b"x" * 60_000 + b"\r\n")
            try:
                await writer.drain()
            except ConnectionError:
                break

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    failure = await sent(Post(receiver(tmp_path, f"http://127.0.0.1:{port}/"), threads))
    assert failure == Failure("remote_protocol_error")
    server.close()


async def test_a_receiver_that_never_answers_is_given_up_in_time(
    receiving: Receiving, tmp_path: Path, threads: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is late is a failure; in use the bound is ten seconds."""
    monkeypatch.setattr(module, "ATTEMPT_S", 0.2)
    receiving.hangs = True
    assert await sent(to(receiving, tmp_path, threads)) == Failure("timeout")
    assert ATTEMPT_S <= 10


async def test_a_resolver_that_never_answers_is_given_up_in_time(
    tmp_path: Path, threads: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is one of ours, so that nobody else waits for it."""
    monkeypatch.setattr(module, "ATTEMPT_S", 0.2)
    release = threading.Event()

    def hangs(host: str, port: int) -> Sequence[str]:
        release.wait()
        return ["8.8.8.8"]

    try:
        assert await sent(Post(receiver(tmp_path), threads, resolve=hangs)) == Failure("timeout")
    finally:
        release.set()


async def test_nothing_is_taken_from_the_environment(
    receiving: Receiving, tmp_path: Path, threads: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy: it would see what is sent, and connect to where it likes."""
    with Receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await sent(to(receiving, tmp_path, threads)) is None
        assert (len(receiving.taken), proxy.seen) == (1, [])


async def test_a_kind_that_this_version_does_not_know_is_a_failure(tmp_path: Path, threads: Desk) -> None:
    """A newer gateway of the fleet has written it, and will deliver it."""
    unknown = TakenNotice("n", "r", notice().document().replace(b'"over_cancelled"', b'"newer"', 1), 0)
    post = Post(receiver(tmp_path, form="slack"), threads, resolve=Names(["8.8.8.8"]))
    assert await post.deliver(unknown) == Failure("key_error")
    await post.aclose()
