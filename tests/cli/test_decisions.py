"""`decisions`: what became of a team's requests, in plain words, with every ID whole."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.fake_gateway import DECIDED, DECISION_ID, FakeGateway, Said, decision, fake_gateway
from tests.cli.running import Done, command, ended
from tests.cli.terminal import on_terminal
from tests.support.forked import COMMAND

LIST = "GET /gateway/v1/decisions?limit=20"
SETTLED = {"at": "2026-11-23T15:27:40.000002Z", "source": "read_back", "cancelled": 1}


def environment(fake: FakeGateway) -> dict[str, str]:
    return {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}


def decisions(fake: FakeGateway, *words: str) -> Done:
    return command("decisions", *words, env=environment(fake))


def listed(*shown: dict[str, object]) -> Said:
    return (200, {"decisions": [*shown], "cursor": ""})


def test_the_newest_decisions_are_listed() -> None:
    """When, which, what came of it; who, under which rule, why, and what was asked."""
    done_well = decision("cancelled", cancelled=137)
    with fake_gateway({LIST: [listed(done_well, decision("denied", rule=None, reason=None))]}) as fake:
        done = decisions(fake)
    asked = "workflowUrl=https://a.example/x&workflowUrlExactMatch=true&count=100"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"2026-11-23T15:27:10Z  {DECISION_ID}  137 runs",
        f"  billing/ann  billing/own  stuck since noon  {asked}",
        f"2026-11-23T15:27:10Z  {DECISION_ID}  denied",
        f"  billing/ann  {asked}",
    ]


def test_one_decision_is_shown_with_all_its_members() -> None:
    """Also one that this command does not know yet; what came of it stands last."""
    shown = decision("unknown", upstream_status=504, over_cancelled=0, settled=SETTLED, something_new={"a": 1})
    with fake_gateway({DECIDED: [(200, shown)]}) as fake:
        done = decisions(fake, DECISION_ID)
    rows = dict(re.split(r" {2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert rows["decision"] == DECISION_ID
    assert rows["orders"] == "1 of 2 sent"
    assert rows["QStash"] == "answered with status 504"
    assert rows["settled"] == "1 run cancelled, looked up at 2026-11-23T15:27:40Z (read_back)"
    assert '{"a": 1}' in rows["something_new"]
    assert done.stdout.splitlines()[-1] == "came of it  1 run cancelled"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("denied", "refused by policy, nothing was sent"),
        ("in_flight", "under way, not known yet what comes of it"),
        ("accepted", "QStash works on it in the background, not known yet how many runs"),
        ("refused", "QStash refused it, nothing was cancelled"),
        ("not_sent", "nothing was sent"),
        ("unknown", "not known what came of it"),
        ("cancelled", "no run was cancelled"),
        ("new-word", "new-word"),
    ],
)
def test_every_state_is_said_in_plain_words(state: str, says: str) -> None:
    """One that this command does not know stands as it is."""
    with fake_gateway({DECIDED: [(200, decision(state, cancelled=0 if state == "cancelled" else None))]}) as fake:
        done = decisions(fake, DECISION_ID)
    assert done.stdout.splitlines()[-1] == f"came of it  {says}"


def test_what_is_certain_of_an_unknown_outcome_is_said() -> None:
    """A part of its orders was answered."""
    with fake_gateway({DECIDED: [(200, decision("unknown", cancelled=100))]}) as fake:
        done = decisions(fake, DECISION_ID)
    assert done.stdout.splitlines()[-1] == (
        "came of it  not known what came of it; 100 runs cancelled for certain so far"
    )


def test_json_is_what_the_gateway_answered() -> None:
    """One object; the list, or the decision."""
    with fake_gateway({LIST: [listed(decision("denied"))], DECIDED: [(200, decision("denied"))]}) as fake:
        every, one = decisions(fake, "--json"), decisions(fake, DECISION_ID, "--json")
    assert json.loads(every.stdout) == {"decisions": [decision("denied")]}
    assert json.loads(one.stdout) == decision("denied")


def test_so_many_as_were_asked_for() -> None:
    """`--limit` goes to the gateway; none is no failure."""
    with fake_gateway({"GET /gateway/v1/decisions?limit=3": [listed()]}) as fake:
        done = decisions(fake, "--limit", "3")
    assert (done.returncode, done.stdout) == (0, "No decisions of your team are known to this gateway.\n")


def test_decisions_are_listed_however_long_their_requests_were() -> None:
    """A hundred, each about as many run IDs as a request can name, are far above a megabyte."""
    request = {"workflowRunIds": [f"wfr_{at:0116}" for at in range(1000)]}
    with fake_gateway({f"{LIST[:-2]}100": [listed(*[decision("denied", request=request)] * 100)]}) as fake:
        done = decisions(fake, "--limit", "100", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["decisions"]) == 100


def test_a_list_that_is_lost_is_a_failure_and_one_that_was_enough_is_none() -> None:
    """It is run for its output: a full disk is exit code 1, a reader that has left 0."""
    with fake_gateway({LIST: [listed(decision("denied"))]}) as fake:
        for redirected, code in ((">/dev/full", 1), ("| true", 0)):
            line = f'exec "$@" {redirected}' if ">" in redirected else f'"$@" {redirected}'
            done = ended(["sh", "-c", line, "sh", *COMMAND, "decisions"], env=environment(fake))
            assert (done.returncode, "Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize("words", [("x",), ("../whoami",), ("--limit", "0"), ("--limit", "1e3"), ("--limit", "101")])
def test_what_is_no_id_or_number_is_sent_nowhere(words: tuple[str, ...]) -> None:
    """Exit code 2."""
    with fake_gateway({}) as fake:
        assert decisions(fake, *words).returncode == 2
    assert fake.calls == []


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ((404, {"error": "No such decision of your team.", "code": "not_found"}), "No such decision of your team."),
        ((200, b"<html>"), "No decisions: the answer with status 200 is not one of a gateway."),
        ((200, {"state": "denied"}), "No decisions: the answer is not one of a gateway."),
        ((500, b""), "No decisions: the answer with status 500 is not one of a gateway."),
    ],
)
def test_what_cannot_be_shown_is_said(said: Said, says: str) -> None:
    """Exit code 1, on standard error."""
    with fake_gateway({DECIDED: [said]}) as fake:
        done = decisions(fake, DECISION_ID)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{says}\n")


def test_no_sign_of_a_decision_moves_a_terminal_and_no_id_is_broken() -> None:
    """A reason is what a person wrote."""
    long = "wfr_" + "a1" * 50
    shown = decision("cancelled", cancelled=1, reason="\x1b[2J\u202e", request={"workflowRunIds": [long, long]})
    with fake_gateway({LIST: [listed(shown)], DECIDED: [(200, shown)]}) as fake:
        for words in ((), (DECISION_ID,)):
            with on_terminal("decisions", *words, env=environment(fake), columns=80) as running:
                assert running.exit_code() == 0
                lines = running.seen.replace("\r", "").split("\n")
            assert "\x1b" not in running.seen
            assert sum(len(re.findall(long, line)) for line in lines) == 2
            assert any(DECISION_ID in line for line in lines)
            assert all(len(line) <= 80 or long in line for line in lines)
