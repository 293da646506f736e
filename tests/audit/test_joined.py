"""Records of one decision are read as one: each is counted once, and answers to the caller who began it."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.audit.decisions.joined import Held, Owner, Owners, RecordedDecision
from gateway.audit.evidence import decisions
from gateway.audit.evidence.decisions import DecisionStats
from gateway.cli.audit.show import human_line, json_line

Members = dict[str, object]


def intent(decision_id: str, principal: str = "billing/ci") -> Members:
    """The beginning of a decision."""
    team = principal.partition("/")[0]
    return {"event": "intent", "decision_id": decision_id, "team": team, "principal": principal, "rule": f"{team}/own"}


def outcome(decision_id: str, name: str, cancelled: int | None = None, **more: object) -> Members:
    """Its end."""
    return {"event": "outcome", "decision_id": decision_id, "outcome": name, "cancelled": cancelled, **more}


def chunk(decision_id: str, name: str, cancelled: int | None) -> Members:
    """One order of several."""
    return {"event": "chunk", "decision_id": decision_id, "outcome": name, "cancelled": cancelled}


def settled(decision_id: str, cancelled: int | None) -> Members:
    """What was learnt later."""
    return {"event": "settled", "decision_id": decision_id, "cancelled": cancelled, "source": "read_back"}


def counted(records: Sequence[Members]) -> DecisionStats:
    """The statistics of a record."""
    stats = DecisionStats()
    for members in records:
        stats.add(members)
    return stats


def several(decision_id: str, orders: Sequence[int]) -> list[Members]:
    """A decision of several orders, all carried out."""
    parts = [chunk(decision_id, "cancelled", number) for number in orders]
    return [intent(decision_id), *parts, outcome(decision_id, "cancelled", sum(orders))]


def interrupted(decision_id: str, orders: Sequence[int]) -> list[Members]:
    """A decision whose last order is not known: what is certain is named."""
    parts = [chunk(decision_id, "cancelled", number) for number in orders]
    progress = {"cancelled": sum(orders), "unsent": [], "unknown": ["wfr_a"]}
    last = chunk(decision_id, "unknown", None)
    return [intent(decision_id), *parts, last, outcome(decision_id, "unknown", progress=progress)]


def killed(decision_id: str, orders: Sequence[int]) -> list[Members]:
    """A decision whose process died: its parts are all that is known."""
    parts = [chunk(decision_id, "cancelled", number) for number in orders]
    return [intent(decision_id), *parts, outcome(decision_id, "unknown", cause="recovered")]


HISTORIES = st.one_of(
    st.builds(lambda orders: (several, orders, None, sum(orders)), st.lists(st.integers(0, 100), max_size=4)),
    st.builds(
        lambda orders, later: (interrupted, orders, later, max(sum(orders), later or 0)),
        st.lists(st.integers(0, 100), max_size=4),
        st.none() | st.integers(0, 500),
    ),
    st.builds(lambda orders: (killed, orders, None, sum(orders)), st.lists(st.integers(0, 100), max_size=4)),
)


@given(st.lists(HISTORIES, max_size=8), st.randoms(use_true_random=False))
def test_the_sum_is_what_upstream_cancelled(histories: list, random: object) -> None:
    """Parts are no addition to their whole, and what was settled takes its place, however decisions are interleaved."""
    waiting = []
    for number, (kind, orders, later, _) in enumerate(histories):
        records = kind(str(number), orders)
        waiting.append(records + ([settled(str(number), later)] if kind is interrupted else []))
    mixed: list[Members] = []
    while any(waiting):
        mixed.append(random.choice([one for one in waiting if one]).pop(0))  # type: ignore[attr-defined]
    stats = counted(mixed)
    assert stats.cancelled == sum(truth for *_, truth in histories)
    assert sum(stats.outcomes.values()) == stats.teams["billing"] == stats.rules["billing/own"] == len(histories)
    assert stats.strays == 0


def test_a_tracked_action_counts_once_with_its_last_number() -> None:
    """Under 2026-09 the answer has a number and an action; the action's total is the true one."""
    records = [intent("a"), outcome("a", "cancelled", 50, action_id="ba_1"), settled("a", 71)]
    assert counted(records).cancelled == 71
    assert counted(records[:2]).cancelled == 50
    assert counted([*records[:2], settled("a", None)]).cancelled == 50


def shown(records: Sequence[Members]) -> object:
    """How many runs a decision says are cancelled."""
    decision = RecordedDecision("a")
    for members in records:
        decision.take(members)
    return decision.members()["cancelled"]


def test_a_read_back_lowers_no_certain_number() -> None:
    """It counts ordered runs only: QStash may have said of an order that it cancelled more. A total replaces any."""
    records = interrupted("a", [250])
    for read, certain in [(None, 250), (0, 250), (100, 250), (251, 251)]:
        assert shown([*records, settled("a", read)]) == certain
        assert counted([*records, settled("a", read)]).cancelled == certain
        assert shown([*killed("a", [250]), settled("a", read)]) == certain
    total = {**settled("a", 100), "source": "bulk_action"}
    assert shown([intent("a"), outcome("a", "cancelled", 250, action_id="ba_1"), total]) == 100


@pytest.mark.parametrize("progress", [{}, {"progress": {"cancelled": 0, "unsent": [], "unknown": ["wfr_a"]}}])
def test_what_nobody_knows_is_not_said_to_be_none(progress: Members) -> None:
    """Nothing is certain and the reading back learnt nothing: that is null. Zero is said where it was counted."""
    records = [intent("a"), {**outcome("a", "unknown"), **progress}]
    assert shown(records) is None
    assert shown([*records, settled("a", None)]) is None
    assert shown([*records, settled("a", 0)]) == 0
    assert shown([intent("a"), outcome("a", "not_sent")]) == 0


@pytest.mark.parametrize(
    ("orders", "status", "state"),
    [
        ([], None, "not_sent"),
        ([("not_sent", None)], None, "not_sent"),
        ([("refused", None)], None, "refused"),
        ([("cancelled", 0)], 200, "cancelled"),
        ([("cancelled", 100), ("refused", None)], 200, "cancelled"),
    ],
    ids=["before-the-first", "not-sent", "refused", "none-of-it-ran", "after-one"],
)
def test_a_stopped_plan_is_said_to_have_cancelled_only_if_an_order_was_carried_out(
    orders: Sequence[tuple[str, int | None]], status: int | None, state: str
) -> None:
    """Its outcome is always `cancelled`, whatever was sent; the decision says what came of it."""
    done = sum(runs or 0 for _, runs in orders)
    end = outcome("a", "cancelled", done, upstream_status=status, over_cancelled=0, stopped_by="billing/ann")
    decision = RecordedDecision("a")
    for members in [intent("a"), *(chunk("a", *one) for one in orders), end]:
        decision.take(members)
    shown = decision.members()
    assert (shown["state"], shown["cancelled"]) == (state, done)


def test_a_plan_and_its_intent_are_one_decision() -> None:
    """A looked-up cancel has both under one ID; what somebody only asked about is no decision."""
    plan = {**intent("a"), "event": "plan"}
    explained = {**intent("b"), "event": "explained"}
    stats = counted([plan, intent("a"), outcome("a", "not_sent"), explained])
    assert (stats.teams, stats.rules) == ({"billing": 1}, {"billing/own": 1})


def test_a_plan_that_nobody_applied_and_a_freeze_are_no_decisions() -> None:
    """Else the numbers by team and by rule would be greater than the lines of the report."""
    names = {"team": "billing", "rule": "billing/own"}
    stats = counted([{**intent("a"), "event": "plan"}, {"event": "freeze", **names}, {"event": "thaw", **names}])
    assert (stats.teams, stats.rules, stats.events.total()) == ({}, {}, 3)


def test_a_reload_is_no_outcome_of_a_decision() -> None:
    """Its member of that name says something else."""
    stats = counted([{"event": "reload", "outcome": "applied"}])
    assert (stats.outcomes, stats.events) == ({}, {"reload": 1})


def test_a_part_of_a_record_is_counted_and_said_to_be_one() -> None:
    """The later segments alone: their outcomes count, each once, with a line that says so."""
    stats = counted([*several("a", [5, 6])[1:], *interrupted("b", [7])[1:], settled("b", 9)])
    assert (stats.cancelled, stats.outcomes, stats.strays) == (20, {"cancelled": 1, "unknown": 1}, 2)
    assert any(line.startswith("2 records continue a decision that began elsewhere") for line in decisions.lines(stats))


def test_what_is_held_is_bounded() -> None:
    """Decisions that never end give way, the oldest first; those that end take no place at all."""
    held: Held[int] = Held(most=3)
    for number in range(10):
        held.hold({"decision_id": str(number)}, number)
    assert [held.of({"decision_id": str(number)}) for number in range(10)] == [None] * 7 + [7, 8, 9]
    stats = DecisionStats(held=Held(most=1))
    for number in range(100):
        for members in several(str(number), [1, 2]):
            stats.add(members)
    assert (stats.cancelled, stats.strays) == (300, 0)


def test_a_record_answers_to_the_team_the_rule_and_the_principal_of_its_decision() -> None:
    """Also parts, outcomes and what was settled, which carry none of them; none answers to anybody else."""
    mine, theirs = interrupted("a", [5]), [intent("b", "search/ci"), outcome("b", "cancelled", 3)]
    denied: Members = {"event": "denied", "decision_id": "c", "team": "billing", "principal": "billing/ci"}
    joined = {**denied, "event": "joined", "decision_id": "d", "joins": "a"}
    refused: Members = {"event": "refused", "decision_id": "e", "principal": "billing/ci"}
    owners = Owners()
    billing, search = Owner("billing", "billing/ci", "billing/own"), Owner("search", "search/ci", "search/own")
    records = [mine[0], theirs[0], *mine[1:], theirs[1]]
    said = [owners.of(members) for members in records]
    assert said == [billing, search, *[billing] * len(mine[1:]), search]
    assert owners.of(joined) == billing
    assert owners.of(settled("a", 6)) == billing
    assert owners.of({"event": "stop"}) == owners.of(outcome("elsewhere", "unknown")) == Owner()
    assert owners.of(denied) == owners.of(refused) == billing._replace(rule=None)
    assert owners.of({"event": "refused", "decision_id": "f"}) == Owner()


WORDS = st.text(st.characters(codec="utf-8"), max_size=30)


@given(WORDS, st.lists(WORDS, max_size=3))
def test_no_value_passes_for_another_member(reason: str, labels: list[str]) -> None:
    """A line is words as a shell splits them: one for each member, whatever stands in its value."""
    members: Members = {"ts": "2026-11-28T00:00:00.000000Z", "seq": 1, "event": "intent", "instance": "i"}
    members |= {"reason": reason or "x", "asked": {"label": labels, "count": 1}, "principal": "billing/ci"}
    words = shlex.split(human_line(members))
    assert [word.partition("=")[0] for word in words[3:]] == ["reason", "asked", "principal"]
    if reason.isprintable() and reason:
        assert words[3] == f"reason={reason}"


@pytest.mark.parametrize("value", ["a b", "a=b", 'say "no"', "it's", "back\\slash", "a\u00a0b", "x principal=evil/ops"])
def test_values_with_spaces_equals_signs_or_quotes_are_quoted(value: str) -> None:
    """So that a person and a script see where a value ends."""
    members: Members = {"ts": "t", "seq": 1, "event": "denied", "reason": value}
    assert ' reason="' in human_line(members)


@given(st.dictionaries(WORDS, WORDS, max_size=3))
def test_a_record_as_json_stays_json(members: dict[str, str]) -> None:
    """Signs that a terminal acts on or hides are spelled as JSON spells them, also those beyond U+FFFF."""
    line = json_line(json.dumps(members, ensure_ascii=False).encode())
    assert line.isprintable()
    assert json.loads(line) == members


def stream(decisions_made: int) -> Iterator[Record]:
    """Decisions that end, and one in a hundred that is never settled."""
    yield Record(1, "start", {})
    for number in range(decisions_made):
        for members in several(f"{number:036}", [1, 1]) if number % 100 else interrupted(f"{number:036}", [2]):
            yield Record(1, str(members["event"]), {name: said for name, said in members.items() if name != "event"})


READERS = ("stats", "show --team billing --format csv", "export --format ocsf", "report --team nobody")


@pytest.mark.parametrize("line", READERS)
def test_a_long_record_is_read_in_bounded_memory(tmp_path: Path, line: str) -> None:
    """Twenty times the decisions take hardly more memory: those that have ended are forgotten."""

    def peak_kib(number: int) -> int:
        sealer, head = Sealer("one", key=None), GENESIS
        path = tmp_path / f"{number}" / "one.000001.jsonl"
        path.parent.mkdir()
        with path.open("wb") as file:
            records = stream(number)
            while batch := list(itertools.islice(records, 500)):
                lines, head = sealer.seal(head, batch)
                file.writelines(lines)
        code = (
            "import sys, tracemalloc; from gateway.cli.main import main; tracemalloc.start(); "
            "main(sys.argv[1:]); print(tracemalloc.get_traced_memory()[1] // 1024, file=sys.stderr)"
        )
        words = [sys.executable, "-c", code, "audit", *line.split(), str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert line != "stats" or f"cancelled runs: {2 * number};" in done.stdout
        return int(done.stderr.splitlines()[-1])

    assert peak_kib(10_000) < 2 * peak_kib(500)
