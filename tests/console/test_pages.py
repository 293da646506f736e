"""What people see: their own team's, all of it as text, and nothing that the gateway's own calls would refuse."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from gateway.callers.in_force import LiveSettings
from gateway.console.app import console
from gateway.console.guard import Served
from gateway.console.sessions import Sessions
from gateway.core.forms.shown import APPROVALS, FREEZES
from gateway.files.addresses import ConsoleAt, Listen
from gateway.simulator.exchange import Fault
from gateway.simulator.runs import Run
from tests.console.people import CONSOLE, INVOICE, House, Person, forms, house
from tests.console.standing import Held, live
from tests.support.waiting import until
from tests.upstream.runs.reading import run

READ = ("/", "/decisions", "/plans", "/policies", "/freezes", "/me", "/new")
NO_ID = "01890000-0000-7000-8000-000000000000"


def applied(person: Person) -> str:
    """The path of the decision of a plan that somebody looked up and applied."""
    path = person.plan()
    person.fill(f"{path}/apply", runs="3")
    until(lambda: "What came of it" in person.get(path).body.decode())
    return str(person.text.partition('href="/decisions/')[2].partition('"')[0])


def test_a_decision_is_shown_with_its_rules_its_records_and_whether_they_verify(tmp_path: Path) -> None:
    """And a record that was changed is said to be."""
    with house(tmp_path / "gateway") as home:
        person = home.person()
        decision = applied(person)
        assert person.get(f"/decisions/{decision}").status == 200
        for words in ("billing/own decides allow admitted", "guardrails/everything", "1 of 1 sent", " verifies "):
            assert words in person.words
        for event in ("intent, record", "chunk, record", "outcome, record"):
            assert event in person.words
        assert all(hidden not in person.text for hidden in ("key id", "127.0.0.1:{home.port}", "remote"))
        [segment] = home.gateway.audit_directory.glob("*.jsonl")
        segment.write_bytes(segment.read_bytes().replace(b'"cancelled":3', b'"cancelled":2', 1))
        assert "does not verify" in person.get(f"/decisions/{decision}").body.decode()


def test_each_team_sees_its_own_and_operators_see_all(home: House) -> None:
    """Decisions, plans, files and the numbers of rules; and of another team's not even that it is there."""
    billing, search, platform = (home.person(team) for team in ("billing", "search", "platform"))
    home.gateway.cancel("label=nothing")
    home.gateway.cancel("label=weekly", team="search")
    plan = billing.plan()
    name = next(one["decision_id"] for one in home.gateway.records("denied") if one["team"] == "billing")
    for person, statuses in ((billing, (200, 200)), (search, (404, 404)), (platform, (200, 200))):
        assert (person.get(f"/decisions/{name}").status, person.get(plan).status) == statuses
    shown = {team: person.get("/decisions").body.decode() for team, person in
             (("billing", billing), ("search", search), ("platform", platform))}  # fmt: skip
    assert [("billing/billing-key" in text, "search/search-key" in text.partition("<main")[2]) for text in
            shown.values()] == [(True, False), (False, True), (True, True)]  # fmt: skip
    files = [person.get("/policies").body.decode() for person in (billing, search, platform)]
    seen = [[name in text for name in ("billing.yaml", "search.yaml", "guardrails.yaml")] for text in files]
    assert seen == [[True, False, True], [False, True, True], [True, True, True]]
    assert plan not in search.get("/plans").body.decode()
    assert plan in platform.get("/plans").body.decode()


def test_only_operators_are_offered_what_only_they_may_do(home: House) -> None:
    """And who sends the form all the same is told so, and nothing is frozen."""
    billing, platform = home.person(), home.person("platform")
    billing.get("/freezes")
    token = {"csrf": billing.text.partition('name="csrf" value="')[2].partition('"')[0]}
    assert 'action="/freezes"' not in billing.text
    assert billing.post("/freezes", {**token, "reason": "x"}).status == 403
    assert "Only principals of a team under" in billing.words
    platform.get("/freezes")
    assert "Nothing is frozen" in platform.words
    assert 'action="/freezes"' in platform.text


def test_what_is_not_there_is_told_in_words(home: House) -> None:
    """With the status that the call had."""
    person = home.person()
    for path in (f"/decisions/{NO_ID}", f"/plans/{NO_ID}", "/decisions/..", "/plans/%00", "/decisions?cursor=a"):
        assert person.get(path).status in (400, 404)
        assert "Not done" in person.words
    assert person.get("/none").status == 404
    assert person.send("DELETE", "/me").status == 405


def test_without_shared_state_the_pages_say_so(tmp_path: Path) -> None:
    """And all others work."""
    with house(tmp_path / "gateway", more=CONSOLE) as home:
        person = home.person()
        assert [person.get(path).status for path in READ] == [200] * len(READ)
        person.get("/freezes")
        assert "has no shared state" in person.words
        assert 'action="/freezes"' not in person.text
        # Looking on leaves no refusal on record.
        assert home.gateway.records("refused") == []


def test_numbers_over_time_are_those_of_the_record(tmp_path: Path) -> None:
    """Cancelled runs and refusals, as a table that charts are drawn from."""
    with house(tmp_path / "gateway") as home:
        person = home.person()
        applied(person)
        home.gateway.cancel("label=a")
        until(lambda: "3 runs cancelled, 1 request refused by policy, 2 decisions" in _overview(person))
        assert person.text.count("data-at=") == 48


def _overview(person: Person) -> str:
    person.get("/")
    return person.words


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></td><svg onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "</title><base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "&lt;script&gt;",
)
TAGS = {
    *("html", "head", "meta", "title", "link", "script", "body", "a", "header", "p", "nav", "form", "input", "span"),
    *("button", "main", "h1", "h2", "section", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "time"),
    *("dl", "dt", "dd", "details", "summary", "code", "figure", "figcaption", "noscript", "label", "progress", "pre"),
    *("article", "strong", "select", "option"),
}


class Tags(HTMLParser):
    """Fails at a tag or an attribute that no template has, and at an address that is not the console's own."""

    @staticmethod
    def token(page: str) -> str:
        """The token of the form of a page."""
        return page.partition('name="csrf" value="')[2].partition('"')[0]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Looks at one tag."""
        assert tag in TAGS, self.get_starttag_text()
        for name, value in attrs:
            assert not name.startswith("on"), self.get_starttag_text()
            assert name != "style", self.get_starttag_text()
            if name in ("href", "src", "action", "hx-get"):
                assert (value or "").startswith(("/", "#", "?")), self.get_starttag_text()
                assert not (value or "").startswith("//"), self.get_starttag_text()
        if tag == "script":
            assert dict(attrs).get("src"), self.get_starttag_text()


def check(person: Person) -> str:
    """The page that is open has the tags of the templates only."""
    assert person.page.headers["content-type"] == "text/html; charset=utf-8"
    parser = Tags()
    parser.feed(person.text)
    parser.close()
    return person.text


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_caller_writes_is_text_on_every_page(home: House, text: str) -> None:
    """Labels, URLs, reasons, requests, freezes, names in paths and queries: none becomes markup."""
    person, platform = home.person(), home.person("platform")
    denied = home.gateway.request("DELETE", "/v2/workflows/runs?label=weekly", headers={"Gateway-Reason": text})
    assert denied.status == 403
    person.get("/new")
    person.fill("/new", url=text, label=text, count=text, reason=text, hours=text)
    check(person)
    person.get("/policies")
    person.fill("/policies/explain", request=text)
    check(person)
    platform.get("/freezes")
    platform.fill("/freezes", reason=text, team=text, rule=text, until=text)
    check(platform)
    platform.get("/freezes")
    platform.fill("/freezes", reason=text, team="search")
    platform.follow()
    check(platform)
    for action in [action for action in forms(platform.page) if action.endswith("/thaw")]:
        platform.get("/freezes")
        platform.fill(action)
    queries = (f"/?since={quote(text)}", f"/decisions?cursor={quote(text)}", f"/plans/{quote(text, safe='')}")
    for one in (person, platform):
        for path in (*READ, *queries, f"/decisions/{denied.headers['gateway-decision']}"):
            one.get(path)
            check(one)
    stranger = home.person(None)
    stranger.log_in(text)
    check(stranger)


def test_what_qstash_says_is_text_on_every_page(tmp_path: Path) -> None:
    """The text of its errors, and labels that no run should have: such a run is not shown at all."""
    runs = [run(1), Run("wfr_2", INVOICE, run(2).created_ms, labels=(HOSTILE[0],))]
    with house(tmp_path / "gateway", runs=runs) as home:
        person = home.person()
        path = person.plan()
        assert "Left out, unreadable" in person.words
        check(person)
        home.account.script(Fault(status=403, body=json.dumps({"error": HOSTILE[1]})))
        person.fill(f"{path}/apply", runs="1")
        until(lambda: "What came of it" in person.get(path).body.decode())
        assert "onerror" in check(person)
        person.get("/decisions")
        check(person)


def made_hostile(value: object, text: str) -> object:
    """The value with the text in the place of every text, and of every name that is data."""
    match value:
        case str():
            return text
        case list():
            return [made_hostile(one, text) for one in value]
        case dict():
            data = "by_" if any(name.startswith("http") for name in value) else ""
            return {(text if data else name): made_hostile(one, text) for name, one in value.items()}
    return value


@pytest.mark.parametrize("text", HOSTILE)
async def test_whatever_the_gateways_own_calls_answer_is_text_on_every_page(tmp_path: Path, text: str) -> None:
    """Also where they would never say it: escaping rests on no other module's checks."""
    with house(tmp_path / "gateway") as home:
        person = home.person()
        decision = applied(person)
        plan = person.plan()
        home.gateway.request("POST", "/gateway/v1/freezes", team="platform", body=b'{"reason": "x"}',
                             headers={"Content-Type": "application/json"})  # fmt: skip
        fixed = ("/gateway/v1/whoami", "/gateway/v1/decisions", "/gateway/v1/plans", "/gateway/v1/freezes", APPROVALS)
        paths = [*fixed, "/gateway/v1/counts", "/gateway/v1/policies", "/readyz", f"/gateway/v1{plan}"]
        paths += [f"/gateway/v1/decisions/{decision}{more}" for more in ("", "/record")]
        real = {path: home.gateway.request("GET", path, team="platform").json() for path in paths}

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what was answered before, with the text everywhere."""
        body = json.dumps(made_hostile(real[scope["path"]], text)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    served = Served.at(ConsoleAt(Listen("127.0.0.1", 82)), 82, tls=False)
    pages = console(edge, Sessions(LiveSettings(live("key")), Held()), served, frozenset((FREEZES, APPROVALS)))
    base = "http://127.0.0.1:82"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url=base) as client:
        token = Tags.token((await client.get("/login")).text)
        await client.post("/login", data={"csrf": token, "key": "key"}, headers={"Origin": base})
        for path in (*READ, plan, f"/decisions/{decision}"):
            page = await client.get(path)
            assert page.status_code == 200, (path, page.text)
            Tags().feed(page.text)


@pytest.mark.parametrize("operator", [False, True])
@pytest.mark.parametrize("state", ["looking", "failed", "expired"])
async def test_a_plan_of_which_little_is_known_is_listed(state: str, *, operator: bool) -> None:
    """One that has expired has no rule and no runs any more, and hides none of the others."""

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        """Knows of one such plan."""
        plans = [{"plan": "01890000-0000-7000-8000-00000000000a", "state": state, "expires_in_s": 0}]
        body = json.dumps({"operator": operator, "principal": "billing/ann", "plans": plans, "approvals": []}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    served = Served.at(ConsoleAt(Listen("127.0.0.1", 82)), 82, tls=False)
    pages = console(edge, Sessions(LiveSettings(live("key")), Held()), served, frozenset((FREEZES, APPROVALS)))
    base = "http://127.0.0.1:82"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url=base) as client:
        token = Tags.token((await client.get("/login")).text)
        await client.post("/login", data={"csrf": token, "key": "key"}, headers={"Origin": base})
        page = await client.get("/plans")
    assert (page.status_code, "01890000-0000-7000-8000-00000000000a" in page.text) == (200, True), page.text
