"""Event streams: what is in them, how many there may be, and when they end."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.edge.pages.overview.events import MOST_STREAMS, OF_ONE
from tests.console.people import House, Person, house
from tests.edge.streams import read_stream, stream
from tests.support.waiting import until

ENDS_WITHIN_S = 20
"""A stream that goes on says so every fifteen seconds."""


@contextmanager
def watching(person: Person) -> Iterator[http.client.HTTPResponse]:
    """The stream of a page that is open. Streams of tests before may be open for a moment still."""
    connection = http.client.HTTPConnection("127.0.0.1", person.port, timeout=30)
    try:
        cookies = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
        answers: list[http.client.HTTPResponse] = []

        def opens() -> bool:
            """Asks once."""
            connection.close()
            connection.request("GET", "/events", headers={"Cookie": cookies})
            answers.append(connection.getresponse())
            return answers[-1].status == 200

        until(opens)
        assert answers[-1].readline() == b": open\n"
        yield answers[-1]
    finally:
        connection.close()


def data(response: http.client.HTTPResponse) -> dict[str, object]:
    """The next decision."""
    body = read_stream(response, b"data: ").body
    members = json.loads(body.splitlines()[-1].removeprefix(b"data: "))
    assert isinstance(members, dict)
    return members


def ends(response: http.client.HTTPResponse) -> None:
    """The stream ends, although what it says in the meantime may go on for a while."""
    until_s = time.monotonic() + ENDS_WITHIN_S
    while response.readline():
        assert time.monotonic() < until_s, "the stream goes on"


def test_a_closed_decision_is_in_the_streams_of_those_who_may_see_it(home: House) -> None:
    """And in no other; as `GET /gateway/v1/decisions` has it."""
    billing, search, platform = (home.person(team) for team in ("billing", "search", "platform"))
    with watching(billing) as ours, watching(search) as theirs, watching(platform) as operators:
        made = home.gateway.cancel("label=a").headers["gateway-decision"]
        later = home.gateway.cancel("label=weekly", team="search").headers["gateway-decision"]
        assert data(ours)["decision_id"] == data(operators)["decision_id"] == made
        assert data(theirs)["decision_id"] == data(operators)["decision_id"] == later
        shown = home.gateway.request("GET", f"/gateway/v1/decisions/{later}", team="search").json()
    with watching(search) as theirs:
        again = home.gateway.cancel("label=weekly", team="search").headers["gateway-decision"]
        # A stream begins with what is closed after it.
        assert data(theirs).keys() == shown.keys()
        assert again != later


def test_one_may_not_have_more_than_a_few_streams_and_others_still_get_theirs(home: House) -> None:
    """One that is closed makes room."""
    billing = home.person()
    with ExitStack() as opened:
        for _ in range(OF_ONE):
            opened.enter_context(watching(billing))
        assert billing.get("/events").status == 429
        assert home.gateway.request("GET", "/gateway/v1/events").status == 429
        opened.enter_context(watching(home.person("search")))
    with watching(billing):
        pass


def test_a_stream_ends_with_its_session(home: House) -> None:
    """Within a second of the logout."""
    person = home.person()
    with watching(person) as ours:
        person.get("/me")
        person.fill("/logout")
        ends(ours)


def test_a_stream_ends_with_its_key(tmp_path: Path) -> None:
    """On both listeners; those of another key go on."""
    with house(tmp_path / "gateway") as home:
        billing, search = home.person(), home.person("search")
        with watching(billing) as ours, watching(search) as theirs, stream(home.gateway) as direct:
            path = home.gateway.setup.directory / "config.yaml"
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if "id: billing-key" not in line))
            for one in (ours, direct):
                ends(one)
            made = home.gateway.cancel("label=weekly", team="search").headers["gateway-decision"]
            assert data(theirs)["decision_id"] == made


def test_open_streams_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """They end with the process, long before its grace period does."""
    with house(tmp_path / "gateway") as home:
        person = home.person()
        with watching(person) as ours, stream(home.gateway) as direct:
            began_s = time.monotonic()
            assert home.gateway.stop() == 0
            assert time.monotonic() - began_s < 15
            assert (ours.read(), direct.read()) is not None


def test_a_thousand_connections_that_ask_for_streams_leave_cancels_alone(tmp_path: Path) -> None:
    """As many streams as there may be are open, the others are refused, and a cancel is decided all the while."""
    with house(tmp_path / "gateway") as home, ExitStack() as opened:
        teams = ("billing", "search", "platform")
        people = [home.person(team) for team in teams]
        for number in range(1000):
            person = people[number % 3]
            cookies = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", home.port), 20))
            head = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{home.port}\r\nCookie: {cookies}\r\n\r\n"
            try:
                connection.sendall(head.encode())
            except ConnectionError:
                continue
        assert home.gateway.cancel("label=a").status == 403
        streams = OF_ONE * len(teams)
        assert streams < MOST_STREAMS
        assert home.gateway.request("GET", "/gateway/v1/events", team="search").status == 429
        assert home.gateway.cancel("label=a").status == 403


def test_whoever_asks_only_for_the_head_of_a_stream_holds_none(home: House) -> None:
    """Such a request would wait for what it is not shown, and keep the place of a stream."""
    person = home.person()
    for _ in range(OF_ONE + 1):
        assert person.send("HEAD", "/events").status == 405
