"""Policy files: every refusal of the format with its place, and the rules that good files state."""

from __future__ import annotations

import hashlib
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidConfiguration
from gateway.core.plan import Owner
from gateway.core.run import Resolution
from gateway.policy.conditions import CountCondition, CreatedCondition, RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.format.load import load_policies, parse_policy
from gateway.policy.model import Effect, Rule, TeamException
from gateway.policy.window import Hours, Window

HEAD = "version: 1\nname: t\nteams: [a]\n"
ALLOW = "  - {id: r, label: {any_of: [x]}}\n"


def rules(text: str, directory: Path) -> dict[str, Rule]:
    """The rules of one policy file by id."""
    (directory / "t.yaml").write_text(text, encoding="utf-8")
    return {rule.id: rule for rule in load_policies(directory).rules}


def faults(text: str) -> list[str]:
    """The problems of one policy file, as `line:column: message`."""
    with pytest.raises(InvalidConfiguration) as raised:
        parse_policy("t.yaml", text.encode())
    return [str(problem).removeprefix("t.yaml:") for problem in raised.value.problems]


def rule_faults(effect: str, members: str) -> list[str]:
    """The problems of a file with one rule, written on line 5 from column 5 on."""
    return faults(f"{HEAD}{effect}:\n  - {{id: r{members}}}\n")


def test_every_condition_becomes_its_type(tmp_path: Path) -> None:
    """Each form that the format knows, read into the rule that judges."""
    text = f"""{HEAD}allow:
  - id: by-filter
    workflowUrl: {{exact: ["https://a.example/x"], prefix: [https://a.example/y, https://b.example]}}
    label: {{any_of: [nightly, batch], optional: true}}
    flowControlKey: {{any: true}}
    callerIp: {{any_of: ["10.0.0.1", "2001:db8::1"]}}
    created: {{within_last: 24h, max_span: "6h"}}
    count: {{max: 80, cap: 50}}
  - {{id: by-id, workflowRunIds: {{max: 20, prefix: [wfr_a_]}}, owner: unchecked, message: "Name fewer."}}
"""
    loaded = rules(text, tmp_path)
    assert loaded["by-filter"].conditions == {
        "workflowUrl": UrlCondition(frozenset({"https://a.example/x"}), ("https://a.example/y", "https://b.example")),
        "label": ValueCondition("label", frozenset({"nightly", "batch"}), optional=True),
        "flowControlKey": ValueCondition("flowControlKey", any=True, optional=True),
        "callerIp": ValueCondition("callerIp", frozenset({"10.0.0.1", "2001:db8::1"})),
        "created": CreatedCondition(within_last_ms=86_400_000, max_span_ms=21_600_000),
    }
    assert loaded["by-filter"].count == CountCondition(max=80, cap=50)
    assert loaded["by-id"].conditions == {"workflowRunIds": RunIdCondition(20, ("wfr_a_",))}
    assert loaded["by-id"].owner_unchecked
    assert loaded["by-id"].message == "Name fewer."


def test_a_file_says_whom_to_ask_about_its_rules(tmp_path: Path) -> None:
    """Every rule of it carries the owner, and the digest is that of other bytes."""
    plain, owned = tmp_path / "plain", tmp_path / "owned"
    for directory, more in ((plain, ""), (owned, 'owner: {team: Billing platform, contact: "#billing, page 7"}\n')):
        directory.mkdir()
        loaded = rules(f"{HEAD}{more}deny:\n{ALLOW}allow:\n{ALLOW.replace('id: r', 'id: s')}", directory)
        expected = Owner("Billing platform", "#billing, page 7") if more else None
        assert {rule.owner for rule in loaded.values()} == {expected}
    assert load_policies(plain).digest != load_policies(owned).digest


OWNERS = {
    "unknown key": ("{team: a, contact: b, phone: c}", "4:30: unknown key 'phone': known are team, contact"),
    "no contact": ("{team: a}", "4:8: the key 'contact' is missing"),
    "no team": ("{contact: a}", "4:8: the key 'team' is missing"),
    "a text": ("a", "4:8: expected a mapping, found a single value"),
    "control character": ('{team: "a\\tb", contact: c}', "4:15: the text holds a line break or control character"),
    "line break": ('{team: a, contact: "b\\nc"}', "4:27: the text holds a line break or control character"),
    "right to left": ('{team: a, contact: "\u202eb"}', "4:28: the character U+202E is not allowed"),
    "empty": ('{team: "", contact: c}', "4:15: expected text, found an empty string"),
    "blank": ('{team: " ", contact: c}', "4:15: '" + " ': expected text, found only spaces"),
    "too long": (f"{{team: a, contact: {'c' * 201}}}", "4:27: longer than 200 characters"),
    "a number": ("{team: 7, contact: c}", "4:15: expected text, found '7' without quotes"),
}


@pytest.mark.parametrize(("owner", "fault"), OWNERS.values(), ids=OWNERS)
def test_a_faulty_owner_is_refused_with_its_place(owner: str, fault: str) -> None:
    """Exactly one problem each, at the key or value."""
    [found] = faults(f"{HEAD}owner: {owner}\nallow:\n{ALLOW}")
    assert found.startswith(fault)


def test_an_owner_of_200_characters_is_whole(tmp_path: Path) -> None:
    """The bound itself holds."""
    text = f"{HEAD}owner: {{team: {'t' * 200}, contact: {'c' * 200}}}\nallow:\n{ALLOW}"
    assert rules(text, tmp_path)["r"].owner == Owner("t" * 200, "c" * 200)


def test_requirements_and_denials_have_their_own_words(tmp_path: Path) -> None:
    """What only a `require` or a `deny` may say; a deny without conditions matches all."""
    text = f"""{HEAD}deny:
  - {{id: all-of-it}}
  - {{id: url, workflowUrl: {{prefix: [https://a.example]}}, created: {{within_last: 1d}}}}
  - {{id: kinds, selects: [everything, run_ids]}}
  - {{id: ids, workflowRunIds: {{prefix: [wfr_x]}}}}
require:
  - {{id: exact, workflowUrlExactMatch: true}}
  - {{id: cap, count: {{cap: 100}}}}
  - {{id: few, workflowRunIds: {{max: 5, optional: true}}, selects: [run_ids, filter]}}
"""
    loaded = rules(text, tmp_path)
    assert loaded["all-of-it"].conditions == {}
    assert loaded["kinds"].selects == frozenset({"everything", "run_ids"})
    assert loaded["url"].effect is Effect.DENY
    assert loaded["exact"].exact_match
    assert loaded["few"].conditions == {"workflowRunIds": RunIdCondition(5, optional=True)}
    assert loaded["cap"].selects is None


def test_a_file_speaks_for_its_rules(tmp_path: Path) -> None:
    """Teams, exceptions and mode of the file hold for each rule; a rule adds exceptions and may set its own mode."""
    text = f"""{HEAD}except: [b]
mode: shadow
require:
  - {{id: watched, count: {{max: 5}}, except: [c]}}
  - {{id: held, count: {{max: 9}}, mode: enforce}}
"""
    loaded = rules(text, tmp_path)
    assert [loaded["watched"].shadow, loaded["held"].shadow] == [True, False]
    assert loaded["watched"].teams == {"a"}
    excepted = [{one.team for one in loaded[name].excepted} for name in ("watched", "held")]
    assert excepted == [{"b", "c"}, {"b"}]
    assert loaded["held"].name == "t/held"


def test_time_and_exceptions_become_their_types(tmp_path: Path) -> None:
    """Windows, ends, exceptions with and without an end, and the demand for a reason."""
    text = f"""{HEAD}except: [b]
require:
  - id: why
    reason: true
    during: {{days: [mon-wed, sun], hours: 22:00-06:00, zone: Europe/Berlin}}
    until: 2026-12-31
    except: [c, {{team: d, until: "2026-06-30T12:00:00+02:00", reason: an incident, ticket: OPS-1}}]
"""
    rule = rules(text, tmp_path)["why"]
    assert rule.reason_required
    assert rule.during == Window(ZoneInfo("Europe/Berlin"), frozenset((0, 1, 2, 6)), Hours(1320, 360))
    assert rule.until_ms == 1_798_761_600_000
    timed = TeamException("d", 1_782_813_600_000, "an incident", "OPS-1")
    assert rule.excepted == (TeamException("b"), TeamException("c"), timed)
    assert rule.at is not None
    assert rule.at.line == 6


LOOKED_UP = "resolve: true, runs: {max: 9}"
NOT_IN_DENY = "in a deny only exact, prefix, any_of, within_last and selects exist"
REFUSED_RULES = {
    "cap in a deny": ("deny", "count: {cap: 5}", f"13: 'count' is not allowed here: {NOT_IN_DENY}"),
    "exact match in a deny": ("deny", "workflowUrlExactMatch: true", "13: 'workflowUrlExactMatch' is not allowed here"),
    "any in a deny": ("deny", "label: {any: true}", f"21: 'any' is not allowed here: {NOT_IN_DENY}"),
    "optional in a deny": ("deny", "label: {any_of: [x], optional: true}", "34: 'optional' is not allowed here"),
    "max in a deny": ("deny", "workflowRunIds: {prefix: [w], max: 2}", "43: 'max' is not allowed here"),
    "max_span in a deny": ("deny", "created: {within_last: 1h, max_span: 1h}", "40: 'max_span' is not allowed here"),
    "owner in a deny": ("deny", "owner: unchecked", "13: 'owner' is not allowed here"),
    "require without condition": ("require", "message: m", "5: the require names no condition"),
    "owner in a require": ("require", "count: {max: 1}, owner: unchecked", "30: 'owner' is not allowed here"),
    "exact match in an allow": (
        "allow",
        "label: {any: true}, workflowUrlExactMatch: true",
        "33: 'workflowUrlExactMatch'",
    ),
    "exact match turned off": ("require", "workflowUrlExactMatch: false", "36: expected true, found 'false'"),
    "exact match by word": ("require", "workflowUrlExactMatch: on", "36: expected true, found 'on'"),
    "exact match in quotes": ("require", 'workflowUrlExactMatch: "true"', "36: expected true, found 'true' in quotes"),
    "allow with an id alone": ("allow", "mode: enforce", "5: the allow names nothing that selects"),
    "allow by count alone": ("allow", "count: {max: 5}", "5: the allow names nothing that selects"),
    "allow by kind alone": ("allow", "selects: [filter]", "5: the allow names nothing that selects"),
    "IDs and filters": (
        "allow",
        "workflowRunIds: {max: 1}, label: {any: true}, owner: unchecked",
        "5: run IDs and filters",
    ),
    "IDs and filters in a deny": (
        "deny",
        "workflowRunIds: {prefix: [w]}, created: {within_last: 1h}",
        "5: run IDs and",
    ),
    "IDs without owner": ("allow", "workflowRunIds: {max: 1}", "5: run IDs carry no owner: say 'resolve: true'"),
    "another owner": ("allow", "workflowRunIds: {max: 1}, owner: me", "46: 'me': expected unchecked"),
    "owner without IDs": (
        "allow",
        "label: {any: true}, owner: unchecked",
        "33: 'owner' stands only beside workflowRunIds",
    ),
    "resolve without runs": ("allow", "label: {any: true}, resolve: true", "5: 'resolve: true' needs 'runs: {max: …}'"),
    "resolve in a require without runs": ("require", "resolve: true", "5: 'resolve: true' needs 'runs: {max: …}'"),
    "runs without resolve": ("allow", "label: {any: true}, runs: {max: 9}", "33: 'runs' stands only beside 'resolve"),
    "runs alone in a require": ("require", "count: {max: 1}, runs: {max: 9}", "30: 'runs' stands only beside"),
    "resolve turned off": (
        "allow",
        f"label: {{any: true}}, {LOOKED_UP.replace('true', 'false')}",
        "42: expected true,",
    ),
    "runs without max": (
        "allow",
        "label: {any: true}, resolve: true, runs: {older_than: 5m}",
        "54: expected exactly one of the keys 'max', 'cap'",
    ),
    "runs with max and cap": (
        "allow",
        "label: {any: true}, resolve: true, runs: {max: 5, cap: 5}",
        "54: expected exactly one of the keys 'max', 'cap'",
    ),
    "no runs at all": ("allow", "label: {any: true}, resolve: true, runs: {max: 0}", "60: expected 1 to 999999999"),
    "age without unit": (
        "allow",
        'label: {any: true}, resolve: true, runs: {max: 1, older_than: "5"}',
        "75: '5': expected a duration",
    ),
    "resolve in a deny": ("deny", LOOKED_UP, f"13: 'resolve' is not allowed here: {NOT_IN_DENY}"),
    "runs in a deny": ("deny", "runs: {max: 1}", f"13: 'runs' is not allowed here: {NOT_IN_DENY}"),
    "logs in a deny": ("deny", "logs: full", "13: 'logs' is not allowed here"),
    "logs in a require": ("require", "count: {max: 1}, logs: full", "30: 'logs' is not allowed here: it exists in an"),
    "logs of another kind": ("allow", "label: {any: true}, logs: all", "39: 'all': expected summary or full"),
    "a host that is not looked up": (
        "allow",
        "host: {any_of: [a.example]}",
        "13: host is matched by the gateway and never",
    ),
    "a path that is not looked up": (
        "allow",
        "host: {any: true}, path: {any_of: [/a]}, label: {any: true}",
        "32: path is matched by the gateway and never sent: an allow on it has the runs looked up (resolve: true)",
    ),
    "a path alone": (
        "allow",
        f"path: {{prefix: [/a]}}, label: {{any: true}}, {LOOKED_UP}",
        "13: a path is one of a host: name host or workflowUrl beside it",
    ),
    "a host beside IDs": (
        "allow",
        f"workflowRunIds: {{max: 1}}, workflowUrl: {{any: true}}, host: {{any: true}}, {LOOKED_UP}",
        "65: beside workflowRunIds an allow with 'resolve: true' names workflowUrl only, not host",
    ),
    "a host in capitals": ("deny", "host: {any_of: [A.example]}", "29: 'A.example': a host is name[:port]"),
    "a host with a scheme": (
        "deny",
        'host: {any_of: ["https://a.example"]}',
        "29: 'https://a.example': a host is name[:port]",
    ),
    "a host by prefix": ("deny", "host: {prefix: [a]}", "20: unknown key 'prefix'"),
    "a path without its slash": ("deny", "path: {any_of: [api]}", "29: 'api': a path begins with '/'"),
    "a path with a query": ("deny", 'path: {any_of: ["/api?x"]}', "29: '/api?x': a path begins with '/'"),
    "a path with a pattern": (
        "deny",
        'path: {prefix: ["/api/*"]}',
        "29: '/api/*': a policy path is no pattern, and '*' looks like one",
    ),
    "a path with dots": ("deny", 'path: {prefix: ["/a/../b"]}', "29: '/a/../b': the URL path has a dot"),
    "a path that bounds nothing": ("deny", "path: {}", "19: the condition bounds nothing: write any_of or prefix"),
    "looked-up IDs without URL": (
        "allow",
        f"workflowRunIds: {{max: 1}}, {LOOKED_UP}",
        "5: with 'resolve: true' an allow on workflowRunIds names the workflowUrl",
    ),
    "looked-up IDs with another filter": (
        "allow",
        f"workflowRunIds: {{max: 1}}, workflowUrl: {{any: true}}, label: {{any: true}}, {LOOKED_UP}",
        "65: beside workflowRunIds an allow with 'resolve: true' names workflowUrl only, not label",
    ),
    "looked-up IDs on trust": (
        "allow",
        f"workflowRunIds: {{max: 1}}, workflowUrl: {{any: true}}, owner: unchecked, {LOOKED_UP}",
        "65: 'owner: unchecked' and 'resolve: true' exclude each other",
    ),
    "looked-up IDs whose URL is optional": (
        "allow",
        f'workflowRunIds: {{max: 1}}, workflowUrl: {{prefix: ["https://a.example/x"], optional: true}}, {LOOKED_UP}',
        "5: beside workflowRunIds workflowUrl is not optional: every run has a URL",
    ),
    "IDs and URL not looked up": (
        "allow",
        "workflowRunIds: {max: 1}, workflowUrl: {any: true}, owner: unchecked",
        "5: run IDs and filters never stand in one rule",
    ),
    "looked-up IDs and URL in a require": (
        "require",
        f"workflowRunIds: {{max: 1}}, workflowUrl: {{any: true}}, {LOOKED_UP}",
        "5: run IDs and filters never stand in one rule",
    ),
    "resolve alone in an allow": ("allow", LOOKED_UP, "5: the allow names nothing that selects"),
    "nothing named, and not everything": (
        "allow",
        f"selects: [filter], {LOOKED_UP}",
        "5: the allow names nothing that selects: with no field it says selects: [everything]",
    ),
    "everything and a filter": (
        "allow",
        f"selects: [everything, filter], {LOOKED_UP}",
        "5: everything can only be allowed by a rule that looks the runs up",
    ),
    "any and a bound": ("allow", "label: {any: true, any_of: [x]}", "20: 'any' stands alone"),
    "any turned off": ("allow", "label: {any: false}", "26: expected true, found 'false'"),
    "optional without a bound": ("allow", "label: {optional: true}", "20: the condition bounds nothing"),
    "empty condition": ("allow", "workflowUrl: {}", "26: the condition bounds nothing: write exact or prefix or any"),
    "null condition": ("allow", "workflowUrl: ~", "26: expected a mapping, found a single value"),
    "empty list": ("allow", "label: {any_of: []}", "29: the list is empty"),
    "value twice": ("allow", "label: {any_of: [x, x]}", "33: the same value stands in line 5 already"),
    "value for a list": ("allow", "label: {any_of: x}", "29: expected a list, found a single value"),
    "star in a URL": (
        "allow",
        'workflowUrl: {exact: ["https://a.example/b*"]}',
        "35: 'https://a.example/b*': a policy URL is no",
    ),
    "star in a prefix": (
        "allow",
        'workflowUrl: {prefix: ["https://*.a.example"]}',
        "36: 'https://*.a.example': a policy URL",
    ),
    "regular expression": (
        "deny",
        'workflowUrl: {exact: ["^https://a.example/b$"]}',
        "35: '^https://a.example/b$': a policy",
    ),
    "path parameter": (
        "deny",
        'workflowUrl: {exact: ["https://a.example/{b}"]}',
        "35: 'https://a.example/{b}': a policy URL",
    ),
    "URL not canonical": (
        "allow",
        'workflowUrl: {exact: ["HTTPS://a.example/b"]}',
        "35: 'HTTPS://a.example/b': a workflow URL",
    ),
    "exact URL without path": (
        "allow",
        'workflowUrl: {exact: ["https://a.example"]}',
        "35: 'https://a.example': the workflow",
    ),
    "query in a prefix": (
        "allow",
        'workflowUrl: {prefix: ["https://a.example/b?c"]}',
        "36: 'https://a.example/b?c': a URL prefix",
    ),
    "comma in a label": ("allow", 'label: {any_of: ["a,b"]}', "30: 'a,b': only letters, digits"),
    "star as a label": ("allow", 'label: {any_of: ["*"]}', "30: '*': only letters, digits"),
    "address not canonical": ("allow", 'callerIp: {any_of: ["::0"]}', "33: '::0': write the address as ::"),
    "date as a label": (
        "allow",
        "label: {any_of: [2026-01-01]}",
        "30: expected text, found '2026-01-01' without quotes",
    ),
    "octal as a label": ("allow", "label: {any_of: [0123]}", "30: expected text, found '0123' without quotes"),
    "boolean as a label": ("allow", "label: {any_of: [yes]}", "30: expected text, found 'yes' without quotes"),
    "sexagesimal number": (
        "require",
        "count: {max: 1:30}",
        "26: expected a whole number in plain digits, found '1:30'",
    ),
    "octal number": ("require", "count: {max: 0100}", "26: expected a whole number in plain digits, found '0100'"),
    "float": ("require", "count: {max: 1e3}", "26: expected a whole number in plain digits, found '1e3'"),
    "number in quotes": ("require", 'count: {max: "50"}', "26: expected a whole number, found text '50'"),
    "count of none": ("require", "count: {cap: 0}", "26: expected 1 to 999999999, found 0"),
    "reason in a deny": ("deny", "reason: true", "13: 'reason' is not allowed here"),
    "reason in an allow": ("allow", "label: {any: true}, reason: true", "33: 'reason' is not allowed here"),
    "reason turned off": ("require", "reason: false", "21: expected true, found 'false'"),
    "hours without zone": ("deny", 'during: {hours: "09:00-17:00"}', "21: days and hours are those of a zone"),
    "unknown zone": ("deny", "during: {days: [mon], zone: Europe/Berlni}", "41: 'Europe/Berlni': not a time zone: did"),
    "end without offset": ("deny", "until: 2026-12-31T00:00:00", "20: '2026-12-31T00:00:00': expected a date"),
    "no such end": ("deny", "until: 2026-02-29", "20: '2026-02-29': there is no such day"),
    "exception for nobody": ("deny", "except: [{until: 2026-12-31}]", "22: the key 'team' is missing"),
    "exception twice": ("deny", "except: [a, {team: a, until: 2026-12-31}]", "25: the same team stands in line 5"),
    "exception with a typo": ("deny", "except: [{team: a, untill: 2026-12-31}]", "32: unknown key 'untill': did you"),
    "typo": ("require", "count: {max_cuont: 5}", "21: unknown key 'max_cuont': known are max, cap, any"),
    "duration without unit": ("allow", 'created: {within_last: "24"}', "36: '24': expected a duration"),
    "unknown kind": ("deny", "selects: [all]", "23: 'all': expected run_ids or ids or filter or everything"),
    "unknown mode": ("deny", "mode: off", "19: expected text, found 'off' without quotes"),
    "unknown mode in words": ("deny", "mode: report", "19: 'report': expected enforce or shadow"),
    "everyone excepted": ("deny", 'except: ["*"]', "22: '*': expected a team"),
    "line break in the message": ("deny", 'message: "a\\nb"', "22: the text holds a line break or control character"),
    "alias": ("deny", "message: *m", "22: an alias is not allowed"),
}


@pytest.mark.parametrize("name", REFUSED_RULES)
def test_a_rule_with_a_fault_is_refused_at_its_place(name: str) -> None:
    """Every combination without a meaning, and every value with two readings, has a position and a sentence."""
    effect, members, expected = REFUSED_RULES[name]
    assert f"5:{expected}" in [fault[: len(expected) + 2] for fault in rule_faults(effect, f", {members}")]


def test_everything_cannot_be_allowed() -> None:
    """The accident that the gateway exists for needs a rule that looks the runs up, and says so."""
    for members in ("", ", label: {any: true}", f", label: {{any: true}}, {LOOKED_UP}"):
        [fault] = rule_faults("allow", f", selects: [everything]{members}")
        if members:
            assert fault.startswith(
                "5:5: everything can only be allowed by a rule that looks the runs up (resolve: true)"
            )
        else:
            assert "everything can only be allowed by selects: [everything] with resolve: true" in fault


def test_a_rule_that_looks_runs_up_becomes_its_type(tmp_path: Path) -> None:
    """Bounds of the look-up, the URL that runs named by ID must have, everything, and the way runs are shown."""
    text = f"""{HEAD}require:
  - {{id: forced, resolve: true, runs: {{max: 100}}}}
allow:
  - {{id: by-url, workflowUrl: {{any: true}}, resolve: true, runs: {{max: 200, older_than: 5m}}, logs: full}}
  - {{id: by-id, workflowRunIds: {{max: 9}}, workflowUrl: {{prefix: [https://a.example/x]}}, {LOOKED_UP}}}
  - {{id: all, selects: [everything], {LOOKED_UP}, logs: summary}}
  - {{id: direct, label: {{any_of: [x]}}}}
"""
    loaded = rules(text, tmp_path)
    assert loaded["forced"].resolution == Resolution(100)
    assert (loaded["by-url"].resolution, loaded["by-url"].logs_full) == (Resolution(200, 300_000), True)
    assert loaded["by-id"].conditions.keys() == {"workflowRunIds", "workflowUrl"}
    assert not loaded["by-id"].owner_unchecked
    assert (loaded["all"].admits_everything, loaded["all"].logs_full) == (True, False)
    assert loaded["direct"].resolution is None
    assert [rule.id for rule in load_policies(tmp_path).resolving] == ["forced", "by-url", "by-id", "all"]


REFUSED_FILES = {
    "no rule": (HEAD, "1:1: the file holds no rule: write deny, require or allow"),
    "empty list of rules": (f"{HEAD}allow: []\n", "4:8: the list is empty"),
    "name missing": (f"version: 1\nteams: [a]\nallow:\n{ALLOW}", "1:1: the key 'name' is missing"),
    "teams missing": (f"version: 1\nname: t\nallow:\n{ALLOW}", "1:1: the key 'teams' is missing"),
    "no team": (f"version: 1\nname: t\nteams: []\nallow:\n{ALLOW}", "3:8: the list is empty"),
    "everyone and others": (
        f'version: 1\nname: t\nteams: ["*", a]\nallow:\n{ALLOW}',
        "1:1: teams: '*' stands alone, it is every team",
    ),
    "team in upper case": (f"version: 1\nname: t\nteams: [A]\nallow:\n{ALLOW}", "3:9: 'A': expected a team"),
    "misspelt list": (f"{HEAD}denny:\n{ALLOW}allow:\n{ALLOW}", "4:1: unknown key 'denny': did you mean 'deny'?"),
    "deny that becomes allow": (
        f"{HEAD}allow:\n{ALLOW}allow:\n{ALLOW.replace('r,', 's,')}",
        "6:1: duplicate key 'allow': it stands in line 4 already",
    ),
    "rule id twice": (f"{HEAD}require:\n{ALLOW}allow:\n{ALLOW}", "7:5: the same rule id stands in line 5 already"),
    "rule id missing": (f"{HEAD}allow:\n  - {{label: {{any: true}}}}\n", "5:5: the key 'id' is missing"),
    "rule id with a slash": (f"{HEAD}allow:\n{ALLOW.replace('r,', 'a/b,')}", "5:10: 'a/b': expected a rule id"),
    "rule id of digits": (
        f"{HEAD}allow:\n{ALLOW.replace('r,', '12,')}",
        "5:10: expected text, found '12' without quotes",
    ),
    "comments only": ("# allow:\n", "1:1: the file is empty"),
}


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_a_file_with_a_fault_is_refused_at_its_place(name: str) -> None:
    """Each fault of a file as a whole gives exactly one problem."""
    text, expected = REFUSED_FILES[name]
    assert [fault[: len(expected)] for fault in faults(text)] == [expected]


def test_all_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    """One run shows every fault of the directory, in the order of files and lines."""
    (tmp_path / "a.yaml").write_text(f"{HEAD}allow:\n  - {{id: R, count: {{max: 01}}}}\n  - {{}}\n")
    (tmp_path / "b.yaml").write_text("name: [\n")
    (tmp_path / "c.yml").write_text(f"{HEAD}allow:\n{ALLOW}")
    with pytest.raises(InvalidConfiguration) as raised:
        load_policies(tmp_path)
    places = [f"{Path(problem.file).name}:{problem.line}" for problem in raised.value.problems]
    assert places == ["a.yaml:5", "a.yaml:5", "a.yaml:5", "a.yaml:6", "a.yaml:6", "b.yaml:2", "c.yml:1"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """`name/id` names one rule in the record."""
    for file in ("a.yaml", "b.yaml"):
        (tmp_path / file).write_text(f"{HEAD}allow:\n{ALLOW}")
    with pytest.raises(InvalidConfiguration, match=r"b\.yaml:1:1: the same policy name stands in .*a\.yaml:1 already"):
        load_policies(tmp_path)


def test_a_directory_without_policies_is_refused(tmp_path: Path) -> None:
    """No file is a mistake; deny by default needs no empty directory."""
    with pytest.raises(InvalidConfiguration, match="there is no policy file"):
        load_policies(tmp_path)
    with pytest.raises(InvalidConfiguration, match="the policy directory cannot be read"):
        load_policies(tmp_path / "absent")


@pytest.mark.parametrize("name", ["deny.yml", "deny.YAML", "more/deny.yaml"])
def test_a_file_that_would_not_be_read_is_refused(tmp_path: Path, name: str) -> None:
    """A deny that its author believes in must not be passed over in silence."""
    for file in ("t.yaml", name):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(f"{HEAD}allow:\n{ALLOW}")
    with pytest.raises(InvalidConfiguration, match="would not be read"):
        load_policies(tmp_path)


def test_cases_are_no_policies(tmp_path: Path) -> None:
    """`*.cases.yaml` hold the policies' tests, in a format of their own."""
    (tmp_path / "t.cases.yaml").write_text("- anything\n")
    assert list(rules(f"{HEAD}allow:\n{ALLOW}", tmp_path)) == ["r"]


def test_a_file_that_anyone_could_change_is_refused(tmp_path: Path) -> None:
    """A policy is worth what its file's permissions are worth; so is the directory, where files can be replaced."""
    file = tmp_path / "t.yaml"
    rules(f"{HEAD}allow:\n{ALLOW}", tmp_path)
    file.chmod(0o646)
    with pytest.raises(InvalidConfiguration, match=r"t\.yaml:1:1: anyone on this machine could change it"):
        load_policies(tmp_path)
    file.chmod(0o644)
    tmp_path.chmod(0o757)
    with pytest.raises(InvalidConfiguration, match="anyone on this machine could change it"):
        load_policies(tmp_path)


def test_a_link_that_leads_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    """What is reviewed in the directory is what is loaded."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "elsewhere.yaml").write_text(f"{HEAD}allow:\n{ALLOW}")
    (tmp_path / "policies" / "t.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(InvalidConfiguration, match=r"t\.yaml:1:1: a link that leads out of the policy directory"):
        load_policies(tmp_path / "policies")


def test_a_mounted_config_map_is_read(tmp_path: Path) -> None:
    """Kubernetes links each file through `..data`, which never leaves the directory."""
    (tmp_path / "..2026_01_01").mkdir()
    (tmp_path / "..2026_01_01" / "t.yaml").write_text(f"{HEAD}allow:\n{ALLOW}")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "t.yaml").symlink_to("..data/t.yaml")
    assert [rule.id for rule in load_policies(tmp_path).rules] == ["r"]


def test_the_digest_names_what_was_loaded(tmp_path: Path) -> None:
    """It changes with any byte and any file name, and not with the directory."""
    digests = set()
    for number, (name, text) in enumerate([("a", ""), ("a", "#"), ("b", ""), ("a", "")]):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / f"{name}.yaml").write_text(f"{HEAD}allow:\n{ALLOW}{text}")
        digests.add(load_policies(directory).digest)
    assert len(digests) == 3
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in digests)


def test_the_shipped_policies_load() -> None:
    """Guardrails for everyone, two teams and who is on call, in the names that the documents use."""
    loaded = load_policies(Path(__file__).parents[2] / "policies")
    assert {rule.policy for rule in loaded.rules} == {"guardrails", "billing", "search", "oncall", "recovery"}
    assert [rule.name for rule in loaded.for_team("billing").allows] == ["billing/own-runs", "billing/own-workflows"]
    assert [rule.name for rule in loaded.for_team("stranger").allows] == []
    assert [rule.name for rule in loaded.for_team("oncall").requires] == ["guardrails/count-cap"]


WHOLE = f"""{HEAD}deny:
  - {{id: d, selects: [everything]}}
allow:
  - id: r
    workflowUrl: {{exact: ["https://a.example/b"]}}
    created: {{within_last: 24h}}
    count: {{cap: 50}}
"""


@given(st.text(alphabet="idlabeutrnyo: {}[]\"'-*&!~10.\n"), st.integers(0, len(WHOLE)), st.integers(0, 30))
def test_loading_any_text_is_total(text: str, start: int, length: int) -> None:
    """A good file with any change in any place is read or refused with problems, and nothing else happens."""
    problems = None
    try:
        parse_policy("t.yaml", (WHOLE[:start] + text + WHOLE[start + length :]).encode())
    except InvalidConfiguration as exc:
        problems = exc.problems
    assert problems is None or problems
