"""Keys are fetched within bounds that no caller can move, and the last good set outlives every failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from gateway.callers.key_sources import FETCH_TIMEOUT_S, LEAST_PAUSE_S, REFRESH_S, FetchedKeySet, FileKeySet, key_file
from gateway.callers.keysets import MAX_BYTES, UnusableKeySet
from gateway.callers.settings import KeySetSource
from gateway.callers.tokens import PinnedIssuer, TokenVerifier
from gateway.core.errors import InvalidConfiguration, Unauthenticated
from tests.callers.issuers import NOW_MS, entry, jwk, key_pair, published, token
from tests.callers.virtual_time import run

URL = "https://issuer.example/jwks"
GOOD = published(jwk(key_pair().public_key()))
NEXT = published(jwk(key_pair(number=2).public_key(), "k2"))
HOUR_S = 3600


class Stream(httpx.AsyncByteStream):
    """A body in chunks, which counts how many were taken."""

    def __init__(self, chunks: int, chunk: bytes, pause_s: float = 0) -> None:
        self.taken, self.closed = 0, False
        self._chunks, self._chunk, self._pause_s = chunks, chunk, pause_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._chunks):
            await asyncio.sleep(self._pause_s)
            self.taken += 1
            yield self._chunk

    async def aclose(self) -> None:
        self.closed = True


Answering = Callable[[], Awaitable[httpx.Response]]


def answer(content: bytes, status: int = 200, **headers: str) -> Answering:
    """One answer."""

    async def respond() -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.Response(status, headers=named, stream=Stream(1, content))

    return respond


def failing(error: Exception) -> Answering:
    """No answer."""

    async def respond() -> httpx.Response:
        raise error

    return respond


class Publisher(httpx.AsyncBaseTransport):
    """Gives its answers in turn, the last one for ever, and notes when each request came and what it asked."""

    def __init__(self, *answers: Answering) -> None:
        self.asked_s: list[float] = []
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked_s.append(asyncio.get_running_loop().time())
        self.requests.append(request)
        return await (self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])()


def fetched(*answers: Answering) -> tuple[FetchedKeySet, Publisher]:
    """A key set behind a publisher."""
    publisher = Publisher(*answers)
    return FetchedKeySet(URL, ("RS256",), publisher), publisher


async def for_seconds(keys: FetchedKeySet, seconds: float, *, callers: Callable[[], None] = lambda: None) -> None:
    """Lets the task run, while `callers` come in every second."""
    task = asyncio.create_task(keys.run())
    for _ in range(round(seconds)):
        callers()
        await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])


def test_an_address_is_asked_at_most_once_a_minute_whatever_callers_send() -> None:
    """An hour of tokens with ever new key ids, two addresses in their headers, ten a second."""

    async def scenario() -> Publisher:
        keys, publisher = fetched(answer(GOOD))
        tokens = TokenVerifier([PinnedIssuer(entry(), keys)])
        hostile = [token(header={"kid": f"x{number}"}) for number in range(8)]
        hostile += [token(header={"jku": "https://attacker.example/"}), token({"iss": "https://attacker.example"})]

        def callers() -> None:
            for each in hostile:
                with pytest.raises(Unauthenticated):
                    tokens.verify(each, now_ms=NOW_MS)

        await for_seconds(keys, HOUR_S, callers=callers)
        return publisher

    publisher = run(scenario())
    pauses_s = [later - sooner for sooner, later in zip(publisher.asked_s, publisher.asked_s[1:], strict=False)]
    assert min(pauses_s) >= LEAST_PAUSE_S
    assert 50 <= len(publisher.requests) <= 61
    assert {str(request.url) for request in publisher.requests} == {URL}


def test_without_misses_an_address_is_asked_every_ten_minutes() -> None:
    """A key that was withdrawn is gone by then."""

    async def scenario() -> list[float]:
        keys, publisher = fetched(answer(GOOD))
        await for_seconds(keys, HOUR_S - 10)
        return publisher.asked_s

    assert run(scenario()) == pytest.approx([number * REFRESH_S for number in range(6)], abs=1)


def test_after_a_failure_an_address_is_asked_again_in_a_minute() -> None:
    """A network that comes up after the process does not leave it without keys for long."""

    async def scenario() -> tuple[list[float], FetchedKeySet]:
        keys, publisher = fetched(failing(httpx.ConnectError("refused")), answer(GOOD))
        await for_seconds(keys, LEAST_PAUSE_S + 5)
        return publisher.asked_s, keys

    asked_s, keys = run(scenario())
    assert asked_s == pytest.approx([0, LEAST_PAUSE_S], abs=1)
    assert keys.current is not None
    assert keys.notice is None


def test_a_new_key_is_fetched_a_minute_after_it_was_missed_at_the_latest() -> None:
    """The issuer rotates; the first token of the new key is refused, those after the fetch are accepted."""

    async def scenario() -> None:
        keys, publisher = fetched(answer(GOOD), answer(NEXT))
        tokens = TokenVerifier([PinnedIssuer(entry(), keys)])
        task = asyncio.create_task(keys.run())
        await asyncio.sleep(1)
        new = token(header={"kid": "k2"}, key=key_pair(number=2))
        with pytest.raises(Unauthenticated):
            tokens.verify(new, now_ms=NOW_MS)
        await asyncio.sleep(LEAST_PAUSE_S)
        assert tokens.verify(new, now_ms=NOW_MS).team == "billing"
        assert len(publisher.requests) == 2
        task.cancel()
        await asyncio.wait([task])

    run(scenario())


def trickle() -> Answering:
    """Chunks that come for ever, each in time."""

    async def respond() -> httpx.Response:
        return httpx.Response(200, stream=Stream(10_000, b" ", pause_s=0.5))

    return respond


async def _silence() -> httpx.Response:
    await asyncio.sleep(HOUR_S)
    return httpx.Response(200)


FAILURES = {
    "nothing listens": failing(httpx.ConnectError("no")),
    "no such name": failing(OSError("no")),
    "not TLS": failing(httpx.ConnectError("certificate verify failed")),
    "not HTTP": failing(httpx.RemoteProtocolError("no")),
    "an error nobody thought of": failing(ZeroDivisionError()),
    "never answers": _silence,
    "never ends": trickle(),
    "redirect": answer(b"", 302, location="https://attacker.example/jwks"),
    "server error": answer(GOOD, 500),
    "no content": answer(b"", 204),
    "empty": answer(b""),
    "a page": answer(b"<html>"),
    "a private key": answer(published(jwk(key_pair()))),
    "no key of ours": answer(published(jwk(key_pair("p256").public_key()))),
    "too many keys": answer(published(*[{"kty": "x"}] * 101)),
    "a kid twice": answer(published(*[jwk(key_pair().public_key())] * 2)),
    "packed": answer(b"\x1f\x8b\x08", content_encoding="gzip"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_last_good_set_outlives_every_failure(name: str) -> None:
    """A notice says that something is wrong; tokens are checked with the keys that were good."""

    async def scenario() -> None:
        keys, _ = fetched(answer(GOOD), FAILURES[name], answer(NEXT))
        await keys.fetch()
        good = keys.current
        assert good is not None
        assert keys.notice is None
        before_s = asyncio.get_running_loop().time()
        await keys.fetch()
        assert asyncio.get_running_loop().time() - before_s <= FETCH_TIMEOUT_S + 0.01
        assert keys.current is good
        assert "the last good set stays" in str(keys.notice)
        await keys.fetch()
        assert keys.notice is None
        assert keys.current.find("k2", "RS256") is not None

    run(scenario())


def test_no_more_than_a_megabyte_is_read() -> None:
    """The body is left where the bound is passed, whatever it announces."""
    stream = Stream(1000, b" " * 100_000)

    async def endless() -> httpx.Response:
        return httpx.Response(200, stream=stream)

    async def scenario() -> str | None:
        keys, _ = fetched(endless)
        await keys.fetch()
        return keys.notice

    assert "more than 1000000 bytes" in str(run(scenario()))
    assert stream.taken == MAX_BYTES // 100_000 + 1
    assert stream.closed


def test_a_fetch_brings_no_credential_and_asks_for_nothing_packed() -> None:
    """The address gets our question and nothing else."""

    async def scenario() -> httpx.Request:
        keys, publisher = fetched(answer(GOOD))
        await keys.fetch()
        return publisher.requests[0]

    request = run(scenario())
    assert (request.method, str(request.url)) == ("GET", URL)
    assert dict(request.headers) == {
        "host": "issuer.example",
        "accept": "application/json",
        "accept-encoding": "identity",
    }


def test_a_key_file_keeps_its_last_good_set(tmp_path: Path) -> None:
    """Missing, empty, too large, a directory or a pipe: what was read before stays."""
    path = tmp_path / "jwks.json"
    path.write_bytes(GOOD)
    keys = FileKeySet(path, ("RS256",))
    keys.load()
    good = keys.current
    for content in (b"", GOOD.ljust(MAX_BYTES + 1), published(jwk(key_pair()))):
        path.write_bytes(content)
        with pytest.raises(UnusableKeySet):
            keys.load()
    path.unlink()
    with pytest.raises(UnusableKeySet):
        keys.load()
    path.mkdir()
    with pytest.raises(UnusableKeySet):
        keys.load()
    assert keys.current is good


def test_a_key_file_that_cannot_be_used_is_reported_where_it_is_named(tmp_path: Path) -> None:
    """The place in the configuration, the path and the reason, and nothing of the content."""
    path = tmp_path / "jwks.json"
    path.write_bytes(published(jwk(key_pair())))
    issuer = entry(jwks=KeySetSource(entry().jwks.at, file=path))
    with pytest.raises(InvalidConfiguration) as refused:
        key_file(issuer, path)
    assert str(refused.value).startswith(f"config.yaml:1:1: the key file {path} cannot be used: it holds a private")
