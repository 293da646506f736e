"""A form that does not arrive: it holds nothing for long, and does nothing once its session has ended."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.console.people import INVOICE, House, Person, forms, house

BRIEF = "{receive_timeout_s: 1}"
PATHS = ("/login", "/logout", "/freezes", "/new", "/policies/explain", "/plans/x/stop", "/plans/x/apply")


@contextmanager
def half_sent(person: Person, path: str, body: bytes) -> Iterator[http.client.HTTPConnection]:
    """A form whose last byte is not sent."""
    connection = http.client.HTTPConnection("127.0.0.1", person.port, timeout=20)
    try:
        connection.putrequest("POST", path)
        connection.putheader("Cookie", "; ".join(f"{name}={value}" for name, value in person.cookies.items()))
        connection.putheader("Origin", person.origin)
        connection.putheader("Content-Type", "application/x-www-form-urlencoded")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:-1])
        yield connection
    finally:
        connection.close()


def test_a_form_that_does_not_arrive_is_refused(tmp_path: Path) -> None:
    """As the body of any other call, with a session or without: an open request is not kept for ever."""
    with house(tmp_path / "gateway", limits=BRIEF) as home:
        person = home.person()
        for path in PATHS:
            with half_sent(person, path, b"csrf=x") as slow:
                assert slow.getresponse().status == 408
        assert person.get("/me").status == 200


@pytest.mark.parametrize("path", ["/new", "/policies/explain"])
def test_a_form_that_was_begun_before_the_logout_does_nothing_after_it(home: House, path: str) -> None:
    """A copy of the cookie cannot keep requests half sent, to finish them when the session is over."""
    person = home.person()
    copy = Person(home.port, dict(person.cookies))
    person.get("/me")
    before = len(home.gateway.records())
    token = forms(person.page)["/logout"]["csrf"]
    body = urlencode({"csrf": token, "url": INVOICE, "request": "label=a"}).encode()
    with half_sent(copy, path, body) as slow:
        person.get("/me")
        person.fill("/logout")
        slow.send(body[-1:])
        assert slow.getresponse().status == 403
    assert home.gateway.records()[before:] == []
