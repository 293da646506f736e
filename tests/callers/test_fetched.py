"""A gateway that fetches an issuer's keys over a real socket."""

from __future__ import annotations

from pathlib import Path

from gateway.simulator.server import SimulatorServer
from tests.callers.documented import GITHUB, CallersSetup, github
from tests.callers.issuers import jwk, key_pair, published, signed
from tests.support.gateway import RunningGateway
from tests.support.waiting import until
from tests.upstream.canned import CannedServer
from tests.upstream.raw import answer

TARGET = "/v2/workflows/runs?workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
GOOD = published(jwk(key_pair().public_key(), alg="RS256", use="sig"))


def status(gateway: RunningGateway, token: str) -> int:
    """What a caller with this token gets."""
    return gateway.request(target=TARGET, team=None, headers={"Authorization": f"Bearer {token}"}).status


def test_keys_are_fetched_once_whatever_callers_send(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Two entries share the address; good tokens, unknown key ids and other addresses cause no further request."""
    with CannedServer(answer(GOOD)) as issuer, CannedServer(answer(GOOD)) as attacker:
        entries = GITHUB + GITHUB.removeprefix("callers:\n  jwt:\n").replace("refs/heads/main", "refs/heads/release")
        setup = CallersSetup(
            simulator.url, tmp_path / "gateway", callers=entries, jwks=f'{{url: "{issuer.url}/.well-known/jwks"}}'
        )
        with RunningGateway(setup) as gateway:
            until(lambda: gateway.request("GET", "/readyz", team=None).json()["notices"] == [])
            assert status(gateway, github()) == 200
            hostile = [signed("{}", {"alg": "RS256", "kid": f"x{number}"}) for number in range(20)]
            claims = '{"iss": "https://token.actions.githubusercontent.com"}'
            hostile += [signed(claims, {"alg": "RS256", "kid": f"x{number}"}) for number in range(20)]
            hostile += [
                signed(claims, {"alg": "RS256", "kid": "k1", name: attacker.url}) for name in ("jku", "x5u", "jwk")
            ]
            assert {status(gateway, each) for each in hostile} == {401}
            assert status(gateway, github(ref="refs/heads/release")) == 200
    assert (issuer.connections, attacker.connections) == (1, 0)
    assert issuer.requests[0].startswith(b"GET /.well-known/jwks HTTP/1.1\r\n")
    assert b"authorization" not in issuer.requests[0].lower()


def test_a_gateway_starts_without_its_issuer(simulator: SimulatorServer, tmp_path: Path) -> None:
    """An issuer that is away concerns its own tokens: keys work, the page says what is missing and stays 200."""
    setup = CallersSetup(simulator.url, tmp_path / "gateway", callers=GITHUB, jwks='{url: "http://127.0.0.1:1/jwks"}')
    with RunningGateway(setup) as gateway:
        assert gateway.request(target=TARGET).status == 200
        assert status(gateway, github()) == 401
        page = gateway.request("GET", "/readyz", team=None)
    assert page.status == 200
    assert "the keys at http://127.0.0.1:1/jwks: " in str(page.json()["notices"])


def test_a_redirect_of_the_issuer_is_not_followed(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Only the pinned address says what the keys are."""
    with CannedServer(answer(GOOD)) as elsewhere:
        moved = answer(b"", status="302 Found", headers=[f"Location: {elsewhere.url}/jwks"])
        with CannedServer(moved) as issuer:
            setup = CallersSetup(
                simulator.url, tmp_path / "gateway", callers=GITHUB, jwks=f'{{url: "{issuer.url}/jwks"}}'
            )
            with RunningGateway(setup) as gateway:
                until(lambda: "302" in str(gateway.request("GET", "/readyz", team=None).json()["notices"]))
                assert status(gateway, github()) == 401
        assert elsewhere.connections == 0
