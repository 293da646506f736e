"""What a reload takes over from before: the latest time, what was spent, and the key sets that are still named."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from gateway.audit.events.reloads import CHANGES
from gateway.callers.admission import Admission
from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.in_force import InForce, LiveSettings
from gateway.callers.issuers import Fetches, Pins, pin
from gateway.callers.key_sources import FetchedKeySet
from gateway.callers.settings import CallerKey, JwtIssuer, KeySetSource, Limits, PerTeam, TeamRule
from gateway.config import Config, load_config
from gateway.core.errors import Overloaded, Throttled, Unauthenticated
from gateway.core.request import Principal
from gateway.files.nodes import Place
from gateway.policy.rules import Policies
from gateway.serving.reload import changes
from tests.callers.issuers import jwk, key_pair, published

KEY = b"qgk_ci_" + b"a" * 43
ANN = Principal("billing", "ann")
AT = Place("config.yaml", 1, 1)
URL = "https://issuer.example/keys"
DAY_MS = 86_400_000
END_MS = 1_800_057_600_000
"""The first millisecond after 2027-01-15."""


def authenticator() -> Authenticator:
    """One key with a last day."""
    key = CallerKey("ci", "billing", hashlib.sha256(KEY).digest(), date(2027, 1, 15))
    return Authenticator([key], is_upstream_token=lambda digest: False)


def test_a_reload_revives_no_key_when_the_clock_has_stepped_back() -> None:
    """The new authenticator goes on from the latest time that the old one has seen."""
    old, new = authenticator(), authenticator()
    with pytest.raises(Unauthenticated):
        old.authenticate(b"Bearer " + KEY, END_MS)
    assert new.authenticate(b"Bearer " + KEY, END_MS - 1).key_id == "ci"
    new.follow(old)
    with pytest.raises(Unauthenticated):
        new.authenticate(b"Bearer " + KEY, END_MS - DAY_MS)


def passed(admission: Admission, at_s: float, asks: int = 20) -> int:
    """How many of some requests at one instant get a place."""
    got = 0
    for _ in range(asks):
        try:
            with admission.place(ANN, at_s):
                got += 1
        except Throttled:
            break
    return got


@pytest.mark.parametrize(("before", "after", "more"), [(3, 5, 2), (5, 3, 0), (3, 3, 0), (0, 4, 4), (3, 0, 20)])
def test_what_was_spent_stays_spent_under_new_limits(before: int, after: int, more: int) -> None:
    """A reload hands out no second minute; a higher limit adds the difference, and a first one a full minute."""
    admission = Admission(max_in_flight=9, principal_in_flight=0, requests_per_minute=before)
    assert passed(admission, 7.0) == (before or 20)
    admission.take(max_in_flight=9, principal_in_flight=0, requests_per_minute=after)
    assert passed(admission, 7.0) == more


def test_who_holds_a_place_keeps_it_under_new_limits() -> None:
    """And its place counts against the new limit."""
    admission = Admission(max_in_flight=9, principal_in_flight=2, requests_per_minute=0)
    with admission.place(ANN, 0.0):
        admission.take(max_in_flight=9, principal_in_flight=1, requests_per_minute=0)
        assert passed(admission, 0.0) == 0
    assert passed(admission, 0.0, 1) == 1


def live(*teams: str, limits: Limits | None = None, pins: Pins | None = None) -> InForce:
    """What is in force where these teams have a key each."""
    keys = tuple(CallerKey("ci", team, hashlib.sha256(team.encode()).digest()) for team in teams)
    return InForce(Policies((), "d"), authenticator(), keys, pins or Pins(), limits or Limits(), TrustedProxies(()))


def places(current: LiveSettings, team: str) -> int:
    """How many places ever new subjects of a team get at once."""
    with ExitStack() as held:
        for number in range(300):
            try:
                held.enter_context(current.admission.place(Principal(team, f"s{number}"), 0.0))
            except (Throttled, Overloaded):
                return number
    return 300


def several(source: KeySetSource) -> Pins:
    """One issuer, whose tokens may speak for two teams."""
    return pin([replace(issuer(source), team=TeamRule(claim="team", teams=("a", "b")))], Pins())


def test_half_of_the_places_is_for_other_teams_where_there_are_any() -> None:
    """By keys, and by the teams that an issuer's tokens may speak for; a number in the configuration goes before."""
    named = Limits(per_team=PerTeam(in_flight=40))
    both = several(KeySetSource(AT, url=URL))
    assert places(LiveSettings(live("billing", "billing2")), "billing") == 128
    assert places(LiveSettings(live("billing", pins=both)), "a") == 128
    assert places(LiveSettings(live(pins=both)), "a") == 128
    assert places(LiveSettings(live("billing")), "billing") == 256
    assert places(LiveSettings(live("billing", limits=named)), "billing") == 40
    assert places(LiveSettings(live("billing", "search", limits=named)), "billing") == 40
    assert places(LiveSettings(live("billing", "search", limits=Limits(max_in_flight=1))), "billing") == 1


def test_a_reload_that_brings_a_second_team_halves_what_one_may_take() -> None:
    """At once, for places and for every bound that the configuration does not name; and back again."""
    current = LiveSettings(live("billing"))
    assert (places(current, "billing"), current.share.of(4)) == (256, 4)
    current.swap(live("billing", "search"))
    assert (places(current, "billing"), current.share.of(4)) == (128, 2)
    current.swap(live("billing"))
    assert (places(current, "billing"), current.share.of(4)) == (256, 4)


def test_there_are_no_more_places_than_connections_allow() -> None:
    """A larger number in the configuration would let requests in flight hold every connection."""
    current = LiveSettings(live("billing", "search", limits=Limits(max_in_flight=10_000)), most_in_flight=24)
    assert places(current, "billing") == 12


def issuer(source: KeySetSource) -> JwtIssuer:
    """One issuer with keys from there."""
    return JwtIssuer("https://issuer.example", "gateway", ("RS256",), source, {"sub": ("ci",)}, TeamRule("billing"))


def test_key_sets_that_are_still_named_are_used_again(tmp_path: Path) -> None:
    """By file and by address; what is new is read, and what is named no more is gone."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(json.loads(published(jwk(key_pair().public_key())))))
    both = [issuer(KeySetSource(AT, file=file)), issuer(KeySetSource(AT, url=URL))]
    first = pin(both, Pins())
    second = pin([replace(both[0], audience="other"), both[1]], first)
    assert [one.keys for one in second.issuers] == [one.keys for one in first.issuers]
    assert second.watched == first.watched
    third = pin([issuer(KeySetSource(AT, url=f"{URL}/new"))], second)
    assert third.watched == []
    assert third.issuers[0].keys not in [one.keys for one in first.issuers]


async def test_an_address_that_stays_is_fetched_on_undisturbed() -> None:
    """Its task is the same; that of an address that is named no more has ended."""
    pins = pin([issuer(KeySetSource(AT, url=URL))], Pins())
    running: list[FetchedKeySet] = []

    class Counted(FetchedKeySet):
        async def run(self) -> None:
            running.append(self)
            try:
                await asyncio.Event().wait()
            finally:
                running.remove(self)

    [known] = pins.fetched.values()
    one, two = (Counted(str(known.url), ("RS256",), known._transport) for _ in range(2))
    fetches = Fetches()
    for wanted in ([one], [one, two], [two], []):
        fetches.follow(wanted)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert set(running) == set(wanted)


def with_issuers(directory: Path, *entries: str) -> Config:
    """A configuration with these issuers of tokens."""
    (directory / "config.yaml").write_text(
        "version: 1\nlisten: 127.0.0.1:0\npolicies: .\naudit: {directory: audit}\n"
        "upstream: {url: https://qstash.upstash.io, token: {env: QSTASH_TOKEN}}\n"
        f"callers:\n  jwt: [{', '.join(entries)}]\n"
    )
    return load_config(directory / "config.yaml")


def entry(
    name: str, *, audience: str = "gateway", claims: str = "sub: [ci], ref: [main]", team: str = "billing"
) -> str:
    """An issuer of the configuration."""
    return (
        f"{{issuer: https://{name}.example, audience: {audience}, algorithms: [RS256], jwks: {{file: keys.json}}, "
        f"claims: {{{claims}}}, team: {{equals: {team}}}}}"
    )


ISSUERS = {
    "nothing": (("one", "two"), ("one", "two"), {}),
    "another order": (("one", "two"), ("two", "one"), {}),
    "added": (("one",), ("one", "two"), {"issuers_added": ["https://two.example"]}),
    "removed": (("one", "two"), ("two",), {"issuers_removed": ["https://one.example"]}),
}


@pytest.mark.parametrize(("before", "after", "expected"), ISSUERS.values(), ids=ISSUERS)
def test_the_issuers_that_came_and_went_are_named(
    tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...], expected: dict[str, list[str]]
) -> None:
    """By the name that their tokens have."""
    old, new = (with_issuers(tmp_path, *map(entry, names)) for names in (before, after))
    assert {what: names for what, names in changes(old, new).items() if names} == expected
    assert tuple(changes(old, new)) == CHANGES


@pytest.mark.parametrize(
    "other",
    [
        {"audience": "other"},
        {"claims": "sub: [ci, cd], ref: [main]"},
        {"team": "search"},
        {"claims": "sub: [ci]"},
    ],
)
def test_an_issuer_whose_tokens_mean_something_else_is_named(tmp_path: Path, other: dict[str, str]) -> None:
    """Also where it has several entries; the order of its claims means nothing."""
    second = entry("one", audience="second")
    old = with_issuers(tmp_path, entry("one"), second)
    assert (
        changes(old, with_issuers(tmp_path, second, entry("one", claims="ref: [main], sub: [ci]")))["issuers_changed"]
        == []
    )
    assert changes(old, with_issuers(tmp_path, entry("one", **other), second))["issuers_changed"] == [
        "https://one.example"
    ]
