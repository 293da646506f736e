"""Whether a key or a token that somebody came with is accepted still, asked later without having it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from gateway.callers.in_force import InForce
from gateway.callers.issuers import Pins
from gateway.callers.settings import CallerKey, JwtIssuer, KeySetSource, TeamRule
from gateway.core.forms.times import after_day_ms
from gateway.core.request import Principal
from gateway.files.nodes import Place

NOW_MS = 1_800_000_000_000
ISSUER = "https://i.example"
KEY = CallerKey("rob", "platform", hashlib.sha256(b"one").digest())
ROB = Principal("platform", "rob")
PERSON = Principal("platform", f"{ISSUER}#rob", token_id="t", claims=(("sub", "rob"), ("group", "ops")))
CLAIMS: Mapping[str, tuple[str, ...]] = {"sub": ("rob", "sue"), "group": ("ops",)}
ENTRY = JwtIssuer(
    ISSUER,
    "gateway",
    ("RS256",),
    KeySetSource(Place("c", 1, 1), file=Path("k")),
    CLAIMS,
    TeamRule(claim="team", teams=("platform", "billing")),
)


@dataclass(frozen=True)
class Pinned:
    """An issuer, without its keys."""

    settings: JwtIssuer


def in_force(*keys: CallerKey, issuers: tuple[JwtIssuer, ...] = ()) -> InForce:
    """Settings with these callers, and nothing else."""
    pins = Pins(tuple(Pinned(one) for one in issuers))  # type: ignore[misc]
    return InForce(None, None, keys, pins, None, None)  # type: ignore[arg-type]


def test_a_key_is_accepted_as_long_as_it_is_configured() -> None:
    """Not without it, not with another under its id, and not for another team."""
    credential = in_force(KEY).credential_of(ROB)
    assert in_force(KEY).still_accepts(ROB.name, credential, NOW_MS)
    for keys in (
        (),
        (replace(KEY, digest=hashlib.sha256(b"two").digest()),),
        (replace(KEY, team="billing"),),
        (replace(KEY, id="sue"),),
    ):
        assert not in_force(*keys).still_accepts(ROB.name, credential, NOW_MS)


def test_a_key_is_accepted_until_the_end_of_its_last_day() -> None:
    """As when it is presented."""
    day = date(2027, 1, 15)
    ending = replace(KEY, expires=day)
    credential = in_force(KEY).credential_of(ROB)
    assert in_force(ending).still_accepts(ROB.name, credential, after_day_ms(day) - 1)
    assert not in_force(ending).still_accepts(ROB.name, credential, after_day_ms(day))


def test_what_is_kept_of_a_key_is_not_what_the_configuration_holds() -> None:
    """Nor does it lead there."""
    credential = in_force(KEY).credential_of(ROB)
    assert KEY.digest.hex() not in credential
    assert credential != in_force(replace(KEY, digest=b"x" * 32)).credential_of(ROB)


@pytest.mark.parametrize(
    ("changed", "accepted"),
    [
        ((ENTRY,), True),
        ((replace(ENTRY, algorithms=("ES256",)),), True),
        ((), False),
        ((replace(ENTRY, issuer="https://other.example"),), False),
        ((replace(ENTRY, team=TeamRule(claim="team", teams=("billing",))),), False),
        ((replace(ENTRY, team=TeamRule(equals="platform")),), True),
        ((replace(ENTRY, claims={"sub": ("sue",)}),), False),
        ((replace(ENTRY, claims={**CLAIMS, "floor": ("3",)}),), False),
    ],
)
def test_a_token_is_accepted_as_long_as_such_tokens_speak_for_the_team(
    changed: tuple[JwtIssuer, ...], accepted: bool
) -> None:
    """Whether or not it has ended itself: it lives for minutes."""
    credential = in_force(issuers=(ENTRY,)).credential_of(PERSON)
    assert in_force(issuers=changed).still_accepts(PERSON.name, credential, NOW_MS) is accepted


def test_a_key_does_not_stand_in_for_a_token_nor_a_token_for_a_key() -> None:
    """Each is known by what it is."""
    key, token = in_force(KEY).credential_of(ROB), in_force(issuers=(ENTRY,)).credential_of(PERSON)
    both = in_force(KEY, issuers=(ENTRY,))
    assert not both.still_accepts(PERSON.name, key, NOW_MS)
    assert not both.still_accepts(ROB.name, token, NOW_MS)
