"""A token is checked against what is pinned, never against what it says of itself; everything else is a stranger."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from gateway.callers.authenticate import Authenticator
from gateway.callers.keysets import KeySet
from gateway.callers.settings import ALGORITHMS, JwtIssuer, TeamRule
from gateway.callers.tokens import PinnedIssuer, TokenVerifier
from gateway.core.errors import Unauthenticated
from gateway.core.request import Principal
from tests.callers.issuers import (
    AUDIENCE,
    CLAIMS,
    ISSUER,
    NOW_MS,
    NOW_S,
    KnownKeys,
    encoded,
    entry,
    jwk,
    key_pair,
    key_set,
    kind_of,
    signed,
    token,
    verifier,
)

WHO = Principal("billing", f"{ISSUER}#ci")
HEADER = {"alg": "RS256", "kid": "k1"}


def cause(text: str, *entries: JwtIssuer, now_ms: int = NOW_MS, keys: KeySet | None = None) -> str:
    """Why a token is refused."""
    with pytest.raises(Unauthenticated) as refused:
        verifier(*entries, keys=keys).verify(text, now_ms=now_ms)
    return refused.value.cause


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_each_algorithm_is_accepted_where_it_is_named(algorithm: str) -> None:
    """Every algorithm that a configuration may name works with a key of its kind, and only where it is named."""
    keys = key_set(jwk(key_pair(kind_of(algorithm)).public_key()))
    text = token(algorithm=algorithm)
    assert verifier(entry(algorithms=(algorithm,)), keys=keys).verify(text, now_ms=NOW_MS) == WHO
    others = tuple(name for name in ALGORITHMS if name != algorithm)
    assert cause(text, entry(algorithms=others), keys=keys) == "token_algorithm"


def test_who_the_token_names_is_on_the_principal() -> None:
    """Team, issuer and subject, the token's id, the claims that bound it and its end."""
    found = verifier(entry(claims={"sub": ("ci",), "repository": ("acme/a", "acme/billing")})).verify(
        token(), now_ms=NOW_MS
    )
    assert (found.team, found.name, found.key_id) == ("billing", f"billing/{ISSUER}#ci", "token-1")
    assert found.claims == (("sub", "ci"), ("repository", "acme/billing"))
    assert found.expires_ms == (NOW_S + 300) * 1000


def test_a_token_without_an_id_is_recorded_by_the_key_that_signed_it() -> None:
    """`jti` is optional (RFC 7519, 4.1.7)."""
    assert verifier().verify(token(drop=["jti"]), now_ms=NOW_MS).key_id == "k1"


def unsigned(algorithm: str) -> str:
    header = encoded(json.dumps(HEADER | {"alg": algorithm}).encode())
    return f"{header}.{encoded(json.dumps(CLAIMS).encode())}."


def confused(secret: bytes) -> str:
    """Claims under an HMAC whose secret is the public key: the oldest attack on libraries that trust the header."""
    signing = f"{encoded(json.dumps(HEADER | {'alg': 'HS256'}).encode())}.{encoded(json.dumps(CLAIMS).encode())}"
    return f"{signing}.{encoded(hmac.new(secret, signing.encode(), hashlib.sha256).digest())}"


def public_texts() -> list[bytes]:
    public = key_pair().public_key()
    formats = [
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
        (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    ]
    return [public.public_bytes(*each) for each in formats] + [json.dumps(jwk(public)).encode(), b""]


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "RS1"])
def test_a_token_without_a_signature_is_refused(algorithm: str) -> None:
    """`alg: none` in every spelling, and any other algorithm over nothing."""
    assert cause(unsigned(algorithm), entry(algorithms=ALGORITHMS)) == "token_algorithm"
    assert cause(unsigned("RS256")) == "token_signature"


@pytest.mark.parametrize("secret", public_texts())
def test_the_public_key_is_no_shared_secret(secret: bytes) -> None:
    """HMAC with the public key in any encoding authenticates nobody."""
    assert cause(confused(secret), entry(algorithms=ALGORITHMS)) == "token_algorithm"


def test_another_algorithm_of_the_same_key_is_refused() -> None:
    """A key that names its own algorithm is for that one only, and a token cannot choose another that fits the key."""
    keys = key_set(jwk(key_pair().public_key(), alg="RS256"))
    both = entry(algorithms=("RS256", "PS256"))
    assert verifier(both, keys=keys).verify(token(), now_ms=NOW_MS) == WHO
    assert cause(token(algorithm="PS256"), both, keys=keys) == "unknown_token_key"
    mislabelled = signed(json.dumps(CLAIMS), HEADER | {"alg": "PS256"}, algorithm="RS256")
    assert cause(mislabelled, entry(algorithms=("PS256",))) == "token_signature"


def test_another_key_signs_for_nobody() -> None:
    """An attacker's key under the pinned id, and a changed claim under the right signature."""
    assert cause(token(key=key_pair(number=2))) == "token_signature"
    head, _, signature = token().split(".")
    changed = encoded(json.dumps(CLAIMS | {"team": "search"}).encode())
    assert cause(f"{head}.{changed}.{signature}") == "token_signature"


@pytest.mark.parametrize(
    "kid", ["k2", "", "K1", "../../dev/null", "k1\0", "' OR 1=1 --", "https://attacker.example/k", "x" * 4000]
)
def test_a_key_is_only_found_in_the_pinned_set(kid: str) -> None:
    """A key id is looked up, never opened, fetched or asked of a database; an unknown one only leaves a mark."""
    known = KnownKeys(key_set())
    with pytest.raises(Unauthenticated) as refused:
        TokenVerifier([PinnedIssuer(entry(), known)]).verify(token(header={"kid": kid}), now_ms=NOW_MS)
    assert (refused.value.cause, known.misses) == ("unknown_token_key", 1)


@pytest.mark.parametrize("kid", [None, 1, True, ["k1"], {"k1": 1}])
def test_a_key_id_is_text(kid: object) -> None:
    """Nothing else is looked up, and a token without one is refused also where there is a single key."""
    assert cause(token(header={"kid": kid})) == "token_header"
    assert cause(signed(json.dumps(CLAIMS), {"alg": "RS256"})) == "token_header"


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/chain"},
        {"x5c": ["MIIB"]},
        {"jwk": jwk(key_pair(number=2).public_key())},
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["x"], "x": 1},
        {"b64": False},
    ],
)
def test_a_token_that_brings_its_key_or_its_rules_is_refused(header: Mapping[str, object]) -> None:
    """Although its signature is right: whoever reads such members differently may be led elsewhere."""
    assert cause(token(header=header)) == "token_header"


def test_a_thumbprint_of_a_certificate_is_no_key() -> None:
    """Tokens of GitHub Actions carry one."""
    assert verifier().verify(token(header={"x5t": "q1w2e3"}), now_ms=NOW_MS) == WHO


@pytest.mark.parametrize("name", ["exp", "iat", "sub", "iss", "aud"])
def test_what_must_be_said_must_be_said(name: str) -> None:
    """Issuer, audience, subject, start and end are required."""
    assert cause(token(drop=[name])) in {"bad_token", "token_header", "token_audience"}
    assert cause(token({name: None})) in {"bad_token", "token_header", "token_audience", "token_times", "token_claims"}


@pytest.mark.parametrize("leeway_s", [0, 60])
def test_the_end_is_the_first_moment_that_is_refused(leeway_s: int) -> None:
    """RFC 7519, 4.1.4: "on or after which"; the leeway moves the border by exactly its seconds."""
    lenient = entry(leeway_s=leeway_s)
    border_ms = (NOW_S + 300 + leeway_s) * 1000
    assert verifier(lenient).verify(token(), now_ms=border_ms - 1) == WHO
    assert cause(token(), lenient, now_ms=border_ms) == "expired_token"


@pytest.mark.parametrize("leeway_s", [0, 60])
@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_the_start_is_the_first_moment_that_is_accepted(name: str, leeway_s: int) -> None:
    """RFC 7519, 4.1.5; a token that says it was made later than now is as doubtful as one that is not yet valid."""
    lenient, text = entry(leeway_s=leeway_s), token({name: NOW_S + 200})
    border_ms = (NOW_S + 200 - leeway_s) * 1000
    assert verifier(lenient).verify(text, now_ms=border_ms) == WHO
    assert cause(text, lenient, now_ms=border_ms - 1) == "immature_token"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", [True, False, "1795000300", "", -1, 10**12, 10**400, [1], {}, None, 1e300])
def test_an_instant_is_a_number_of_seconds_before_the_year_10000(name: str, value: object) -> None:
    """Booleans, texts, milliseconds and numbers that no date holds are refused and break nothing."""
    assert cause(token({name: value})) in {"token_times", "bad_token"}


@pytest.mark.parametrize("literal", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5000, "1" + "0" * 400])
def test_a_number_that_python_reads_in_its_own_way_is_refused(literal: str) -> None:
    """What is no JSON, what overflows, and what has more digits than an int may have."""
    claims = json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), literal)
    assert cause(signed(claims, HEADER)) in {"malformed_token", "token_times"}


def test_seconds_may_have_a_fraction() -> None:
    """RFC 7519, 2: a NumericDate may be a non-integer value."""
    text = token({"exp": NOW_S + 0.5, "iat": NOW_S - 0.5})
    assert verifier().verify(text, now_ms=NOW_MS + 499) == WHO
    assert cause(text, now_ms=NOW_MS + 500) == "expired_token"


def test_a_clock_that_steps_back_revives_no_token() -> None:
    """What has once been too late stays too late, as for keys."""
    authenticator = Authenticator((), is_upstream_token=lambda digest: False, tokens=verifier())
    header = f"Bearer {token()}".encode()
    assert authenticator.authenticate(header, NOW_MS) == WHO
    for now_ms in (NOW_MS + 300_000, NOW_MS):
        with pytest.raises(Unauthenticated):
            authenticator.authenticate(header, now_ms)


@pytest.mark.parametrize(
    "audience",
    [
        "other", "", f"{AUDIENCE}/", AUDIENCE.upper(), [], [AUDIENCE, "other"], ["other", AUDIENCE],
        [AUDIENCE, AUDIENCE], [[AUDIENCE]], {AUDIENCE: 1}, 1, True,
    ],
)  # fmt: skip
def test_a_token_is_for_exactly_our_audience(audience: object) -> None:
    """With a second audience, each of the others could replay it to us."""
    assert cause(token({"aud": audience})) in {"token_audience", "bad_token"}


def test_a_list_of_our_audience_alone_is_ours() -> None:
    """Kubernetes always writes a list."""
    assert verifier().verify(token({"aud": [AUDIENCE]}), now_ms=NOW_MS) == WHO


@pytest.mark.parametrize("issuer", ["https://issuer.example/", "https://ISSUER.example", "", 1, [ISSUER]])
def test_an_issuer_is_compared_character_by_character(issuer: object) -> None:
    """A final slash is another issuer."""
    assert cause(token({"iss": issuer})) in {"unknown_issuer", "token_header"}


@pytest.mark.parametrize("subject", ["ci ", "", "c\u0131", "\u0441i", "ci\n", "x" * 257, 1, True, None, ["ci"], {}])
def test_a_subject_is_printable_ascii(subject: Any) -> None:
    """It stands in the record as the name of who did it, so no look-alike, space or control character is in it."""
    anyone = entry(claims={"repository": ("acme/billing",)})
    assert cause(token({"sub": subject}), anyone) in {"token_subject", "bad_token"}


@pytest.mark.parametrize(
    "value",
    ["acme/other", "acme/billing2", "acme/billin", "ACME/billing", " acme/billing", "", ["acme/billing"], None, 1],
)
def test_a_neighbour_of_the_same_issuer_and_audience_is_a_stranger(value: object) -> None:
    """A claim is exactly one of the values that are listed; a list that holds one of them is not."""
    bound = entry(claims={"repository": ("acme/billing", "acme/search")})
    assert verifier(bound).verify(token({"repository": "acme/search"}), now_ms=NOW_MS) == WHO
    assert cause(token({"repository": value}), bound) == "token_claims"
    assert cause(token(drop=["repository"]), bound) == "token_claims"


def test_every_pinned_claim_must_hold() -> None:
    """One that fits does not make up for one that does not."""
    bound = entry(claims={"sub": ("ci",), "repository": ("acme/other",)})
    assert cause(token(), bound) == "token_claims"


@pytest.mark.parametrize("team", ["oncall", "", "Billing", ["billing"], {"billing": 1}, None, True])
def test_an_issuer_speaks_only_for_the_teams_it_lists(team: object) -> None:
    """What the token says of its team counts only within the list."""
    listed = entry(team=TeamRule(claim="team", teams=("billing", "search")))
    assert verifier(listed).verify(token({"team": "search"}), now_ms=NOW_MS).team == "search"
    assert cause(token({"team": team}), listed) == "token_team"
    assert cause(token(drop=["team"]), listed) == "token_team"


def test_two_entries_of_one_issuer_tell_its_subjects_apart() -> None:
    """Each subject speaks for the team of its own entry."""
    both = verifier(entry(), entry(claims={"sub": ("deploy",)}, team=TeamRule(equals="search")))
    assert both.verify(token(), now_ms=NOW_MS).team == "billing"
    assert both.verify(token({"sub": "deploy"}), now_ms=NOW_MS).team == "search"


def test_a_token_that_two_entries_accept_speaks_for_nobody() -> None:
    """Which team it would be is not decided by the order of a list."""
    wider = entry(claims={"repository": ("acme/billing",)}, team=TeamRule(equals="search"))
    assert cause(token(), entry(), wider) == "ambiguous_token"


def test_keys_of_one_issuer_sign_for_no_other() -> None:
    """Both issuers have a key of the same id; each is only good for its own name."""
    ours = PinnedIssuer(entry(), KnownKeys(key_set()))
    theirs_entry = entry(issuer="https://other.example", team=TeamRule(equals="search"))
    theirs = PinnedIssuer(theirs_entry, KnownKeys(key_set(jwk(key_pair(number=2).public_key()))))
    forged = token(key=key_pair(number=2))
    with pytest.raises(Unauthenticated) as refused:
        TokenVerifier([ours, theirs]).verify(forged, now_ms=NOW_MS)
    assert refused.value.cause == "token_signature"
    own = token({"iss": "https://other.example"}, key=key_pair(number=2))
    assert TokenVerifier([ours, theirs]).verify(own, now_ms=NOW_MS).team == "search"


def test_without_keys_nobody_is_known() -> None:
    """An issuer whose keys were never fetched accepts nothing, and asks for them."""
    known = KnownKeys(None)
    with pytest.raises(Unauthenticated) as refused:
        TokenVerifier([PinnedIssuer(entry(), known)]).verify(token(), now_ms=NOW_MS)
    assert (refused.value.cause, known.misses) == ("unknown_token_key", 1)


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp", "team", "alg", "kid"])
def test_a_name_that_stands_twice_is_refused(name: str) -> None:
    """Two readers may take different ones, so the token can be read in more than one way."""
    header, claims = json.dumps(HEADER), json.dumps(CLAIMS)
    if name in HEADER:
        header = header.replace("{", f'{{"{name}": {json.dumps(HEADER[name])}, ', 1)
    else:
        claims = claims.replace("{", f'{{"{name}": {json.dumps(CLAIMS[name])}, ', 1)
    assert cause(signed(claims, header, algorithm="RS256")) == "malformed_token"


@pytest.mark.parametrize("claims", ["", "[]", "null", "1", '"text"', "{", "\ufeff{}", "[" * 100_000, '{"a":' * 5000])
def test_claims_are_one_json_object(claims: str) -> None:
    """Nothing else is read, however deep."""
    assert cause(signed(claims, HEADER)) == "malformed_token"
    assert cause(f"{encoded(claims.encode())}.{encoded(json.dumps(CLAIMS).encode())}.") == "malformed_token"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any printable text is refused as a stranger's, with dots in the right number or not."""
    for each in (text, f"{text}.{text}.{text}", f"{encoded(text.encode())}.{encoded(text.encode())}."):
        assert cause(each)


@given(st.sampled_from([*CLAIMS, "nbf", "sub"]), _JSON)
def test_a_signed_token_with_any_value_is_accepted_or_refused_but_never_breaks(name: str, value: object) -> None:
    """The issuer's own mistakes do not reach the server as errors."""
    claims = json.dumps(CLAIMS | {name: value})
    try:
        found = verifier().verify(signed(claims, HEADER), now_ms=NOW_MS)
    except Unauthenticated:
        return
    assert found.subject == f"{ISSUER}#ci"


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "cty", "x", "b64", "crit"]), _JSON, max_size=4))
def test_any_header_is_accepted_or_refused_but_never_breaks(header: dict[str, object]) -> None:
    """Members of any type, in the place of those that are read."""
    try:
        assert verifier().verify(signed(json.dumps(CLAIMS), HEADER | header, algorithm="RS256"), now_ms=NOW_MS) == WHO
    except Unauthenticated as refused:
        assert refused.sentence == Unauthenticated("x").sentence  # noqa: PT017 - acceptance is a law here too
