"""Event streams over real connections."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.gateway import Answer, RunningGateway

EVENTS = "/gateway/v1/events"


@contextmanager
def stream(gateway: RunningGateway, team: str = "billing") -> Iterator[http.client.HTTPResponse]:
    """An open stream; its head has come, and so has its first line, so what is closed from now on is in it."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    try:
        connection.request("GET", EVENTS, headers={"Authorization": f"Bearer {gateway.key(team)}"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.readline() == b": open\n"
        yield response
    finally:
        connection.close()


def read_stream(response: http.client.HTTPResponse, wanted: bytes) -> Answer:
    """What a stream says up to a line that begins so; fails where it ends before."""
    body = b""
    while True:
        line = response.readline()
        assert line, body
        body += line
        if line.startswith(wanted):
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
