"""The object that holds the token shows it to nobody, and takes it out of every text that may come back."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.token import UpstreamToken
from tests.laws.canary import RUN, TOKENS, forms, found

EVERY_TOKEN = pytest.mark.parametrize("token", TOKENS, ids=["plain", "odd", "development"])


@EVERY_TOKEN
def test_no_form_of_the_token_survives(token: str) -> None:
    """Raw, encoded and decoded, in the middle of a sentence."""
    scrub = UpstreamToken(token).scrub
    for form in forms(token):
        shown = scrub(f"invalid token ({form}) for this account")
        assert not found(token, shown.encode()), form
        assert shown.startswith("invalid token (")


@EVERY_TOKEN
def test_no_piece_of_any_form_survives_alone(token: str) -> None:
    """A text may hold only twelve characters of it, from anywhere: they go."""
    scrub = UpstreamToken(token).scrub
    pieces = {form[at : at + RUN] for form in forms(token) for at in range(max(1, len(form) - RUN + 1))}
    assert {piece for piece in pieces if piece in scrub(f"<{piece}>")} == set()


@EVERY_TOKEN
def test_the_case_of_an_echo_does_not_matter(token: str) -> None:
    """A server that folds case gives a guesser nearly everything."""
    scrub = UpstreamToken(token).scrub
    assert not found(token, (scrub(token.upper()) + scrub(token.lower()) + scrub(token.swapcase())).encode())


@given(st.text(max_size=60), st.integers(0, 40), st.integers(0, 40), st.text(max_size=300))
def test_nothing_around_the_token_protects_it(before: str, start: int, stop: int, after: str) -> None:
    """Any piece within any text: what is shown is printable ASCII, at most 200 characters, and free of the token."""
    token = TOKENS[0]
    shown = UpstreamToken(token).scrub(before + token[start:stop] + after + token)
    assert re.fullmatch("[ -~]{0,200}", shown)
    assert not found(token, shown.encode())


def test_the_cut_at_200_characters_leaves_no_half_token() -> None:
    """The token across the end of what is shown is taken out before the text is cut."""
    token = TOKENS[0]
    scrub = UpstreamToken(token).scrub
    for offset in range(150, 220):
        assert not found(token, scrub("." * offset + token).encode())


def test_what_has_nothing_to_do_with_the_token_is_shown() -> None:
    """Scrubbing is no reason to hide upstream's explanation."""
    text = "Exceeded daily rate limit. See https://upstash.com/docs/qstash/overall/pricing"
    assert UpstreamToken(TOKENS[0]).scrub(text) == text


def test_control_characters_and_unicode_become_question_marks() -> None:
    """A terminal or a log reader obeys nothing that upstream says."""
    assert UpstreamToken(TOKENS[0]).scrub("a\x1b[31m\r\nb\u202ec\ud800") == "a?[31m??b?c?"


@EVERY_TOKEN
def test_the_object_shows_itself_to_nobody(token: str) -> None:
    """Not by repr, str, format, vars or a traceback's locals; and it is neither copied nor pickled."""
    holder = UpstreamToken(token)
    said = f"{holder!r} {holder} {[holder]} {holder!s:>40}"
    assert not found(token, said.encode())
    assert not hasattr(holder, "__dict__")
    assert not dataclasses.is_dataclass(holder)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(holder)
