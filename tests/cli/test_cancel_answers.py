"""`cancel`, where the gateway or what stands before it answers badly: nothing is sent twice, and no doubt is hidden."""

from __future__ import annotations

import json
import socket

import pytest

from gateway.core.forms.shown import Left, skipped_in
from tests.cli.fake_gateway import APPLIED, ASKED, PLAN_ID, SEEN, FakeGateway, Said, fake_gateway, plan
from tests.cli.running import Done, command

KEY = "qgk_ann_made-up-key-of-this-test"


def cancel(fake: FakeGateway, *arguments: str, **environment: str) -> Done:
    """Cancels, without a question, what the fake says there is."""
    env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": KEY, **environment}
    return command("cancel", "--label", "a", "--yes", *arguments, env=env)


def test_a_look_up_that_takes_long_is_waited_for() -> None:
    """202, still looking, then the plan."""
    looking = plan("looking")
    says: dict[str, list[Said]] = {
        ASKED: [(202, looking)],
        SEEN: [(200, looking), (200, plan())],
        APPLIED: [(200, {"cancelled": 1})],
    }
    with fake_gateway(says, Gateway_Decision="d", Gateway_Skipped='finished=("wfr_b" "wfr_c");n=2') as fake:
        done = cancel(fake)
    assert done.returncode == 0, done.stderr
    assert "Left out: 2 runs already finished: wfr_b, wfr_c\n" in done.stdout
    assert done.stdout.endswith("1 run cancelled, under decision d.\n")
    assert fake.authorizations == {f"Bearer {KEY}"}


@pytest.mark.parametrize("state", ["refused", "failed"])
def test_a_look_up_that_ends_without_a_plan_is_a_refusal(state: str) -> None:
    """Its sentence is shown, and nothing applied."""
    ended = plan(state, error="More than 200 runs.", rule="a/own")
    with fake_gateway({ASKED: [(202, plan("looking"))], SEEN: [(200, ended)]}) as fake:
        done = cancel(fake)
    assert (done.returncode, done.stderr) == (1, "More than 200 runs.\nRefused by a/own.\n")
    assert APPLIED not in fake.calls


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((0, b""), id="hung-up"),
        pytest.param((504, b"<html>gateway time-out</html>"), id="proxy-gave-up"),
        pytest.param((200, {"cancelled": -1}), id="no-number"),
        pytest.param((200, b'{"cancelled": 1'), id="half-an-answer"),
        pytest.param((302, b""), id="redirect"),
    ],
)
def test_a_lost_answer_is_called_unknown_and_not_asked_for_again(answer: tuple[int, object]) -> None:
    """Exit code 1, the plan and how it stands; applied once."""
    seen = plan("applying", cancelled=1)
    with fake_gateway({ASKED: [(201, plan())], SEEN: [(200, seen)], APPLIED: [answer]}, Location="/elsewhere") as fake:
        done = cancel(fake, "--wait", "1s")
        told = json.loads(cancel(fake, "--json", "--wait", "1s").stdout)
    assert done.returncode == 1
    assert done.stderr.startswith("Not known what came of it: ")
    assert "The plan is applying, 1 run cancelled for certain so far." in done.stderr
    assert f"\nLook at it: qstash-gateway cancel --plan {PLAN_ID}\n" in done.stderr
    assert (told["outcome"], told["plan"]["plan"], told["result"]) == ("unknown", PLAN_ID, None)
    assert fake.calls.count(APPLIED) == 2  # once for each command
    assert not any("elsewhere" in call for call in fake.calls)


def test_an_outcome_that_the_gateway_does_not_know_is_unknown_here() -> None:
    """Its own words, exit code 1."""
    problem = {"error": "Stopped in the middle.", "code": "outcome_unknown", "decision_id": "d"}
    with fake_gateway({ASKED: [(201, plan())], APPLIED: [(504, problem)]}) as fake:
        told = json.loads(cancel(fake, "--json").stdout)
        done = cancel(fake)
    assert (told["outcome"], told["problem"]) == ("unknown", problem)
    assert (done.returncode, done.stderr) == (1, "Stopped in the middle.\nDecision d.\n")


@pytest.mark.parametrize("said", [(200, b"hello"), (200, {"plan": "../../v2/messages", "state": "ready"}), (301, b"")])
def test_what_is_no_gateway_gets_no_second_request(said: tuple[int, object]) -> None:
    """A web page, a plan whose ID would lead elsewhere, a redirect."""
    with fake_gateway({ASKED: [said]}, Location="/elsewhere") as fake:
        done = cancel(fake)
    assert (done.returncode, fake.calls) == (1, [ASKED])
    assert done.stderr.endswith("is not one of a gateway. Nothing was cancelled.\n")


def test_a_gateway_that_is_not_there() -> None:
    """Exit code 1; certainly nothing was cancelled."""
    with fake_gateway({}) as fake:
        pass
    done = cancel(fake)
    assert done.returncode == 1
    assert done.stderr.startswith(f"No plan: no connection to {fake.url}")
    assert "Nothing was cancelled." in done.stderr


def test_the_key_goes_through_no_proxy() -> None:
    """Whatever the environment says."""
    with socket.create_server(("127.0.0.1", 0)) as proxy, fake_gateway({ASKED: [(201, plan(runs=0))]}) as fake:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        done = cancel(fake, HTTP_PROXY=address, http_proxy=address, ALL_PROXY=address, NO_PROXY="", no_proxy="")
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert (done.returncode, fake.calls) == (0, [ASKED])


def test_no_text_of_a_gateway_moves_the_terminal() -> None:
    """Control characters come out as their names, markup as it stands."""
    evil = plan(by_workflow={"\x1b[2J\x07[red]x[/red]": 1})
    with fake_gateway({ASKED: [(201, evil)], APPLIED: [(403, {"error": "\x1b]0;x\x07 no", "code": "c"})]}) as fake:
        done = cancel(fake, FORCE_COLOR="1")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert "\\x1b[2J\\x07[red]x[/red]" in done.stdout
    assert done.stderr == "\\x1b]0;x\\x07 no\n"


def test_no_encoding_of_the_terminal_stops_it_halfway() -> None:
    """A sign that cannot be written comes out as its code; what was done is still said."""
    shown = plan(by_workflow={"https://a.example/\u2026": 1})
    with fake_gateway({ASKED: [(201, shown)], APPLIED: [(200, {"cancelled": 1})]}, Gateway_Decision="d") as fake:
        done = cancel(fake, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "https://a.example/\\u2026" in done.stdout


def test_what_was_skipped_is_read_from_its_structured_field() -> None:
    """Reasons in turn, each with the IDs it names and how many there are."""
    header = 'young=("wfr_a" "wfr_b");n=7, unreadable=("?" "a\\"b");n=2, finished=();n=0'
    assert skipped_in(header) == {
        "young": Left(7, ("wfr_a", "wfr_b")),
        "unreadable": Left(2, ("?", 'a"b')),
        "finished": Left(0),
    }
    assert skipped_in("") == {}


def test_a_lowered_count_is_said_with_the_rule_that_lowered_it() -> None:
    """Below the runs; a count that nobody gave is said to be the default."""
    for asked, said in ((500, "from 500 to 50"), (100, "from 100 (without --count that many are asked for) to 50")):
        lowered = plan(narrowed={"count": [asked, 50], "by": "guardrails/count-cap"})
        with fake_gateway({ASKED: [(201, lowered)]}) as fake:
            done = cancel(fake, "--dry-run")
        assert f"policy lowered the count {said}: rule guardrails/count-cap\n" in done.stdout


def test_what_one_look_up_takes_at_most_is_said_with_the_rule() -> None:
    """With or without a lowered count."""
    lowered = plan(narrowed={"runs": [2000, 500], "by": "billing/own"})
    with fake_gateway({ASKED: [(201, lowered)]}) as fake:
        done = cancel(fake, "--dry-run")
    assert "policy takes at most 500 of 2000 runs at once: rule billing/own\n" in done.stdout
    assert "policy lowered" not in done.stdout


ALL_THERE = "2026-11-24T12:00:00.000Z"


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (
            {"runs": 40, "requests": 9, "resets_at": ALL_THERE},
            "any 24h; all of it is there again at 2026-11-24T12:00:00Z\n",
        ),
        (
            {"runs": 0, "requests": 9, "resets_at": ALL_THERE},
            "any 24h, which is not enough for this plan; all of it",
        ),
        (
            {"runs": 40, "requests": 0, "resets_at": ALL_THERE},
            "40 of 500 runs and 0 of 10 requests are left of the rule's budget of your team for any 24h, which is not",
        ),
        (None, "what is left of the rule's budget of your team for any 24h is not known now"),
    ],
    ids=["enough", "too few runs", "no request", "not known"],
)
def test_what_is_left_of_the_budget_is_said_before_anything_is_cancelled(left: object, said: str) -> None:
    """In words, and whether it suffices for the plan; also that the gateway does not know it."""
    budget = {"runs": 500, "requests": 10, "per": "24h", "shared": "team", "left": left}
    with fake_gateway({ASKED: [(201, plan(budget=budget))]}) as fake:
        done = cancel(fake, "--dry-run")
    assert said in done.stdout
    assert done.returncode == 0


def test_what_was_cancelled_beyond_what_was_sent_is_said() -> None:
    """Exit code 0, since what was asked for was done, and a sentence that sends to the operators."""
    says: dict[str, list[Said]] = {ASKED: [(201, plan())], APPLIED: [(200, {"cancelled": 70})]}
    with fake_gateway(says, Gateway_Decision="d", Gateway_Over_Cancelled="69") as fake:
        done, program = cancel(fake), cancel(fake, "--json")
    assert done.returncode == 0
    assert "QStash cancelled 69 runs more than were sent to it: tell the operators.\n" in done.stdout
    assert json.loads(program.stdout)["result"]["over_cancelled"] == 69


@pytest.mark.parametrize(
    ("skipped", "over", "end"),
    [
        ('beyond_count=("wfr_b" "wfr_c");n=26', "0", "d. 26 runs beyond the count are left: run the command again."),
        ('finished=("wfr_b");n=1, beyond_count=("wfr_c");n=1', "0",
         "d. 1 run beyond the count is left: run the command again."),
        ('beyond_count=("wfr_b");n=1', "1", "d. QStash cancelled 1 run more than were sent to it: tell the operators."),
        ("beyond_count=();n=0", "0", "d."),
        ('young=("wfr_b");n=1', "0", "d."),
    ],
)  # fmt: skip
def test_the_last_line_says_that_a_part_is_no_whole(skipped: str, over: str, end: str) -> None:
    """Runs beyond the count are cancelled by the same command again; those left out for another reason are not."""
    says: dict[str, list[Said]] = {ASKED: [(201, plan())], APPLIED: [(200, {"cancelled": 1})]}
    headers = {"Gateway_Decision": "d", "Gateway_Skipped": skipped, "Gateway_Over_Cancelled": over}
    with fake_gateway(says, None, **headers) as fake:
        done, program = cancel(fake), cancel(fake, "--json")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"1 run cancelled, under decision {end}")
    assert json.loads(program.stdout)["sentence"] == f"1 run cancelled, under decision {end}"


def test_the_labels_are_not_taken_for_a_sum() -> None:
    """A run with two labels counts for both, and the head of the table says so."""
    shown = plan(runs=1, by_label={"batch": 1, "nightly": 1})
    with fake_gateway({ASKED: [(201, shown)]}) as fake:
        done = cancel(fake, "--dry-run")
    rows = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines()]
    assert ["Label (a run may have several)", "Runs"] in rows
    assert [row for row in rows if row[0] in ("batch", "nightly")] == [["batch", "1"], ["nightly", "1"]]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("Gateway-Reason", None, "Say why with --reason TEXT."),
        ("workflowUrlExactMatch", None, "Write --url in place of --prefix."),
        ("count", "500", "Ask for fewer with --count N."),
        ("label", None, "Add --label L."),
        ("label", "weekly", None),
        ("callerIp", None, None),
        (7, [], None),
    ],
)
def test_a_refusal_names_the_option(field: object, value: object, said: str | None) -> None:
    """What a header or a field is to a program, an option is to a person at this command."""
    problem = {"error": "Rule g/r requires it.", "code": "policy_denied", "rule": "g/r",
               "not_admitted": {"rule": "g/r", "field": field, "value": value}}  # fmt: skip
    with fake_gateway({ASKED: [(403, problem)]}) as fake:
        done = cancel(fake)
    first = "Rule g/r requires it." if said is None else f"Rule g/r requires it. {said}"
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, first)
