"""Each lint fires where its reason holds, not beside it, and can be silenced there with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authoring.conflicts import refuses_all
from gateway.authoring.lint import IDS, Caller, Summary, lint
from gateway.authoring.lints.finding import Finding
from gateway.core.plan import Denial, Permit
from gateway.core.run import Resolved
from gateway.files.nodes import Place
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies
from gateway.policy.model import Effect, Rule
from tests.core.populations import Case, cases, holds, resolving
from tests.core.strategies import ALLOW_ALL, NOW_MS, TEAM, allows, denies, fitting, policies, requires

HEAD = "version: 1\nname: t\nteams: [a]\n"
AT = Place("config.yaml", 9, 1)
CALLERS = (Caller("key a/k", "a", AT),)
ALLOW = 'allow:\n  - {id: ok, workflowUrl: {exact: ["https://a.example/x"]}}\n'


MORE = "resolve-admits-more"


def found(
    directory: Path,
    text: str,
    *,
    contract: str = "2025",
    files: Mapping[str, str] | None = None,
    aside: bool = True,
) -> list[Finding]:
    """The findings about one policy file, and others beside it."""
    for name, content in ({"t.yaml": text} | dict(files or {})).items():
        (directory / name).write_text(content)
    lines = {str(path): path.read_text().split("\n") for path in directory.iterdir()}
    summary = Summary(contract, CALLERS, total_timeout_s=30, shutdown_grace_s=35, at=AT)
    findings = lint(load_policies(directory), lines, summary, NOW_MS)
    # Every rule that looks runs up has this one, and a test of its own.
    return [one for one in findings if one.id != MORE] if aside else list(findings)


def ids(findings: list[Finding]) -> list[tuple[str, int]]:
    """Lint and line of each."""
    return [(finding.id, finding.place.line) for finding in findings]


def deny(condition: str) -> str:
    return f"deny:\n  - {{id: d, {condition}}}\n"


def require(condition: str) -> str:
    return f"require:\n  - {{id: q, {condition}}}\n"


def allow(condition: str) -> str:
    return f"allow:\n  - {{id: r, {condition}}}\n"


BY_URL = 'workflowUrl: {exact: ["https://a.example/x"]}'
BELOW = 'workflowUrl: {prefix: ["https://a.example/api"]}'

OPTIONAL = "label: {any_of: [x], optional: true}"
LOOKED_UP = "resolve: true, runs: {max: 9}"

# (text after the head, findings as (lint, line))
FIRING = {
    "every team excepted": (f"{allow(f'{BY_URL}, except: [a]')}", [("never-matches", 5), ("team-without-allow", 9)]),
    "selects leaves it out": (allow(f"{BY_URL}, selects: [run_ids]"), [("never-matches", 5)]),
    "a deny for nobody": (deny("except: [a]") + ALLOW, [("never-matches", 5)]),
    "ends before it opens": (
        allow(f'{BY_URL}, until: 2199-01-01, during: {{from: "2199-01-05T00:00:00Z"}}'),
        [("never-matches", 5)],
    ),
    "deny above it": (deny('workflowUrl: {prefix: ["https://a.example"]}') + allow(BELOW), [("always-refused", 7)]),
    "deny on another field": (deny("label: {any_of: [x]}") + allow(BY_URL), [("always-refused", 7)]),
    "deny of run IDs": (
        deny("selects: [run_ids]") + allow("workflowRunIds: {max: 1}, owner: unchecked"),
        [("always-refused", 7), ("owner-unchecked", 7)],
    ),
    "require of another field": (require("label: {any_of: [x]}") + allow(BY_URL), [("always-refused", 7)]),
    "require of another value": (
        require("label: {any_of: [x], optional: true}") + allow("label: {any_of: [z]}"),
        [("always-refused", 7)],
    ),
    "deny of all its values": (
        deny("label: {any_of: [x, w]}") + allow(f"{BY_URL}, label: {{any_of: [x]}}"),
        [("always-refused", 7)],
    ),
    "deny of younger than it takes": (
        deny("created: {within_last: 24h}") + allow(f"{BY_URL}, created: {{within_last: 1h}}"),
        [("always-refused", 7)],
    ),
    "deny of what its IDs begin with": (
        deny("workflowRunIds: {prefix: [wfr_]}")
        + allow("workflowRunIds: {prefix: [wfr_a_], max: 1}, owner: unchecked"),
        [("always-refused", 7), ("owner-unchecked", 7)],
    ),
    "require of other IDs": (
        require("workflowRunIds: {prefix: [wfr_b_]}") + allow("workflowRunIds: {prefix: [wfr_a_]}, owner: unchecked"),
        [("always-refused", 7), ("owner-unchecked", 7)],
    ),
    "bare host": (allow('workflowUrl: {prefix: ["https://a.example"]}'), [("bare-host-prefix", 5)]),
    "bare host with a slash": (allow('workflowUrl: {prefix: ["https://a.example/"]}'), [("bare-host-prefix", 5)]),
    "cap above": (
        require("count: {cap: 10}") + allow(f"{BY_URL}, count: {{cap: 50}}"),
        [("cap-above-guardrail", 7)],
    ),
    "more runs than a look-up may find": (
        allow(f"{BY_URL}, resolve: true, runs: {{max: 10001}}"),
        [("runs-above-lookup", 5)],
    ),
    "a larger part than a look-up may find": (
        allow(f"{BY_URL}, count: {{any: true}}, resolve: true, runs: {{cap: 10001}}"),
        [("runs-above-lookup", 5)],
    ),
    "more runs, whatever is taken of them": (
        require("resolve: true, count: {cap: 50}, runs: {max: 20000}") + ALLOW,
        [("runs-above-lookup", 5)],
    ),
    "an approval that the budget comes before": (
        allow(f"{BY_URL}, {LOOKED_UP}, budget: {{runs: 50, per: 1h}}, approve: {{by: [a], over: 50}}"),
        [("approve-idle", 5)],
    ),
    "an approval by nobody": (allow(f"{BY_URL}, {LOOKED_UP}, approve: {{by: [b]}}"), [("approve-by-nobody", 5)]),
    "unchecked owner": (allow("workflowRunIds: {max: 1}, owner: unchecked"), [("owner-unchecked", 5)]),
    "ended": (allow(f"{BY_URL}, until: 2020-01-01"), [("passed", 5)]),
    "window ended": (allow(f'{BY_URL}, during: {{until: "2020-01-01T00:00:00Z"}}'), [("passed", 5)]),
    "exception ended": (
        f"{ALLOW}require:\n  - id: q\n    count: {{max: 5}}\n    except:\n      - {{team: a, until: 2020-01-01}}\n",
        [("passed", 10)],
    ),
    "optional where runs are looked up": (allow(f"{BY_URL}, {OPTIONAL}, {LOOKED_UP}"), [("optional-not-compared", 5)]),
    "optional under a require that looks up": (
        require(LOOKED_UP) + allow(f"{BY_URL}, {OPTIONAL}"),
        [("optional-not-compared", 7)],
    ),
    "optional in a require that looks up": (
        require(f"{OPTIONAL}, {LOOKED_UP}") + ALLOW,
        [("optional-not-compared", 5)],
    ),
    "optional in a require beside an allow that looks up": (
        require(OPTIONAL) + allow(f"{BY_URL}, label: {{any: true}}, {LOOKED_UP}"),
        [("optional-not-compared", 5)],
    ),
    "two optional fields": (
        allow(f"{BY_URL}, {OPTIONAL}, created: {{within_last: 1h, optional: true}}, {LOOKED_UP}"),
        [("optional-not-compared", 5), ("optional-not-compared", 5)],
    ),
    "silence without reason": (
        "allow:\n  - {id: r, label: {any_of: [x]}}  # lint: ignore passed\n",
        [("silence-without-reason", 5)],
    ),
    "silence of nothing": (f"# lint: ignore passed: it will\n{ALLOW}", [("silence-unused", 4)]),
    "silence of no lint": (f"# lint: ignore pased: it will\n{ALLOW}", [("silence-unused", 4)]),
}


@pytest.mark.parametrize(("text", "expected"), FIRING.values(), ids=FIRING.keys())
def test_a_lint_stands_at_the_line_of_its_reason(tmp_path: Path, text: str, expected: list[tuple[str, int]]) -> None:
    """Every reason, with its place, and nothing else about the same file."""
    findings = found(tmp_path, HEAD + text)
    assert ids(findings) == expected
    assert all(finding.id in IDS and finding.fix and finding.message for finding in findings)


SILENT = {
    "deny in a window": deny('during: {from: "2199-01-05T00:00:00Z"}') + ALLOW,
    "deny that excepts the team for now": deny("except: [{team: a, until: 2199-01-01}]") + ALLOW,
    "deny below it": deny('workflowUrl: {prefix: ["https://a.example/x/y"]}') + ALLOW,
    "exact deny of a subtree": deny('workflowUrl: {exact: ["https://a.example/api"]}') + allow(BELOW),
    "deny of everything": deny("selects: [everything]") + ALLOW,
    "deny of some of its values": deny("label: {any_of: [x]}") + allow(f"{BY_URL}, label: {{any_of: [x, w]}}"),
    "deny of values where any may be": deny("label: {any_of: [x]}") + allow(f"{BY_URL}, label: {{any: true}}"),
    "deny of younger than some it takes": (
        deny("created: {within_last: 1h}") + allow(f"{BY_URL}, created: {{within_last: 24h}}")
    ),
    "require of another value, if any": (
        require("label: {any_of: [x], optional: true}") + allow(f"{BY_URL}, label: {{any_of: [z], optional: true}}")
    ),
    "deny in shadow": deny("mode: shadow") + ALLOW,
    "optional require": require("label: {any_of: [x], optional: true}") + ALLOW,
    "optional where nothing is looked up": allow(f"{BY_URL}, {OPTIONAL}"),
    "any where runs are looked up": allow(f"{BY_URL}, label: {{any: true}}, {LOOKED_UP}"),
    "an optional span, which bounds no run": allow(f"{BY_URL}, created: {{max_span: 1h, optional: true}}, {LOOKED_UP}"),
    "optional beside a look-up in shadow": require(f"mode: shadow, {LOOKED_UP}") + allow(f"{BY_URL}, {OPTIONAL}"),
    "cap below": require("count: {cap: 100}") + allow(f"{BY_URL}, count: {{cap: 50}}"),
    "as many runs as a look-up may find": allow(f"{BY_URL}, resolve: true, runs: {{max: 10000}}"),
    "a part that the count makes smaller": allow(f"{BY_URL}, count: {{cap: 50}}, resolve: true, runs: {{cap: 20000}}"),
    "run IDs, which are looked up one by one": allow(
        f"workflowRunIds: {{max: 3}}, {BY_URL}, resolve: true, runs: {{max: 20000}}"
    ),
    "window with an end to come": allow(f'{BY_URL}, during: {{until: "2199-01-05T00:00:00Z"}}'),
}


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT.keys())
def test_what_may_still_count_is_not_linted(tmp_path: Path, text: str) -> None:
    """A lint that is sometimes wrong is soon ignored."""
    assert ids(found(tmp_path, HEAD + text)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (allow(f"{BY_URL}, {LOOKED_UP}"), "also name label, flowControlKey, callerIp, host, path, created"),
        (allow(f"workflowRunIds: {{max: 3}}, {BY_URL}, {LOOKED_UP}"), "admits run IDs and no filter"),
        (allow(f"selects: [everything], {LOOKED_UP}"), "admits a request for everything and no filter"),
        (ALLOW + require(LOOKED_UP), "every allow of its teams also admits filters"),
    ],
)
def test_every_rule_that_looks_runs_up_is_listed_with_what_it_admits_more(tmp_path: Path, text: str, said: str) -> None:
    """At its line and column, in a sentence; a silence at its place says that somebody has read it."""
    line = text.count("\n") + HEAD.count("\n")
    [finding] = [one for one in found(tmp_path, HEAD + text, aside=False) if one.id == MORE]
    assert (finding.place.line, finding.place.column) == (line, 5)
    assert said in finding.message
    silenced = f"{HEAD}{text.rstrip()} # lint: ignore {MORE}: read\n"
    assert [one for one in found(tmp_path, silenced, aside=False) if one.id in (MORE, "silence-unused")] == []


def test_no_other_rule_is_listed_with_it(tmp_path: Path) -> None:
    """Decisions of rules without a look-up are unchanged."""
    assert [one for one in found(tmp_path, HEAD + require("reason: true") + ALLOW, aside=False) if one.id == MORE] == []


def test_a_bound_on_count_alone_is_named_under_the_newer_contract(tmp_path: Path) -> None:
    """Where upstream may ignore count, a cap on a filter bounds nothing; a require of run IDs does."""
    text = HEAD + require("count: {cap: 100}") + allow(f"{BY_URL}, count: {{cap: 5}}")
    assert ids(found(tmp_path, text, contract="2026-09")) == [("count-only", 5), ("count-only", 7)]


@pytest.mark.parametrize(
    "text",
    [
        require("resolve: true, runs: {max: 9}, count: {cap: 100}") + allow(f"{BY_URL}, count: {{cap: 5}}"),
        allow(f"{BY_URL}, count: {{cap: 5}}, resolve: true, runs: {{max: 9}}"),
    ],
)
def test_a_count_over_runs_that_are_looked_up_is_a_bound(tmp_path: Path, text: str) -> None:
    """There the gateway counts; a require in shadow mode looks nothing up."""
    assert ids(found(tmp_path, HEAD + text, contract="2026-09")) == []
    unforced = HEAD + text.replace("{id: q", "{id: q, mode: shadow").replace("{id: r", "{id: r, label: {any: true}")
    lints = {name for name, _ in ids(found(tmp_path, unforced, contract="2026-09"))}
    assert lints == ({"count-only"} if "require" in text else set())


def test_both_findings_that_a_look_up_would_answer_propose_it(tmp_path: Path) -> None:
    """Whoever reads of a count or an owner on trust reads what to write instead."""
    text = HEAD + allow(f"{BY_URL}, count: {{cap: 5}}") + f"  - {TRUSTED.replace('id: r', 'id: s')}\n"
    fixes = {finding.id: finding.fix for finding in found(tmp_path, text, contract="2026-09")}
    assert fixes.keys() == {"count-only", "owner-unchecked"}
    assert all("resolve: true" in fix for fix in fixes.values())


@given(cases())
def test_what_an_optional_field_leaves_out_is_named(case: Case) -> None:
    """A run that is chosen lies in every bound of every enforced rule, but in those that the lint names."""
    permit, chosen = case.decision(), case.judged()
    if not isinstance(permit, Permit) or permit.resolution is None or not isinstance(chosen, Resolved):
        return
    judged = policies(*case.rules)
    summary = Summary("2025", (), total_timeout_s=30, shutdown_grace_s=35, at=AT)
    named = " ".join(one.message for one in lint(judged, {}, summary, NOW_MS) if one.id == "optional-not-compared")
    binding = [rule for rule in case.rules if rule.name == permit.rule or rule.effect is Effect.REQUIRE]
    for run in chosen.runs:
        for rule in binding:
            outside = [field for field, bound in rule.conditions.items() if not holds(bound, run, wide=False)]
            left_out = [field for field in outside if not getattr(rule.conditions[field], "any", False)]
            assert all(f"{rule.name}: where a request leaves {field} out" in named for field in left_out)


@pytest.mark.parametrize(("grace_s", "told"), [(29, True), (33, True), (34, False)])
def test_a_deadline_that_does_not_end_before_calls_are_given_up_is_found(grace_s: int, *, told: bool) -> None:
    """Calls are given up three seconds before the grace is over, so a call of 30 s needs a grace of 34."""
    summary = Summary("2025", (), total_timeout_s=30, shutdown_grace_s=grace_s, at=AT)
    fixes = [one.fix for one in lint(policies(), {}, summary, NOW_MS) if one.id == "timeout-above-grace"]
    assert fixes == ["Raise shutdown_grace_s to 34 or more."] * told


def test_callers_and_teams_are_matched(tmp_path: Path) -> None:
    """A team of a file without a caller, at its `teams` line, and a caller without an allow, at its entry."""
    other = {"u.yaml": f"version: 1\nname: u\nteams: [b, c]\n{ALLOW}"}
    findings = found(tmp_path, HEAD + require("count: {max: 5}"), files=other)
    places = [(finding.id, Path(finding.place.file).name, finding.place.line) for finding in findings]
    assert sorted(places) == [
        ("team-without-allow", "config.yaml", 9),
        ("team-without-caller", "u.yaml", 3),
        ("team-without-caller", "u.yaml", 3),
    ]


@pytest.mark.parametrize(
    ("head", "at"),
    [
        ("description: >-\n  teams: are listed below\nteams: [b]\n", (5, 1)),
        ('"teams": [b]\n', (3, 1)),
        ("# teams of old\n? teams\n: [b]\n", (4, 3)),
        ("description: >-\n  about\n  teams\n'teams':\n  - b\n", (6, 1)),
    ],
)
def test_the_teams_of_a_file_are_found_as_the_file_is_read(tmp_path: Path, head: str, at: tuple[int, int]) -> None:
    """Not as its text looks: a key may be quoted, and a line of another value may begin with the word."""
    other = {"u.yaml": f"version: 1\nname: u\n{head}{ALLOW}"}
    findings = found(tmp_path, HEAD + require("count: {max: 5}"), files=other)
    places = [(one.place.line, one.place.column) for one in findings if one.id == "team-without-caller"]
    assert places == [at]


TRUSTED = "{id: r, workflowRunIds: {max: 1}, owner: unchecked}"
SILENCE = "# lint: ignore owner-unchecked"


@pytest.mark.parametrize(
    "text",
    [
        f"allow:\n  - {TRUSTED}  {SILENCE}: ours, by prefix\n",
        f"allow:\n  {SILENCE}: ours, by prefix\n  # and more words\n  - {TRUSTED}\n",
        f"allow:\n  - id: r    {SILENCE}: ours\n    workflowRunIds: {{max: 1}}\n    owner: unchecked\n",
    ],
)
def test_a_silence_with_a_reason_silences_in_place(tmp_path: Path, text: str) -> None:
    """At the end of the line, or in a line of its own above."""
    assert ids(found(tmp_path, HEAD + text)) == []


def test_a_silence_without_a_reason_silences_nothing(tmp_path: Path) -> None:
    """Who reads the file later must find out why."""
    text = f"allow:\n  - {TRUSTED}  {SILENCE}:\n"
    assert {name for name, _ in ids(found(tmp_path, HEAD + text))} == {"owner-unchecked", "silence-without-reason"}


@given(st.one_of(denies("guard"), requires("guard")), allows("own"), st.data())
def test_what_is_called_always_refused_is_so_where_runs_are_looked_up(
    guard: Rule, own: Rule, data: st.DataObject
) -> None:
    """What only the runs can tell is never called refused before they are looked up."""
    own = data.draw(resolving(own))
    if refuses_all(guard, own, resolved=own.resolution is not None):
        decision = decide(policies(guard, own), TEAM, data.draw(fitting(own)), NOW_MS)
        assert isinstance(decision, Denial)


@given(st.one_of(denies("guard"), requires("guard")), allows("own"), st.data())
def test_what_is_called_always_refused_is_never_permitted(guard: Rule, own: Rule, data: st.DataObject) -> None:
    """No request that the allow admits gets past the rule that is named for it."""
    if refuses_all(guard, own):
        decision = decide(policies(guard, own), TEAM, data.draw(fitting(own)), NOW_MS)
        assert isinstance(decision, Denial)


def test_a_deny_without_conditions_refuses_every_allow() -> None:
    """The widest deny of all."""
    everything = Rule("p", "d", Effect.DENY, {})
    assert all(refuses_all(everything, own) for own in ALLOW_ALL)
