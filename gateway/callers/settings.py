"""The `callers` section of the configuration: keys, and token issuers with the claims that bind subjects."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from gateway.core.errors import Problem
from gateway.core.run import LookUpBounds
from gateway.files import addresses
from gateway.files.mappings import Entries, Key, ListOf, Present, Shape, may, need
from gateway.files.nodes import Place
from gateway.files.values import Choice, Int, Text, date_field, path_field, word
from gateway.policy.format.keys import key_id, team_name

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric algorithms only: with an HMAC algorithm, everyone who can check a token can make one."""

BINDING_CLAIMS = ("sub", "repository", "repository_id", "workflow_ref", "project_id", "project_path", "oid")
"""Claims that tell the subjects of one issuer apart; one of them must be pinned.

`job_workflow_ref` is not among them, because any repository may call a public workflow. Nor are `azp`, `appid` and
`client_id`: every person who signs in through that application brings the same one.
"""

MAX_LEEWAY_S = 60


@dataclass(frozen=True, slots=True)
class CallerKey:
    """One key: the digest of its text, and the last UTC day on which it is valid."""

    id: str
    team: str
    digest: bytes
    expires: date | None = None


@dataclass(frozen=True, slots=True)
class KeySetSource:
    """The source of an issuer's public keys: exactly one of a file and an https address. `at` is where it is named."""

    at: Place = field(compare=False, repr=False)
    file: Path | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class TeamRule:
    """The team that a token speaks for: always `equals`, or what `claim` says if it is one of `teams`."""

    equals: str | None = None
    claim: str | None = None
    teams: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every team that the tokens may speak for."""
        return self.teams if self.equals is None else (self.equals,)


@dataclass(frozen=True, slots=True)
class JwtIssuer:
    """One issuer whose tokens are accepted, for one audience, from the subjects that `claims` bind."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    jwks: KeySetSource
    claims: Mapping[str, tuple[str, ...]]
    team: TeamRule
    leeway_s: int = 0


@dataclass(frozen=True, slots=True)
class RawCallers:
    """The `callers` section as the file has it."""

    keys: tuple[CallerKey, ...] = ()
    jwt: tuple[JwtIssuer, ...] = ()


def callers() -> Shape[RawCallers]:
    """Return the shape that reads the section."""
    issuers = ListOf(_issuer(), min_items=0, distinct={"issuer, audience and claims": _admits})
    return Shape(RawCallers, {"keys": may(_keys()), "jwt": may(issuers)})


def _admits(issuer: JwtIssuer) -> object:
    # A token that two entries accept is refused, so two entries that accept the same tokens are a mistake.
    claims = sorted((name, tuple(sorted(values))) for name, values in issuer.claims.items())
    return issuer.issuer, issuer.audience, tuple(claims)


def _keys() -> ListOf[CallerKey]:
    keys = {
        "id": need(key_id()),
        "team": need(team_name()),
        "sha256": need(Text(_digest, hidden=True), into="digest"),
        "expires": may(date_field()),
    }
    distinct: dict[str, Callable[[CallerKey], object]] = {
        "digest": lambda key: key.digest,
        "team and id": lambda key: (key.team, key.id),
    }
    return ListOf(Shape(CallerKey, keys), min_items=0, distinct=distinct)


def _digest(text: str) -> bytes:
    if len(text) != 64 or text.strip("0123456789abcdef"):
        raise ValueError("expected a SHA-256 as 64 lower-case hex digits; 'keys new' prints one")
    if len(set(text)) == 1:
        raise ValueError("this is a placeholder, no key has that digest; 'keys new' prints one")
    return bytes.fromhex(text)


def _issuer() -> Shape[JwtIssuer]:
    claim = word("[A-Za-z0-9_.:/-]{1,200}", "the name of a claim")
    keys = {
        "issuer": need(word("https?://[!-~]{1,500}", "the issuer as its tokens name it, like https://…")),
        "audience": need(word("[!-~]{1,500}", "the audience that the tokens must be made for")),
        "algorithms": need(ListOf(Choice(ALGORITHMS, refused=_SYMMETRIC))),
        "jwks": need(
            _source("jwks", {"file": may(path_field()), "url": may(Text(addresses.key_set_url))}, KeySetSource)
        ),
        "claims": need(Entries(claim, ListOf(Text(_exact)), check=_binds)),
        "team": need(Shape(TeamRule, _team_keys(claim), check=_one_team)),
        "leeway_s": may(Int(0, MAX_LEEWAY_S)),
    }
    return Shape(JwtIssuer, keys)


_SYMMETRIC = dict.fromkeys(
    ("HS256", "HS384", "HS512", "none"),
    "everyone who can check such a token can make one; use an algorithm with two keys, like RS256 or ES256",
)


def _source(what: str, keys: dict[str, Key], make: Callable[..., KeySetSource]) -> Shape[KeySetSource]:
    def one(place: Place, present: Present) -> list[Problem]:
        """Return a problem unless exactly one source is named."""
        if len(present.keys() & keys.keys()) == 1:
            return []
        return [place.problem(f"say where the {what} is: exactly one of {' and '.join(keys)}")]

    return Shape(make, keys, check=one, located=True)


def _team_keys(claim: Text[str]) -> dict[str, Key]:
    return {"equals": may(team_name()), "claim": may(claim), "teams": may(ListOf(team_name()))}


def _one_team(place: Place, present: Present) -> list[Problem]:
    if present.keys() in ({"equals"}, {"claim", "teams"}):
        return []
    return [place.problem("say {equals: TEAM}, or {claim: NAME, teams: [the teams it may speak for]}")]


def _exact(text: str) -> str:
    if "*" in text:
        raise ValueError("values of claims are exact, '*' stands for nothing; list the values")
    return text


def _binds(place: Place, names: Iterable[str]) -> list[Problem]:
    if set(names) & set(BINDING_CLAIMS):
        return []
    return [
        place.problem(
            "these claims do not bind the subject, and anyone may ask such an issuer for this audience: "
            f"pin one of {', '.join(BINDING_CLAIMS)}"
        )
    ]


SOON = timedelta(days=14)


def ending(last: date | None, today: date) -> str | None:
    """Return `expired on …` or `expires on …` if the last UTC day is past or at most fourteen days away, else None."""
    if last is None or last - today > SOON:
        return None
    return f"expired on {last}" if last < today else f"expires on {last}"


_WHICH = "`qstash-gateway check` and the operators' log say which"


class Endings:
    """The keys that have a last day, in its order. A look-up costs the same for ten keys and for ten thousand."""

    def __init__(self, keys: Iterable[CallerKey]) -> None:
        found = sorted((key.expires, f"{key.team}/{key.id}") for key in keys if key.expires is not None)
        self._days = [day for day, _ in found]
        self._names = [name for _, name in found]

    def counts(self, today: date) -> tuple[int, int]:
        """Return how many keys have expired, and how many expire within fourteen days."""
        expired = bisect_left(self._days, today)
        return expired, bisect_right(self._days, today + SOON) - expired

    def notices(self, today: date) -> list[str]:
        """Return at most two sentences. They name no key, because they are for a page that needs no key to read."""
        expired, soon = self.counts(today)
        sentences = []
        if expired:
            last = self._days[expired - 1]
            sentences.append(
                f"1 key expired on {last}" if expired == 1 else f"{expired} keys expired, the last on {last}"
            )
        if soon:
            first = self._days[expired]
            several = f"{soon} keys expire within {SOON.days} days, the first on {first}"
            sentences.append(f"1 key expires on {first}" if soon == 1 else several)
        return [f"{sentence}; {_WHICH}" for sentence in sentences]

    def named(self, today: date, most: int) -> list[str]:
        """Return at most `most` keys by name and day, of those that expire within fourteen days or have expired.

        Those that expire next come first, then those that expired last.
        """
        expired, soon = self.counts(today)
        places = [*range(expired, expired + soon), *reversed(range(max(0, expired - most), expired))]
        return [f"key {self._names[at]}: {ending(self._days[at], today)}" for at in places[:most]]


@dataclass(frozen=True, slots=True)
class PerPrincipal:
    """The limits of one principal; 0 means no limit."""

    in_flight: int = 16
    requests_per_minute: int = 600


@dataclass(frozen=True, slots=True)
class PerTeam:
    """The limit of all principals of one team together; 0 means half of all places if there are several teams."""

    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds on what is held in memory, and for how long."""

    max_target_bytes: int = 131_072
    max_body_bytes: int = 65_536
    max_header_bytes: int = 16_384
    max_run_ids: int = 1000
    receive_timeout_s: int = 10
    max_in_flight: int = 256
    per_principal: PerPrincipal = PerPrincipal()
    per_team: PerTeam = PerTeam()
    lookup: LookUpBounds = LookUpBounds()
