"""An entry that would let strangers in is refused when it is read, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.callers.settings import ALGORITHMS, BINDING_CLAIMS
from gateway.config import load_config
from gateway.core.errors import InvalidConfiguration
from tests.callers.issuers import jwk, key_pair, published
from tests.cli.running import command
from tests.config.test_config import MINIMAL

ENTRY = """\
    - issuer: https://issuer.example
      audience: https://gateway.example
      algorithms: [RS256]
      jwks: {file: jwks.json}
      claims: {sub: [ci], environment: [production]}
      team: {equals: billing}
      leeway_s: 60
"""
CALLERS = "callers:\n  jwt:\n"


def written(directory: Path, *entries: str) -> Path:
    """A configuration with these entries, the first of which begins in line 8."""
    path = directory / "config.yaml"
    path.write_text(MINIMAL.replace("callers: {keys: []}\n", CALLERS + "".join(entries)))
    return path


def faults(directory: Path, *entries: str) -> list[str]:
    """The problems, as `line:column: message`."""
    path = written(directory, *entries)
    with pytest.raises(InvalidConfiguration) as refused:
        load_config(path)
    return [str(problem).removeprefix(f"{path}:") for problem in refused.value.problems]


def test_an_entry_is_read_as_it_is_written(tmp_path: Path) -> None:
    """The path of the keys is relative to the file that names it."""
    (issuer,) = load_config(written(tmp_path, ENTRY)).issuers
    assert (issuer.issuer, issuer.audience) == ("https://issuer.example", "https://gateway.example")
    assert (issuer.algorithms, issuer.leeway_s) == (("RS256",), 60)
    assert (issuer.jwks.file, issuer.jwks.url) == (tmp_path / "jwks.json", None)
    assert issuer.claims == {"sub": ("ci",), "environment": ("production",)}
    assert (issuer.team.equals, issuer.team.claim, issuer.team.names) == ("billing", None, ("billing",))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_asymmetric_algorithm_may_be_named(tmp_path: Path, algorithm: str) -> None:
    """RSA, RSA-PSS, the curves of NIST, and Edwards'."""
    (issuer,) = load_config(written(tmp_path, ENTRY.replace("RS256", algorithm))).issuers
    assert issuer.algorithms == (algorithm,)


@pytest.mark.parametrize("claim", BINDING_CLAIMS)
def test_each_binding_claim_alone_is_enough(tmp_path: Path, claim: str) -> None:
    """It says who among all subjects of the issuer."""
    entry = ENTRY.replace("{sub: [ci], environment: [production]}", f"{{{claim}: [x]}}")
    assert load_config(written(tmp_path, entry)).issuers[0].claims == {claim: ("x",)}


UNBOUND = "12:15: these claims do not bind the subject"
REFUSED = {
    "no claims": ("{sub: [ci], environment: [production]}", "{}", "12:15: the mapping is empty"),
    "claims without subject": ("sub: [ci], ", "", UNBOUND),
    "an owner is many": ("sub: [ci]", "repository_owner: [acme]", UNBOUND),
    "a public workflow": ("sub: [ci]", "job_workflow_ref: [a/b/.github/workflows/c.yml@main]", UNBOUND),
    "an application of people": ("sub: [ci]", "azp: [app]", UNBOUND),
    "a branch": ("sub: [ci]", "ref: [refs/heads/main]", UNBOUND),
    "a claim without values": ("sub: [ci]", "sub: []", "12:21: the list is empty"),
    "one value without list": ("sub: [ci]", "sub: ci", "12:21: expected a list"),
    "a pattern": ("sub: [ci]", 'sub: ["repo:acme/*"]', "12:22: 'repo:acme/*': values of claims are exact"),
    "a number as value": ("sub: [ci]", "sub: [74]", "12:22: expected text"),
    "HMAC": ("RS256", "HS256", "10:20: 'HS256': everyone who can check such a token can make one"),
    "none": ("RS256", "none", "10:20: 'none': everyone who can check such a token can make one"),
    "no algorithm": ("[RS256]", "[]", "10:19: the list is empty"),
    "another word": ("RS256", "RS1", "10:20: 'RS1': expected RS256"),
    "two leeways": ("leeway_s: 60", "leeway_s: 61", "14:17: expected 0 to 60, found 61"),
    "two audiences": ("https://gateway.example", "[a, b]", "9:17: expected text"),
    "keys from nowhere": ("{file: jwks.json}", "{}", "11:13: say where the jwks is"),
    "keys from two places": ("jwks.json}", 'jwks.json, url: "https://a.example/j"}', "11:13: say where the jwks is"),
    "keys over http": ("{file: jwks.json}", '{url: "http://a.example/j"}', "11:19: 'http://a.example/j': plain http"),
    "keys with a password": ("{file: jwks.json}", '{url: "https://a:b@a.example/j"}', "11:19: "),
    "keys with a query": ("{file: jwks.json}", '{url: "https://a.example/j?x=1"}', "11:19: "),
    "no team": ("{equals: billing}", "{}", "13:13: say {equals: TEAM}"),
    "every team": ("equals: billing", 'equals: "*"', "13:22: '*': expected a team"),
    "any team a claim names": ("{equals: billing}", "{claim: team}", "13:13: say {equals: TEAM}"),
    "teams without claim": ("{equals: billing}", "{teams: [billing]}", "13:13: say {equals: TEAM}"),
    "a claim for no team": ("{equals: billing}", "{claim: team, teams: []}", "13:34: the list is empty"),
    "both": ("{equals: billing}", "{equals: a, claim: t, teams: [a]}", "13:13: say {equals: TEAM}"),
    "issuer without scheme": ("issuer: https://issuer.example", "issuer: issuer.example", "8:15: 'issuer.example': e"),
    "no issuer": ("- issuer: https://issuer.example\n      audience", "- audience", "8:7: the key 'issuer' is missing"),
    "a later key": ("leeway_s: 60", "introspect: x", "14:7: unknown key 'introspect'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_entry_that_says_too_little_or_too_much_is_refused_at_its_place(tmp_path: Path, name: str) -> None:
    """Nothing is guessed, and nothing that lets in more than one subject by oversight loads."""
    old, new, expected = REFUSED[name]
    assert ENTRY.count(old) == 1
    assert [fault[: len(expected)] for fault in faults(tmp_path, ENTRY.replace(old, new))] == [expected]


def test_two_entries_that_accept_the_same_tokens_are_refused(tmp_path: Path) -> None:
    """They could only differ in the team, and then each token would speak for nobody."""
    again = ENTRY.replace("billing", "search").replace("[RS256]", "[ES256]")
    assert faults(tmp_path, ENTRY, again) == ["15:7: the same issuer, audience and claims stands in line 8 already"]
    assert len(load_config(written(tmp_path, ENTRY, again.replace("[ci]", "[deploy]"))).issuers) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"{}", "no list"), (published(jwk(key_pair())), "private or shared key")],
)
def test_check_reports_a_key_file_that_serve_would_refuse(tmp_path: Path, content: bytes | None, says: str) -> None:
    """With the place that names it, and without a byte of it."""
    if content is not None:
        (tmp_path / "jwks.json").write_bytes(content)
    path = written(tmp_path, ENTRY)
    checked = command("check", "--config", str(path))
    assert checked.returncode == 3
    (line,) = [line for line in checked.stdout.splitlines() if "key file" in line]
    assert line.startswith(f"{path}:11:13: the key file {tmp_path / 'jwks.json'} cannot be used: ")
    assert says in line
