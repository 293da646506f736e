"""A proxy that logs people in (oauth2-proxy) before the console: its token is verified by the gateway itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.callers.issuers import AUDIENCE, ISSUER, jwk, key_pair, published, token
from tests.console.people import CONSOLE, House, Person, house


@contextmanager
def trusting(directory: Path) -> Iterator[House]:
    """A gateway with a console that takes the tokens of a local issuer."""
    directory.mkdir()
    (directory / "jwks.json").write_bytes(published(jwk(key_pair().public_key())))
    entry = (
        f"{{issuer: {ISSUER}, audience: {AUDIENCE}, algorithms: [RS256], jwks: {{file: jwks.json}}, "
        "claims: {sub: [ana]}, team: {equals: billing}}"
    )
    with house(directory, more=CONSOLE, issuers=f"  jwt: [{entry}]\n") as one:
        yield one


def token_of(sub: str, *, number: int = 1) -> str:
    """A token of the issuer, or with another number of somebody else, good for five minutes."""
    now_s = int(time.time())
    return token({"sub": sub, "iat": now_s, "exp": now_s + 300}, key=key_pair(number=number))


def logged_in(person: Person, **headers: str) -> int:
    """The login with an empty form, through a proxy that puts these headers on; returns the status."""
    person.send("GET", "/login", headers=headers)
    return person.fill("/login", headers, key="").status


def test_the_token_that_a_proxy_brings_logs_in_by_one_click_and_is_verified_by_the_gateway(tmp_path: Path) -> None:
    """The session is that of the token's team. Somebody else's token, or one of another signer, opens nothing."""
    with trusting(tmp_path / "gateway") as one:
        person = one.person(None)
        assert logged_in(person, Authorization=f"Bearer {token_of('ana')}") == 303
        assert person.get("/me").status == 200
        assert "billing" in person.words
        for other in (token_of("mallory"), token_of("ana", number=2), "x"):
            assert logged_in(one.person(None), Authorization=f"Bearer {other}") == 401


@pytest.mark.parametrize("said", ["Basic YTpi", "Bearer ", ""])
def test_what_is_no_token_is_not_taken_for_one(home: House, said: str) -> None:
    """The form asks for a key then, as without a proxy."""
    person = home.person(None)
    person.send("GET", "/login", headers={"Authorization": said})
    assert "that your proxy has brought" not in person.words
    assert person.fill("/login", {"Authorization": said}, key="").status in (400, 401)


def test_a_token_without_a_form_opens_nothing(home: House) -> None:
    """So a page of a stranger cannot log a browser in that a proxy speaks for."""
    person = home.person(None)
    sent = {"Authorization": f"Bearer {home.gateway.key()}"}
    assert person.send("GET", "/me", headers=sent).status == 303
    assert person.post("/login", {"key": ""}, sent).status == 403
    assert "gateway_session" not in person.cookies
