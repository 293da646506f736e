"""The token in use can be replaced; those before it stay recognised."""

from __future__ import annotations

import hashlib

from gateway.upstream.token import TokenHolder, UpstreamToken

OLD, NEW = "the-old-token-0123456789", "the-new-token-0123456789"


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_a_replaced_token_is_used_from_then_on_and_both_are_recognised() -> None:
    """Its age begins anew; a stranger's digest is never that of a token."""
    holder = TokenHolder(UpstreamToken(OLD), 1.0)
    assert not holder.is_upstream_token(digest(NEW))
    holder.replace(UpstreamToken(NEW), 5.0)
    assert (holder.current.authorization(), holder.since_s) == (f"Bearer {NEW}", 5.0)
    assert [holder.is_upstream_token(digest(text)) for text in (OLD, NEW, "other")] == [True, True, False]


def test_the_same_token_read_again_stays_as_old_as_it_is() -> None:
    """A file that was only touched changes nothing."""
    holder = TokenHolder(UpstreamToken(OLD), 1.0)
    before = holder.current
    holder.replace(UpstreamToken(OLD), 5.0)
    assert holder.current is before
    assert holder.since_s == 1.0
