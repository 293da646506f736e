"""Signatures are those of Standard Webhooks, and secrets what it says they are."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.notices.signature import keys_of, signatures
from tests.support.receiving import Received, verified

KEY = base64.b64encode(bytes(range(24)))
OTHER = base64.b64encode(bytes(range(64)))


def test_the_published_example_is_signed_as_published() -> None:
    """The vector with which libraries of the specification are tested."""
    [key] = keys_of(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    made = signatures([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=24, max_size=64), st.binary(max_size=500), st.integers(0, 2**40))
def test_an_independent_reader_believes_what_was_signed_and_nothing_else(key: bytes, body: bytes, at_s: int) -> None:
    """Not another body, not another time, not another ID."""
    secret = b"whsec_" + base64.b64encode(key)
    signed = signatures(keys_of(secret), "freeze_1", at_s, body)

    def believed(name: str, when_s: int, content: bytes) -> bool:
        headers = {"webhook-id": name, "webhook-timestamp": str(when_s), "webhook-signature": signed}
        return verified(Received("/", headers, content), secret, now_s=when_s)

    assert believed("freeze_1", at_s, body)
    assert not believed("freeze_2", at_s, body)
    assert not believed("freeze_1", at_s + 1, body)
    assert not believed("freeze_1", at_s, body + b" ")


def test_while_a_secret_changes_both_are_signed_with() -> None:
    """A line each; whoever has one of them believes the notice."""
    first, second = b"whsec_" + KEY, b"whsec_" + OTHER
    signed = signatures(keys_of(first + b"\n" + second + b"\n"), "n", 5, b"{}")
    headers = {"webhook-id": "n", "webhook-timestamp": "5", "webhook-signature": signed}
    assert [verified(Received("/", headers, b"{}"), one, now_s=5) for one in (first, second, b"x" * 32)] == [
        True,
        True,
        False,
    ]


def test_a_file_that_is_no_such_secret_is_the_key_by_its_bytes() -> None:
    """Without the line end that editors put there, and with whatever else it holds."""
    raw = bytes(range(32)) + b"\xff"
    assert keys_of(raw) == [raw]
    assert keys_of(raw + b"\r\n") == [raw]


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (b"", "is shorter than 24 bytes"),
        (b"x" * 23 + b"\n", "is shorter than 24 bytes"),
        (b"whsec_", "means 0 bytes"),
        (b"whsec_" + base64.b64encode(b"x" * 23), "means 23 bytes"),
        (b"whsec_" + base64.b64encode(b"x" * 65), "means 65 bytes"),
        (b"whsec_" + KEY[:-1] + b"!", "no base64|without base64"),
        (b"whsec_" + KEY + b"\nHUNTER2HUNTER2HUNTER2HUNTER2", "without base64"),
        (b"\n".join([b"whsec_" + KEY] * 5), "more than 4 lines"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_without_showing_it(secret: bytes, why: str) -> None:
    """In one sentence."""
    with pytest.raises(ValueError, match=why) as refused:
        keys_of(secret)
    assert "HUNTER2" not in str(refused.value)
