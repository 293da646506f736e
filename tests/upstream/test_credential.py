"""The token is removed from every text, in every form in which it might come back."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.token import SHARED_RUN, UpstreamToken

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"

tokens = st.text(ALPHABET, min_size=16, max_size=80)
surroundings = st.text(max_size=30)
CASES: tuple[Callable[[str], str], ...] = (str, str.upper, str.lower, str.swapcase)


def forms(token: str) -> list[str]:
    """What a careless server might print: the token raw, percent-encoded, in hex and in both kinds of base64."""
    raw = token.encode()
    plain = base64.b64encode(raw).decode()
    return [token, quote(token, safe=""), raw.hex(), plain, plain.rstrip("="), base64.urlsafe_b64encode(raw).decode()]


def survivors(shown: str, form: str) -> list[str]:
    """The runs of a form, in any case, that can still be read in what is shown."""
    low, text = form.lower(), shown.lower()
    return [low[at : at + SHARED_RUN] for at in range(len(low) - SHARED_RUN + 1) if low[at : at + SHARED_RUN] in text]


@given(tokens, surroundings, surroundings, st.data())
def test_no_run_of_any_form_survives(token: str, before: str, after: str, data: st.DataObject) -> None:
    """Whole or in part, alone or inside a text, in upper or lower case: no 12 characters of it are shown."""
    form = data.draw(st.sampled_from(forms(token)))
    start = data.draw(st.integers(0, len(form)))
    part = data.draw(st.sampled_from(CASES))(form[start:])
    shown = UpstreamToken(token).scrub(before + part + after)
    assert [run for each in forms(token) for run in survivors(shown, each)] == []


@given(tokens, st.integers(0, 3), st.data())
def test_the_last_run_of_every_form_is_removed(token: str, cut: int, data: st.DataObject) -> None:
    """Exactly twelve characters are enough to be removed, the last of a form as well as the first."""
    form = data.draw(st.sampled_from(forms(token)))
    end = len(form) - cut
    assert survivors(UpstreamToken(token).scrub(form[end - SHARED_RUN : end]), form) == []


@given(tokens, st.binary(min_size=1, max_size=8), st.binary(max_size=8))
def test_base64_of_a_text_around_the_token_shows_nothing_of_it(token: str, before: bytes, after: bytes) -> None:
    """At every alignment the base64 characters that the token alone determines are removed."""
    encoded = base64.b64encode(before + token.encode() + after).decode()
    shown = UpstreamToken(token).scrub(encoded)
    first, last = -(-len(before) * 8 // 6), (len(before) + len(token)) * 8 // 6
    assert survivors(shown, encoded[first:last]) == []


@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=30), st.text(ALPHABET, min_size=8, max_size=30))
def test_the_decoded_parts_of_a_development_token_are_removed(account: str, password: str) -> None:
    """A development token is base64 of a user and a password; neither comes back."""
    token = base64.b64encode(json.dumps({"UserID": account, "Password": password}).encode()).decode()
    shown = UpstreamToken(token).scrub(f"no such password: {password}.")
    assert password.lower() not in shown.lower()


@given(tokens, st.text(max_size=600), st.integers(1, 300))
def test_what_is_shown_is_short_printable_ascii(token: str, text: str, longest: int) -> None:
    """At most 200 characters, or as many as asked for, all printable ASCII."""
    assert all(" " <= char <= "~" for char in UpstreamToken(token).scrub(text))
    assert len(UpstreamToken(token).scrub(text)) <= 200
    assert len(UpstreamToken(token).scrub(text, longest=longest)) <= longest


@given(tokens, st.text(st.sampled_from("!#$%&'()*,.:;<>?@[]^{|}~ "), max_size=200))
def test_a_text_that_shares_nothing_is_shown_as_it_is(token: str, text: str) -> None:
    """Scrubbing takes away no more than it must."""
    assert UpstreamToken(token).scrub(text) == text


def test_the_token_is_not_printed_copied_or_pickled() -> None:
    """Neither repr, str, a format, a copy nor a pickle holds it."""
    token = UpstreamToken("real-token-0123456789")
    assert "real" not in f"{token!r}{token}{token:}"
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(token)
    with pytest.raises(TypeError):
        vars(token)
