"""Somebody who uses the console without a script: pages are asked for and forms are sent, over a real socket."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

from gateway.simulator.core import Simulator
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup
from tests.upstream.runs.reading import run

CONSOLE = 'console: {listen: "127.0.0.1:0"}\n'
STATE = 'state: {url: "sqlite:state.db"}\noperators: {teams: [platform]}\n'
INVOICE = "https://billing.example.com/api/invoice"
POLICY = f"""\
version: 1
name: billing
teams: [billing]
allow:
  - {{id: own, workflowUrl: {{exact: ["{INVOICE}"]}}, resolve: true, runs: {{max: 100}}}}
"""
WATCHED = POLICY.replace("runs: {max: 100}", "runs: {max: 100}, approve: {by: [platform]}")
GUARDRAILS = """\
version: 1
name: guardrails
teams: ["*"]
deny:
  - {id: everything, selects: [everything], message: "Name the runs."}
"""
OTHERS = """\
version: 1
name: search
teams: [search]
allow:
  - {id: secret-rule, label: {any_of: [nightly]}}
"""


def console_port(gateway: RunningGateway) -> int:
    """The port of the console, as the gateway says it."""
    lines = [json.loads(line) for line in gateway.stderr().splitlines() if line.startswith("{")]
    said = [line["console"] for line in lines if line.get("event") == "serving"]
    return int(said[-1].rpartition(":")[2])


class _Forms(HTMLParser):
    """The hidden fields of each form of a page, by its action."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self._now: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes forms and their hidden fields."""
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._now = self.forms.setdefault(found.get("action", ""), {})
        elif tag == "input" and found.get("type") == "hidden":
            self._now[found["name"]] = found.get("value", "")


def forms(page: Answer) -> dict[str, dict[str, str]]:
    """The hidden fields of each form of a page."""
    parser = _Forms()
    parser.feed(page.body.decode())
    return parser.forms


@dataclass
class Person:
    """A browser's worth: cookies, and the page that is open."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    page: Answer = field(default_factory=lambda: Answer(0, {}, b""))

    @property
    def origin(self) -> str:
        """The origin of the console's pages."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """One request with the cookies there are; what it sets is kept."""
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **(headers or {})}
        address, timeout_s = "127.0.0.1", 20
        if self.tls is None:
            connection = http.client.HTTPConnection(address, self.port, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(address, self.port, timeout=timeout_s, context=self.tls)
        try:
            connection.request(method, path, body=body or None, headers={k: v for k, v in sent.items() if v})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        self.told = response.headers.get_all("set-cookie") or []
        for value in self.told:
            name, _, rest = value.partition("=")
            self.cookies[name] = rest.partition(";")[0]
            if "Max-Age=0" in rest:
                del self.cookies[name]
        told = {name.lower(): value for name, value in response.getheaders()}
        self.page = Answer(response.status, told, content)
        return self.page

    def get(self, path: str) -> Answer:
        """A page."""
        return self.send("GET", path)

    def fill(self, action: str, headers: Mapping[str, str] | None = None, **fields: str) -> Answer:
        """Sends a form of the page that is open."""
        hidden = forms(self.page)[action]
        return self.post(action, {**hidden, **fields}, headers)

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """Sends a form."""
        sent = {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self.send("POST", path, urlencode(fields).encode(), sent)

    def log_in(self, key: str) -> Answer:
        """The login, as a browser does it."""
        self.get("/login")
        return self.fill("/login", key=key)

    def follow(self) -> Answer:
        """Goes where the last answer leads."""
        assert self.page.status == 303, self.page
        return self.get(self.page.headers["location"])

    def plan(self, **asked: str) -> str:
        """Has runs looked up, as the form asks for them, and opens the page of the plan; its path."""
        self.get("/new")
        self.fill("/new", None, url=INVOICE, **asked)
        self.follow()
        return next(action.removesuffix("/stop") for action in forms(self.page) if action.endswith("/stop"))

    @property
    def text(self) -> str:
        """The page that is open, as it came."""
        return self.page.body.decode()

    @property
    def words(self) -> str:
        """The page without its markup, with single spaces."""
        return " ".join(re.sub(r"<[^>]*>", " ", self.text).split())


@dataclass
class House:
    """A gateway with a console, the account behind it, and people."""

    gateway: RunningGateway
    account: Simulator
    port: int

    def person(self, team: str | None = "billing") -> Person:
        """Somebody of a team who is logged in; of none, somebody who is not."""
        person = Person(self.port)
        if team is not None:
            assert person.log_in(self.gateway.key(team)).status == 303, person.page
        return person


@contextmanager
def house(
    directory: Path,
    *,
    more: str = CONSOLE + STATE,
    runs: Sequence[Run] | int = 3,
    policy_max: int = 100,
    policy: str = POLICY,
    **setup: object,
) -> Iterator[House]:
    """A gateway with three teams, one of them operators; the account has runs of the invoice workflow."""
    account = Simulator([run(number) for number in range(1, runs + 1)] if isinstance(runs, int) else runs)
    directory.mkdir(parents=True, exist_ok=True)
    with SimulatorServer(account, token=REAL_TOKEN, read_token=READ_TOKEN) as upstream:
        made = Setup(
            upstream.url,
            directory,
            policies={
                "billing.yaml": policy.replace("max: 100", f"max: {policy_max}"),
                "guardrails.yaml": GUARDRAILS,
                "search.yaml": OTHERS,
            },
            teams=("billing", "search", "platform"),
            upstream=", read_token: {file: read-token}",
            more=more,
            **setup,  # type: ignore[arg-type]
        )
        with RunningGateway(made) as gateway:
            yield House(gateway, account, console_port(gateway))
