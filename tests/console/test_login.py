"""Sessions: who gets one, what it is made of, and when it ends."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from gateway.callers.in_force import LiveSettings
from gateway.callers.settings import CallerKey
from gateway.console.sessions import LASTS_S, MOST, OF_ONE, Sessions
from gateway.core.errors import Unauthenticated
from tests.console.people import CONSOLE, House, Person, house
from tests.console.standing import Held, live, with_keys
from tests.serving.doors import certified
from tests.support.waiting import until

PAGES = ("/", "/decisions", "/plans", "/policies", "/freezes", "/me", "/new", "/events", "/plans/x", "/decisions/x")


def test_without_a_session_every_page_leads_to_the_login(home: House) -> None:
    """And shows nothing of its own; the login itself shows only a form."""
    person = home.person(None)
    for path in PAGES:
        answer = person.get(path)
        assert (answer.status, answer.headers["location"], answer.body) == (303, "/login", b"")
    assert person.get("/login").status == 200


def test_a_key_opens_a_session_and_its_cookie_is_for_this_host_alone(home: House) -> None:
    """No script reads it, and no other site's request brings it."""
    person = home.person(None)
    answer = person.log_in(home.gateway.key())
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert re.fullmatch(r"gateway_session=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", person.told[0])
    assert person.follow().status == 200
    assert "billing/billing-key" in person.words


def test_over_tls_the_cookie_has_the_prefix_that_only_tls_gives(home: House, tmp_path: Path) -> None:
    """A proxy may end TLS for the name that is configured, and for no other."""
    with house(tmp_path / "gateway", more='console: {listen: "127.0.0.1:0", host: console.example.com}\n') as one:
        person, sent = one.person(None), {"Host": "console.example.com"}
        person.send("GET", "/login", headers=sent)
        answer = person.fill("/login", {**sent, "Origin": "https://console.example.com"}, key=one.gateway.key())
        assert answer.status == 303
        assert re.fullmatch("__Host-gateway_session=[^;]*; Path=/; HttpOnly; SameSite=Strict; Secure", person.told[0])
        assert person.send("GET", "/me", headers=sent).status == 200
        # The same id without the prefix may have been set by anybody on the way.
        person.cookies = {"gateway_session": person.cookies["__Host-gateway_session"]}
        assert person.send("GET", "/me", headers=sent).status == 303


def test_with_a_certificate_of_its_own_it_speaks_only_tls(tmp_path: Path) -> None:
    """On the console's listener as well; the cookie has the prefix, and an origin without TLS is none."""
    certificate, key = certified(tmp_path)
    tls = f"tls: {{certificate: {certificate}, key: {key}}}\n"
    with house(tmp_path / "gateway", more=CONSOLE + tls) as one:
        person = Person(one.port, tls=ssl.create_default_context(cafile=str(certificate)))
        assert person.log_in(one.gateway.key()).status == 303
        assert [name for name in person.cookies if name.endswith("session")] == ["__Host-gateway_session"]
        assert person.get("/me").status == 200
        person.get("/login")
        plain = {"Origin": person.origin.replace("https", "http")}
        assert person.fill("/login", plain, key=one.gateway.key()).status == 403
        with pytest.raises(OSError, match=r"reset|closed|aborted|without response"):
            Person(one.port).get("/login")


def test_what_is_no_key_opens_nothing_and_is_recorded(home: House) -> None:
    """As every other refusal of the gateway, with the address it came from."""
    before = len(home.gateway.records("refused"))
    person = home.person(None)
    for key in ("qgk_billing-key_" + "x" * 43, "Bearer " + home.gateway.key(), "", "ä", "a b"):
        assert person.log_in(key).status in (400, 401)
        assert "gateway_session" not in person.cookies
        assert "not accepted" in person.words
    until(lambda: len(home.gateway.records("refused")) >= before + 5)
    assert {one["remote"] for one in home.gateway.records("refused")[before:]} == {"127.0.0.1"}


def test_a_login_makes_a_new_id_whatever_the_browser_had(home: House) -> None:
    """Fixation: an id that somebody else chose, or had, is good for nothing afterwards."""
    person = home.person(None)
    person.cookies["gateway_session"] = chosen = "A" * 43
    assert person.log_in(home.gateway.key()).status == 303
    first = person.cookies["gateway_session"]
    assert first != chosen
    person.log_in(home.gateway.key("search"))
    assert person.cookies["gateway_session"] not in (chosen, first)
    for old in (chosen, first):
        assert Person(home.port, {"gateway_session": old}).get("/me").status == 303


def test_a_logout_ends_the_session_for_every_copy_of_the_cookie(home: House) -> None:
    """Not only in the browser that asked."""
    person = home.person()
    copy = Person(home.port, dict(person.cookies))
    person.get("/me")
    assert person.fill("/logout").headers["location"] == "/login"
    assert "gateway_session" not in person.cookies
    assert copy.get("/me").status == 303


def test_the_credential_is_nowhere_after_the_login(home: House) -> None:
    """In no page, no record, no log and no file of the gateway."""
    person = home.person()
    for path in ("/", "/me", "/decisions", "/policies"):
        assert home.gateway.key() not in person.get(path).body.decode()
    assert home.gateway.key().encode() not in home.gateway.said()


def test_a_revoked_key_ends_its_sessions(tmp_path: Path) -> None:
    """Within the second in which the configuration without it is in force, also what was only open."""
    with house(tmp_path / "gateway") as one:
        billing, search = one.person(), one.person("search")
        path = one.gateway.setup.directory / "config.yaml"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if "id: billing-key" not in line))
        until(lambda: one.gateway.records("reload"))
        assert billing.get("/me").status == 303
        assert search.get("/me").status == 200
        path.write_text("".join(lines))
        until(lambda: len(one.gateway.records("reload")) == 2)
        # What has ended has ended: the key is good again, the session is not.
        assert billing.get("/me").status == 303


def sessions(*names: str) -> tuple[Sessions, Held, LiveSettings]:
    """Sessions, with a key of each name that is its own text."""
    clock = Held()
    return Sessions(current := LiveSettings(live(*names)), clock), clock, current


def test_a_session_ends_after_twelve_hours() -> None:
    """However much it is used."""
    all_of_them, clock, _ = sessions("key")
    name = all_of_them.begin("key", secure=False)
    for _ in range(11):
        clock.steady += 3600
        assert all_of_them.find(name, secure=False) is not None
    clock.steady = LASTS_S
    assert all_of_them.find(name, secure=False) is None
    assert list(all_of_them) == []


def test_a_key_of_another_principal_in_the_place_of_one_ends_its_session() -> None:
    """The digest stays, and the name behind it changes."""
    all_of_them, _, current = sessions("key")
    name = all_of_them.begin("key", secure=False)
    key = current.live.keys[0]
    renamed = (CallerKey("other", "t", key.digest),)
    current.swap(with_keys(*renamed))
    assert all_of_them.find(name, secure=False) is None


def test_sessions_are_bounded_and_the_oldest_gives_way() -> None:
    """Those of one principal, so that nobody logs others out, and those of all."""
    all_of_them, _, _ = sessions("key", "other")
    kept = all_of_them.begin("other", secure=False)
    names = [all_of_them.begin("key", secure=False) for _ in range(OF_ONE + 1)]
    found = [all_of_them.find(name, secure=False) is not None for name in names]
    assert found == [False] + [True] * OF_ONE
    assert all_of_them.find(kept, secure=False) is not None
    many = [f"key{number}" for number in range(MOST + 1)]
    all_of_them, _, _ = sessions(*many)
    names = [all_of_them.begin(name, secure=False) for name in many]
    assert len(list(all_of_them)) == MOST
    assert all_of_them.find(names[0], secure=False) is None


def test_what_is_not_accepted_begins_none() -> None:
    """A key that nobody has."""
    all_of_them, _, _ = sessions("key")
    with pytest.raises(Unauthenticated):
        all_of_them.begin("none", secure=False)
