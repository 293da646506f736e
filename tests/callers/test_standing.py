"""What a credential stood for is in force as long as the credential itself would be, and no longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from gateway.callers.authenticate import Authenticator, Standing
from gateway.callers.keysets import KeySet
from gateway.callers.settings import CallerKey, JwtIssuer, TeamRule
from gateway.core.errors import Unauthenticated
from tests.callers.issuers import CLAIMS, NOW_MS, NOW_S, entry, jwk, key_pair, key_set, token, verifier
from tests.callers.test_authn import KEY, LAST_DAY, OLD, at_ms, digest, known


def of(*entries: JwtIssuer, keys: KeySet | None = None, own: Sequence[CallerKey] = ()) -> Authenticator:
    """An authenticator with these issuers."""
    return Authenticator(own, is_upstream_token=lambda _: False, tokens=verifier(*entries, keys=keys))


def cause(authenticator: Authenticator, standing: Standing, now_ms: int = NOW_MS) -> str:
    """Why it is not in force."""
    with pytest.raises(Unauthenticated) as refused:
        authenticator.still(standing, now_ms)
    return refused.value.cause


@pytest.mark.parametrize("credential", [KEY, token()])
def test_it_holds_no_part_of_the_credential(credential: str) -> None:
    """Neither in its members nor where it is printed; of a key only the digest, which the configuration has as well."""
    standing = of(entry(), own=[CallerKey("ci", "billing", digest(KEY))]).standing(credential, NOW_MS)
    held = [getattr(standing, one.name) for one in fields(standing)]
    assert credential not in repr(held) + repr(standing)
    assert all(part not in repr(held) for part in credential.split(".") if len(part) > 20)


def test_a_key_is_in_force_until_the_end_of_its_day() -> None:
    """As by its text."""
    standing = known().standing(OLD, 0)
    midnight_ms = at_ms(LAST_DAY.year, 7, 1)
    assert known().still(standing, midnight_ms - 1) == known().authenticate(f"Bearer {OLD}".encode(), 0)
    assert cause(known(), standing, midnight_ms) == "expired_key"


def test_a_key_that_is_taken_out_or_means_somebody_else_is_not_in_force() -> None:
    """The digest alone says nothing."""
    standing = known().standing(KEY, 0)
    for keys in ([], [CallerKey("ci", "search", digest(KEY))], [CallerKey("other", "billing", digest(KEY))]):
        assert cause(Authenticator(keys, is_upstream_token=lambda _: False), standing) == "unknown_key"


def test_a_token_is_in_force_until_it_ends_without_leeway() -> None:
    """Nobody else's clock is asked any more."""
    lenient = of(entry(leeway_s=60))
    standing = lenient.standing(token(), NOW_MS)
    end_ms = (NOW_S + 300) * 1000
    assert lenient.still(standing, end_ms - 1) == standing.principal
    assert cause(lenient, standing, end_ms) == "expired_token"
    # A clock that goes back brings nothing back.
    assert cause(lenient, standing, NOW_MS) == "expired_token"


def test_a_token_is_not_in_force_when_its_entry_was_changed_or_taken_out() -> None:
    """Any change of it: who is bound, which team, which audience, which algorithms."""
    standing = of(entry()).standing(token(), NOW_MS)
    changed = [
        replace(entry(), claims={"sub": ("ci",), "repository": ("acme/billing",)}),
        replace(entry(), team=TeamRule(equals="search")),
        replace(entry(), audience="https://other.example"),
        replace(entry(), algorithms=("ES256",)),
    ]
    for one in changed:
        assert cause(of(one), standing) == "unknown_issuer"
    assert cause(known(), standing) == "unknown_issuer"
    assert of(entry(), changed[2]).still(standing, NOW_MS) == standing.principal


def test_a_token_is_not_in_force_when_its_signing_key_was_withdrawn() -> None:
    """An issuer withdraws a key that was lost; what it had signed is good for nothing then."""
    standing = of(entry()).standing(token(), NOW_MS)
    other = key_set(jwk(key_pair(number=2).public_key(), "k2"))
    assert cause(of(entry(), keys=other), standing) == "unknown_token_key"


def test_what_is_not_accepted_stands_for_nothing() -> None:
    """A stranger's key, and a token that has ended."""
    for text in ("qgk_no_" + "x" * 43, token({**CLAIMS, "exp": NOW_S - 1}), "é", ""):
        with pytest.raises(Unauthenticated):
            of(entry()).standing(text, NOW_MS)
