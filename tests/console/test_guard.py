"""What no page of the console sent is refused, and what any page may load and do is said with every answer."""

from __future__ import annotations

import pytest

from gateway.console.guard import Served
from gateway.files.addresses import ConsoleAt, Listen
from tests.console.people import House, forms

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
POSTS = ("/logout", "/freezes", "/new", "/policies/explain", "/plans/x/stop", "/plans/x/apply", "/freezes/x/thaw")


def test_every_answer_says_what_it_may_load_and_that_nobody_may_frame_it(home: House) -> None:
    """Pages, files, refusals, and what is not there at all."""
    person = home.person()
    asked = [("GET", "/"), ("GET", "/static/console.js"), ("GET", "/none"), ("PUT", "/me"), ("POST", "/new")]
    for method, path in asked:
        headers = person.send(method, path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    assert person.get("/me").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:80"])
def test_a_request_for_another_host_is_refused(home: House, host: str) -> None:
    """A name that was bound to this address anew (rebinding) reaches no page, with a session or without."""
    person = home.person()
    answer = person.send("GET", "/me", headers={"Host": host})
    assert answer.status == 421
    assert b"billing" not in answer.body
    assert person.get("/me").status == 200


ORIGINS = ["", "null", "http://evil.example", "http://127.0.0.1", "https://127.0.0.1:{port}", "http://localhost:{port}"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_form_of_another_origin_is_refused(home: House, origin: str) -> None:
    """Whatever else it has: the login as well, so that nobody is logged in as somebody else."""
    person = home.person()
    person.get("/me")
    token = forms(person.page)["/logout"]
    sent = {"Origin": origin.format(port=home.port)}
    for path in POSTS:
        assert person.post(path, token, sent).status == 403
    assert person.get("/me").status == 200
    stranger = home.person(None)
    stranger.get("/login")
    assert stranger.fill("/login", sent, key=home.gateway.key()).status == 403


def test_a_form_without_the_token_of_the_session_is_refused(home: House) -> None:
    """Without one, with that of another session, and with that of a login."""
    person, other = home.person(), home.person()
    other.get("/me")
    tokens = [{}, forms(other.page)["/logout"], forms(home.person(None).get("/login"))["/login"]]
    for token in tokens:
        for path in POSTS:
            assert person.post(path, {**token, "reason": "x", "request": "label=a"}).status == 403
    assert person.get("/me").status == 200
    stranger = home.person(None)
    stranger.get("/login")
    assert stranger.post("/login", {"key": home.gateway.key()}).status == 403


def test_a_form_is_read_strictly(home: House) -> None:
    """One content type, bounded, each field once."""
    person = home.person()
    person.get("/me")
    token = forms(person.page)["/logout"]["csrf"]
    form, own = {"Content-Type": "application/x-www-form-urlencoded"}, {"Origin": person.origin}
    for body, headers, status in (
        (b"{}", {"Content-Type": "application/json"}, 415),
        (b"csrf=a&csrf=b", form, 400),
        (b"csrf", form, 400),
        (b"csrf=%ff", form, 400),
        ("csrf=ä".encode(), form, 400),
        (b"&".join(b"a%d=1" % number for number in range(40)), form, 400),
        (b"a=" + b"x" * 65_536, form, 413),
    ):
        assert person.send("POST", "/logout", body, {**own, **headers}).status == status
    assert person.post("/logout", {"csrf": token}).status == 303


def test_a_get_changes_nothing(home: House) -> None:
    """Ten scanners that follow every address of a form: nothing is sent, stopped, frozen or ended."""
    person = home.person("platform")
    before = len(home.gateway.records())
    for _ in range(10):
        for path in ("/logout", "/plans/x/apply", "/plans/x/stop", "/policies/explain", "/freezes/x/thaw"):
            assert person.get(path).status == 405
    assert person.get("/me").status == 200
    assert [one["event"] for one in home.gateway.records()[before:]] == []


@pytest.mark.parametrize(
    ("listen", "host", "tls", "hosts", "origins"),
    [
        ("127.0.0.1", None, False, {"127.0.0.1:82"}, {"http://127.0.0.1:82"}),
        ("::1", None, True, {"[::1]:82"}, {"https://[::1]:82"}),
        ("0.0.0.0", "c.example", True, {"c.example"}, {"https://c.example"}),
        ("127.0.0.1", "c.example", False, {"127.0.0.1:82", "c.example"},
         {"http://127.0.0.1:82", "http://c.example", "https://c.example"}),
    ],
)  # fmt: skip
def test_the_hosts_and_origins_are_those_of_the_configuration(
    listen: str, host: str | None, tls: bool, hosts: set[str], origins: set[str]
) -> None:
    """An address that stands for all is none of them; a proxy may end TLS only for the name that is configured."""
    served = Served.at(ConsoleAt(Listen(listen, 82), host), 82, tls=tls)
    assert (set(served.hosts), set(served.origins)) == (hosts, origins)
