"""What somebody types into a page is searched for secrets as what is sent with a credential is."""

from __future__ import annotations

import time

import pytest

from gateway.callers.authenticate import Authenticator, Standing
from gateway.core.errors import MalformedRequest
from gateway.core.request import Principal
from gateway.edge.inbound import STANDING, Inbound, Intake
from gateway.files.secrecy import holds_token
from tests.callers.issuers import NOW_MS, token, verifier

INTAKE = Intake(None, None, lambda _: False)  # type: ignore[arg-type]
BY_TOKEN = Authenticator((), is_upstream_token=lambda _: False, tokens=verifier()).standing(token(), NOW_MS)
TEXTS = ("{}", "why not: {}.", "https://a.example/x?token={}&b=1", "Bearer {}", "x{}", "{}\nand more")


def inbound(standing: Standing | None, credential: str = "") -> Inbound:
    """A request in a session, or with a credential."""
    headers = [(b"authorization", f"Bearer {credential}".encode())] if credential else []
    state = {} if standing is None else {STANDING: standing}
    return Inbound({"headers": headers, "state": state}, None, "", None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA", "ES256"])
def test_a_session_does_not_record_the_token_it_was_begun_with(text: str, algorithm: str) -> None:
    """Nor does a call with the token: a session keeps no text to compare with, so the shape has to do."""
    own = token(algorithm=algorithm)
    for asked in (inbound(None, own), inbound(BY_TOKEN)):
        with pytest.raises(MalformedRequest) as refused:
            INTAKE.refuse_secrets(asked, ["harmless", text.format(own)])
        assert refused.value.cause == "secret_in_request"


def test_what_is_no_token_is_taken() -> None:
    """Names with dots, hosts, ids; and in a session with a key only keys, which have a shape of their own."""
    key = Standing(Principal("billing", "ci"), digest=b"x" * 32)
    INTAKE.refuse_secrets(inbound(key), [token()])
    for text in ("eyewear-production.shop-and-delivery.example-company.com", "wfr_eyJhbGciOi.x.y", "v1.2.3", ""):
        assert not holds_token(text)


def test_the_search_is_linear() -> None:
    """However often something begins that looks like one."""

    def took_s(times: int) -> float:
        """The best of three."""
        text, best_s = "eyJ" * times + "." + "eyJ" * times, 1e9
        for _ in range(3):
            began_s = time.perf_counter()
            assert not holds_token(text)
            best_s = min(best_s, time.perf_counter() - began_s)
        return best_s

    assert took_s(20_000) < 40 * took_s(2_000)
