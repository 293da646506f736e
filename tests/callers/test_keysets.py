"""A key set is public, bounded and unambiguous, or it is not used at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.callers.keysets import MAX_BYTES, MAX_KEYS, UnusableKeySet, parse_key_set
from gateway.callers.settings import ALGORITHMS
from tests.callers.issuers import jwk, key_pair, key_set, published

RSA = jwk(key_pair().public_key())
EC = jwk(key_pair("p256").public_key(), "k2")


def refusal(content: bytes) -> str:
    """Why a key set is not used."""
    with pytest.raises(UnusableKeySet) as refused:
        parse_key_set(content, ALGORITHMS)
    return str(refused.value)


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384", "p521", "ed25519"])
def test_a_private_key_is_refused_with_its_whole_set(kind: str) -> None:
    """Whoever could read the file can sign, also with the others if they came from the same place."""
    private = jwk(key_pair(kind), "k9")
    assert "private" in refusal(published(RSA, private))
    assert str(private["d"]) not in refusal(published(private))


def test_a_shared_secret_is_refused_with_its_whole_set() -> None:
    """An `oct` key checks what it can sign."""
    assert "shared" in refusal(published(RSA, {"kty": "oct", "k": "c2VjcmV0", "kid": "k9"}))


def test_a_key_id_names_one_key_for_each_algorithm() -> None:
    """Of two different keys with one id and algorithm it is not said which one signs; nothing else is in doubt."""
    other, short = jwk(key_pair(number=2).public_key()), jwk(key_pair("short").public_key())
    assert "twice" in refusal(published(RSA, other))
    assert "twice" in refusal(published(RSA | {"alg": "RS256"}, other))
    apart = key_set(RSA | {"alg": "RS256"}, other | {"alg": "RS384"}, jwk(key_pair("p256").public_key()))
    assert set(apart.keys) == {("k1", "RS256"), ("k1", "RS384"), ("k1", "ES256")}
    assert apart.keys["k1", "RS256"].key != apart.keys["k1", "RS384"].key
    for passed_over in (other | {"use": "enc"}, other | {"kty": "x"}, short):
        assert ("k1", "RS256") in key_set(RSA, passed_over).keys


def test_one_key_may_be_listed_for_each_of_its_algorithms() -> None:
    """Also twice over, with other members beside it: it stays the one key. Word for word it is a fault."""
    assert "twice" in refusal(published(RSA, RSA))
    listed = [RSA | {"alg": name} for name in ("RS256", "RS384", "RS512")]
    assert {name for _, name in key_set(*listed, RSA | {"alg": "RS256", "x5t": "AQAB"}).keys} == {
        "RS256", "RS384", "RS512",
    }  # fmt: skip


def test_keys_without_an_id_are_passed_over_however_many_there_are() -> None:
    """They contradict nothing."""
    nameless = [jwk(key_pair(number=number).public_key(), None) for number in (1, 2)]
    assert set(key_set(*nameless, EC).keys) == {("k2", "ES256")}


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_called_one(codec: str) -> None:
    """Editors leave one behind; the sentence is that for YAML."""
    assert "byte order mark: save the file as plain UTF-8" in refusal(published(RSA).decode().encode(codec))


def test_a_key_without_an_id_is_passed_over() -> None:
    """It could only be found by trying, and the others still serve."""
    assert set(key_set(jwk(key_pair(number=2).public_key(), None), EC).keys) == {("k2", "ES256")}
    assert "no key" in refusal(published(jwk(key_pair().public_key(), None)))


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"}, {"use": 1}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"alg": "RS1"}, {"alg": "HS256"},
        {"alg": ["RS256"]}, {"kid": 1}, {"kid": None}, {"n": "AQAB"}, {"n": 1}, {"n": None}, {"n": "\u20ac"},
        {"e": "AA"}, {"kty": "EC"}, {"kty": "x"}, {"kty": ["RSA"]}, {"crv": "P-256"},
    ],
)  # fmt: skip
def test_a_key_for_something_else_or_broken_is_passed_over(members: dict[str, object]) -> None:
    """Issuers publish keys for other uses beside the one we need."""
    assert set(key_set(RSA | members, EC).keys) == {("k2", "ES256")}


def test_a_key_that_says_it_checks_signatures_serves() -> None:
    """`use` and `key_ops` may stand there, and say the right thing."""
    assert key_set(RSA | {"use": "sig", "key_ops": ["verify"]}).find("k1", "RS256") is not None


def test_a_key_serves_only_the_algorithm_it_names() -> None:
    """And without a name every one that fits its kind and is wanted."""
    assert set(key_set(RSA | {"alg": "PS384"}).keys) == {("k1", "PS384")}
    assert set(key_set(RSA, algorithms=("RS256", "PS256", "ES256")).keys) == {("k1", "RS256"), ("k1", "PS256")}
    assert set(key_set(EC).keys) == {("k2", "ES256")}


def test_a_short_key_is_passed_over() -> None:
    """NIST SP 800-131A: at least 2048 bits."""
    assert "no key" in refusal(published(jwk(key_pair("short").public_key())))


def test_a_set_has_at_most_a_hundred_keys_and_a_megabyte() -> None:
    """Both borders are still good."""
    others: list[dict[str, object]] = [{"kty": "x", "kid": str(number)} for number in range(MAX_KEYS - 1)]
    full = [RSA, *others]
    assert parse_key_set(published(*full), ALGORITHMS).find("k1", "RS256") is not None
    assert "100" in refusal(published(*full, {"kty": "x"}))
    assert parse_key_set(published(RSA).ljust(MAX_BYTES), ALGORITHMS).find("k1", "RS256") is not None
    assert "1000000" in refusal(published(RSA).ljust(MAX_BYTES + 1))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b"null", b'{"keys": null}', b'{"keys": {}}', b'{"keys": []}', b'{"keys": [1, "x", null]}',
        b"\xff", b"<html>", published(RSA).replace(b"{", b'{"keys": [], ', 1), b"[" * 200_000,
        b"-----BEGIN PUBLIC KEY-----", b"\xef\xbb\xbf" + published(RSA),
    ],
)  # fmt: skip
def test_everything_else_is_no_key_set(content: bytes) -> None:
    """Also an object whose `keys` stand twice."""
    assert refusal(content)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["RSA", "EC", "OKP", "P-256"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["kty", "kid", "use", "alg", "n", "e", "x", "y", "crv", "key_ops"]), _JSON))
def test_no_key_breaks_the_reader(member: dict[str, object]) -> None:
    """Whatever an issuer writes, the port's one error is all that comes out."""
    for start in ({}, RSA, EC):
        try:
            parse_key_set(json.dumps({"keys": [start | member]}).encode(), ALGORITHMS)
        except UnusableKeySet as refused:
            assert str(refused)  # noqa: PT017 - being usable is no fault
