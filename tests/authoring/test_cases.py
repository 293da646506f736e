"""The policies' own cases: read strictly, judged at frozen times, and complete for what is shipped."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gateway.authoring.cases import NOON_MS, case_files, check_cases, judge_cases, load_cases, parse_cases, unreached
from gateway.core.errors import InvalidConfiguration
from gateway.core.forms.times import instant_ms
from gateway.policy.format.load import load_policies
from tests.cli.configs import position
from tests.cli.running import command

SHIPPED = Path(__file__).parents[2] / "policies"
POLICY = """\
version: 1
name: own
teams: [billing]
allow:
  - {id: nightly, label: {any_of: [nightly]}, count: {cap: 5}}
  - {id: recent, created: {within_last: 1h}}
"""
GOOD = """\
version: 1
cases:
  - {it: is lowered, team: billing, request: label=nightly, expect: permit, rule: own/nightly, effective: {count: 5}}
"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A policy directory with one case, that holds."""
    (tmp_path / "own.yaml").write_text(POLICY)
    (tmp_path / "own.cases.yaml").write_text(GOOD)
    return tmp_path


def case(text: str) -> bytes:
    return f"version: 1\ncases:\n  - {{it: x, team: billing, {text}}}\n".encode()


def test_every_shipped_rule_has_a_case_that_reaches_it() -> None:
    """The shipped policies do what their cases say, and no rule is left untried."""
    shipped = load_policies(SHIPPED)
    verdicts = list(judge_cases(shipped, load_cases(case_files(SHIPPED))))
    assert [(verdict.case.it, verdict.differences) for verdict in verdicts if verdict.differences] == []
    assert unreached(shipped, verdicts) == []


def test_a_case_says_whom_a_refusal_sends_to(policies: Path) -> None:
    """The owner of the file whose rule refused or came nearest; another one, or none, is a difference."""
    owned = POLICY.replace("teams:", "owner: {team: Platform, contact: page us}\nteams:", 1)
    for text, differences in ((owned, 0), (POLICY, 1), (owned.replace("page us", "call"), 1)):
        (policies / "own.yaml").write_text(text)
        content = case("request: callerIp=10.0.0.1, expect: deny, owner: {team: Platform, contact: page us}")
        [verdict] = judge_cases(load_policies(policies), parse_cases("c.yaml", content))
        assert len(verdict.differences) == differences


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("request: label=nightly", "{it", "'expect' is missing"),
        ("request: label=nightly, expect: allow", "allow", "permit or deny"),
        ("request: label=nightly, expect: permit, effect: {}", "effect:", "did you mean 'effective'?"),
        ("request: Label=nightly, expect: deny", "{it", "did you mean 'label'?"),
        ("request: GET /v2/workflows/runs, expect: deny", "{it", "only DELETE /v2/workflows/runs is judged"),
        ("request: {label: [a], hosts: b}, expect: deny", "hosts", "unknown key 'hosts'"),
        ("request: {count: 0100}, expect: deny", "0100", "plain digits"),
        ("request: label=a, expect: deny, at: 2026-01-01", "2026-01-01", "a time with its offset"),
        ("request: label=a, expect: deny, rule: nightly", "nightly}", "a rule as file/id"),
        ("request: label=a, expect: permit, owner: {team: a, contact: b}", "{it", "only beside 'expect: deny'"),
        ("request: label=a, expect: deny, owner: {team: a}", "{team", "'contact' is missing"),
        ("request: label=a, expect: deny, effective: {count: 1}", "{it", "only beside 'expect: permit'"),
        ("request: {label: a}, body: '{}', expect: deny", "{it", "beside a request line"),
        ("request: label=a, body: '{}', expect: deny", "{it", "either a query or a body"),
    ],
)
def test_a_case_that_says_nothing_certain_is_refused_with_its_place(text: str, place: str, part: str) -> None:
    """A mistyped case never passes for one that holds."""
    with pytest.raises(InvalidConfiguration) as raised:
        parse_cases("t.cases.yaml", case(text))
    [problem] = raised.value.problems
    assert f"{problem.line}:{problem.column}" == position(case(text).decode(), place)
    assert part in problem.message


def test_no_two_cases_of_a_file_are_called_the_same() -> None:
    """A report names each case."""
    twice = GOOD + GOOD.splitlines()[-1] + "\n"
    with pytest.raises(InvalidConfiguration, match="the same it stands in line 3 already"):
        parse_cases("t.cases.yaml", twice.encode())


def test_time_stands_in_a_case() -> None:
    """Without `at` it is a fixed noon, so a case never depends on the day it runs."""
    [fixed] = parse_cases("t", case("request: label=a, expect: deny"))
    [given] = parse_cases("t", case("request: label=a, expect: deny, at: 2026-03-29T01:30:00+01:00"))
    assert fixed.question.now_ms == NOON_MS == instant_ms("2026-01-01T12:00:00Z")
    assert given.question.now_ms == instant_ms("2026-03-29T00:30:00Z")


def test_a_reason_belongs_to_the_request() -> None:
    """What a caller sends as Gateway-Reason stands beside the request."""
    [given] = parse_cases("t", case("request: label=a, expect: deny, reason: stuck since noon"))
    assert given.question.request.reason == "stuck since noon"


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ("expect: deny", "expected deny, found permit"),
        ("expect: permit, rule: own/recent", "expected the rule own/recent, found own/nightly"),
        ("expect: permit, shadow: own/recent", "expected the shadow rule own/recent, found none"),
        ("expect: permit, effective: {count: 100}", "expected count 100, found 5"),
        ("expect: permit, effective: {fromDate: 1767225600000}", "expected fromDate 1767225600000, found None"),
    ],
)
def test_each_member_that_differs_is_named(policies: Path, expected: str, difference: str) -> None:
    """A case fails by what it says, and only by that."""
    cases = parse_cases("t", case(f"request: label=nightly, {expected}"))
    [verdict] = judge_cases(load_policies(policies), cases)
    assert verdict.differences == (difference,)


def test_all_cases_pass_with_0_and_unreached_rules_are_named(policies: Path) -> None:
    """A rule that no case reaches is no failure, and not silent."""
    done = command("test", str(policies))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "no case reaches own/recent",
        f"{policies}: 1 case, 0 failed, 1 rule unreached",
    ]


def test_a_failed_case_exits_with_4_and_says_what_and_why(policies: Path) -> None:
    """The report has the place, the difference, and every rule's part."""
    (policies / "own.cases.yaml").write_text(GOOD.replace("count: 5", "count: 6"))
    done = command("test", str(policies / "own.cases.yaml"))
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    assert lines[0] == f"{policies}/own.cases.yaml:3:5: is lowered"
    assert lines[1] == "  expected count 6, found 5"
    assert "    -> allow   own/nightly admitted (count 100 to 5)" in lines
    assert "       allow   own/recent not admitted: the rule does not mention label" in lines


def test_a_failing_case_makes_a_directory_invalid(policies: Path) -> None:
    """What is loaded while serving is held to its cases; a directory without cases is held to none."""
    check_cases(policies, load_policies(policies))
    (policies / "own.cases.yaml").write_text(GOOD.replace("count: 5", "count: 6"))
    with pytest.raises(InvalidConfiguration, match=r":3:5: the case 'is lowered' fails: expected count 6, found 5"):
        check_cases(policies, load_policies(policies))
    (policies / "own.cases.yaml").unlink()
    check_cases(policies, load_policies(policies))


def test_junit_has_one_testcase_for_each_case(policies: Path) -> None:
    """CI reads the failures with their messages."""
    (policies / "own.cases.yaml").write_text(GOOD.replace("count: 5", "count: 6"))
    done = command("test", "--format", "junit", str(policies))
    assert done.returncode == 4
    [suite] = ET.fromstring(done.stdout)  # noqa: S314 - what we have just written
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "expected count 6, found 5"


@pytest.mark.parametrize("broken", ["own.yaml", "own.cases.yaml"])
def test_a_broken_file_exits_with_3(policies: Path, broken: str) -> None:
    """Cases are judged only when every file can be read."""
    (policies / broken).write_text("version: 2\n")
    done = command("test", str(policies))
    assert done.returncode == 3
    assert f"{policies}/{broken}:1:10: expected 1, found 2" in done.stderr


def test_a_directory_without_cases_is_no_success(policies: Path) -> None:
    """Nothing tried is not everything passed."""
    (policies / "own.cases.yaml").unlink()
    assert command("test", str(policies)).returncode == 3
    assert command("test", str(policies / "own.yaml")).returncode == 3


RESOLVING = """\
version: 1
name: own
teams: [billing]
deny:
  - {id: kept, label: {any_of: [keep]}}
allow:
  - {id: old, workflowUrl: {prefix: ["https://a.example/api"]}, resolve: true, runs: {max: 2, older_than: 1h}}
"""
RUNS = """\
      - {id: wfr_1, url: "https://a.example/api", created: "2026-01-01T10:00:00Z"}
      - {id: wfr_2, url: "https://a.example/api/x", created: "2026-01-01T09:00:00Z", labels: [LABEL]}
      - {id: wfr_3, url: "https://a.example/api-v2", created: "2026-01-01T09:00:00Z"}
      - {id: wfr_4, url: "https://a.example/api", created: "2026-01-01T11:30:00Z"}
      - {id: wfr_5, url: "https://a.example/api", created: "2026-01-01T09:00:00Z", state: RUN_SUCCESS}
"""


def with_runs(label: str, expected: str) -> bytes:
    """One case about five runs, the second with this label."""
    asked = "    request: {workflowUrl: https://a.example/api}\n"
    runs = f"    runs:\n{RUNS.replace('LABEL', label)}"
    return f"version: 1\ncases:\n  - it: x\n    team: billing\n{asked}{runs}    {expected}\n".encode()


@pytest.mark.parametrize(
    ("label", "expected", "differences"),
    [
        ("x", "expect: permit\n    resolve: true\n    cancels: [wfr_1, wfr_2]", ()),
        ("x", "expect: permit\n    cancels: [wfr_1]", ("expected to cancel wfr_1, found wfr_2, wfr_1",)),
        ("x", "expect: permit\n    resolve: false", ("expected resolve false, found true",)),
        ("keep", "expect: deny\n    rule: own/kept", ()),
        (
            "keep",
            "expect: permit\n    rule: own/old",
            ("expected permit, found deny", "expected the rule own/old, found own/kept"),
        ),
        ("x", "expect: deny", ("expected deny, found permit",)),
    ],
)
def test_a_case_may_say_which_runs_there_are_and_which_are_cancelled(
    tmp_path: Path, label: str, expected: str, differences: tuple[str, ...]
) -> None:
    """The runs are judged as the look-up would have found them; a deny that they meet is reached by the case."""
    (tmp_path / "own.yaml").write_text(RESOLVING)
    loaded = load_policies(tmp_path)
    verdicts = list(judge_cases(loaded, parse_cases("c", with_runs(label, expected))))
    assert [verdict.differences for verdict in verdicts] == [differences]
    assert unreached(loaded, verdicts) == ([] if label == "keep" else ["own/kept"])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("request: label=a, expect: permit, cancels: [wfr_1]", "'cancels' stands only beside 'runs'"),
        ("request: label=a, expect: permit, runs: [{id: wfr_1}]", "'url' is missing"),
        ("request: label=a, expect: deny, runs: [], cancels: [wfr_1]", "only beside 'expect: permit'"),
    ],
)
def test_runs_that_say_nothing_certain_are_refused(text: str, part: str) -> None:
    """As every other part of a case."""
    with pytest.raises(InvalidConfiguration) as raised:
        parse_cases("c", case(text))
    assert any(part in problem.message for problem in raised.value.problems)
