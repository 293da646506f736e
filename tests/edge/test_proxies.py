"""Whose address is on record: the peer's own, and a forwarded one only where the peer is a trusted proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.edge.conftest import LIMITS
from tests.edge.wire import Edge, started


@pytest.fixture(scope="module", params=["", "trusted_proxies: [192.0.2.0/24]\n"], ids=["none", "others"])
def untrusting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with started(tmp_path_factory.mktemp("untrusting") / "gateway", LIMITS, more=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    more = "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n"
    with started(tmp_path_factory.mktemp("trusting") / "gateway", LIMITS, more=more) as running:
        yield running


def _remotes(edge: Edge, *headers: str) -> set[object]:
    """The address on record for a cancel, a denial and a refusal with these headers."""
    cancel, denial, refusal = (
        edge.request(*headers),
        edge.request(*headers, team="search"),
        edge.request(*headers, team=None),
    )
    answers = [edge.send(data, want=1)[0] for data in (cancel, denial, refusal)]
    decisions = {answer.headers["gateway-decision"] for answer in answers}
    assert [answer.status for answer in answers] == [200, 403, 401]
    records = [record for record in edge.records() if record.get("decision_id") in decisions]
    return {record["remote"] for record in records if "remote" in record}


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For: 203.0.113.9",
        "X-Real-IP: 203.0.113.9",
        "Forwarded: for=203.0.113.9",
        "X-Forwarded-Proto: https",
    ],
)
def test_strangers_cannot_say_where_they_come_from(untrusting: Edge, header: str) -> None:
    """Without a trusted proxy, and from another peer than it, a forwarding header changes nothing."""
    assert _remotes(untrusting, header) == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("headers", "remote"),
    [
        ([], "127.0.0.1"),
        (["X-Forwarded-For: 203.0.113.9"], "203.0.113.9"),
        (["X-Forwarded-For: 198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (["X-Forwarded-For: 203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9"], "203.0.113.9"),
        (["X-Forwarded-For: 2001:db8::1"], "2001:db8::1"),
        (["X-Forwarded-For: unknown"], "127.0.0.1"),
        (["X-Forwarded-For: 203.0.113.9, nonsense"], "127.0.0.1"),
        (["X-Forwarded-For: 10.9.9.9"], "127.0.0.1"),
        (['X-Forwarded-For: x"} {"event":"forged'], "127.0.0.1"),
        (["X-Forwarded-For:"], "127.0.0.1"),
        (["X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9"], "127.0.0.1"),
    ],
)
def test_a_trusted_proxy_says_where_its_caller_comes_from(trusting: Edge, headers: list[str], remote: str) -> None:
    """The last address that is no trusted proxy counts: what stands before it, the caller may have written."""
    assert _remotes(trusting, *headers) == {remote}
