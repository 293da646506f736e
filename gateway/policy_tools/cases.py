"""The policies' own cases: `*.cases.yaml` beside the policies, read as strictly as they are; time stands in each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway import grammar
from gateway.cancel import CancelRequest, Decision, Permit, Principal
from gateway.document.fields import Bool, Choice, Int, Text, word
from gateway.document.file import parse_document, read_file
from gateway.document.nodes import Listing, Node, Place
from gateway.document.shapes import Either, Key, ListOf, Shape, may, need
from gateway.errors import InvalidConfiguration, MalformedRequest, Problem
from gateway.policy.load import CASES_SUFFIX
from gateway.policy.rules import Policies
from gateway.policy.vocabulary import team_name
from gateway.policy_tools.explain import Explanation, explain
from gateway.policy_tools.question import Question, from_line, from_wire, instant_ms
from gateway.read import NAMES

NOON_MS = 1_767_268_800_000
"""The time of a case that names none: 2026-01-01T12:00:00Z."""

SUBJECT = "case"
"""The subject of a case's principal; policies speak about teams."""

_MAX_MS = 9_999_999_999_999
_MAX_LINE_CHARS = 131_072
_RULE_NAME = "[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}"


@dataclass(frozen=True, slots=True)
class Case:
    """One case: a question, and what is expected of its decision; what is None is not looked at."""

    at: Place
    it: str
    question: Question
    expect: str
    rule: str | None = None
    shadow: str | None = None
    effective: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One case judged: what differed from what it expects (nothing: it passed), and why it was decided so."""

    case: Case
    differences: tuple[str, ...]
    explanation: Explanation


def case_files(directory: Path) -> list[Path]:
    """The case files beside the policies of a directory, by name. Raises: InvalidConfiguration."""
    try:
        return sorted(path for path in directory.iterdir() if path.name.endswith(CASES_SUFFIX))
    except OSError as exc:
        raise InvalidConfiguration([Problem(str(directory), 1, 1, f"cannot be read: {exc.strerror}")]) from exc


def load_cases(paths: Iterable[Path]) -> tuple[Case, ...]:
    """The cases of some files. Raises: InvalidConfiguration with every problem of every file."""
    problems: list[Problem] = []
    cases: list[Case] = []
    for path in paths:
        try:
            cases += parse_cases(str(path), read_file(path).content)
        except InvalidConfiguration as exc:
            problems += exc.problems
    if problems:
        raise InvalidConfiguration(problems)
    return tuple(cases)


def parse_cases(file: str, content: bytes) -> tuple[Case, ...]:
    """The cases of one file of its bytes; `file` is its name in problems. Raises: InvalidConfiguration."""
    node, problems = parse_document(file, content)
    entries = cases_file().read(node, problems)
    cases = [case for entry in entries or () if (case := _case(entry, problems))]
    if problems or entries is None:
        raise InvalidConfiguration(problems)
    return tuple(cases)


def judge_cases(policies: Policies, cases: Iterable[Case]) -> Iterator[Verdict]:
    """Judges every case."""
    for case in cases:
        explanation = explain(policies, case.question)
        yield Verdict(case, tuple(_differences(case, explanation.decision)), explanation)


def check_cases(directory: Path, policies: Policies) -> None:
    """Judges all cases beside the policies of a directory, of which there may be none.

    Raises: InvalidConfiguration where a file cannot be read, or with a problem for each case that fails.
    """
    failed = [verdict for verdict in judge_cases(policies, load_cases(case_files(directory))) if verdict.differences]
    if failed:
        raise InvalidConfiguration([_failure(verdict) for verdict in failed])


def _failure(verdict: Verdict) -> Problem:
    return verdict.case.at.problem(f"the case '{verdict.case.it}' fails: {'; '.join(verdict.differences)}")


def unreached(policies: Policies, verdicts: Sequence[Verdict]) -> list[str]:
    """The rules that had nothing to say in any case: none refused, admitted or was narrowed by them."""
    reached = {part.rule for verdict in verdicts for part in verdict.explanation.parts if part.reached}
    return sorted({rule.name for rule in policies.rules} - reached)


def _differences(case: Case, decision: Decision) -> Iterator[str]:
    found = "permit" if isinstance(decision, Permit) else "deny"
    if found != case.expect:
        yield f"expected {case.expect}, found {found}"
    if case.rule is not None and decision.rule != case.rule:
        yield f"expected the rule {case.rule}, found {decision.rule or 'none'}"
    if case.shadow is not None and decision.shadow != case.shadow:
        yield f"expected the shadow rule {case.shadow}, found {decision.shadow or 'none'}"
    if isinstance(decision, Permit) and case.effective is not None:
        effective = decision.effective.wire()
        for name, value in case.effective.items():
            if effective.get(name) != value:
                yield f"expected {name} {value}, found {effective.get(name)}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A case as written."""

    at: Place
    it: str
    team: str
    request: str | Mapping[str, object]
    expect: str
    body: str | None = None
    time_ms: int = NOON_MS
    reason: str | None = None
    rule: str | None = None
    shadow: str | None = None
    effective: Mapping[str, object] | None = None


def cases_file() -> Shape[tuple[_Entry, ...]]:
    """The reader of one case file."""
    cases = ListOf(_entry(), distinct={"it": lambda entry: entry.it})
    return Shape(_entries, {"version": need(Int(1, 1)), "cases": need(cases)})


def _entries(*, version: int, cases: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    return cases


def _entry() -> Shape[_Entry]:
    rule = word(_RULE_NAME, "a rule as file/id")
    line: Text[object] = Text(str, max_chars=_MAX_LINE_CHARS)
    keys = {
        "it": need(Text(str)),
        "team": need(team_name()),
        "request": need(Either(line, _fields())),
        "body": may(Text(str)),
        "at": may(Text(instant_ms, typed=True), into="time_ms"),
        "reason": may(Text(grammar.reason)),
        "expect": need(Choice(("permit", "deny"))),
        "rule": may(rule),
        "shadow": may(rule),
        "effective": may(_fields()),
    }
    return Shape(_Entry, keys, located=True)


class _OneOrMore:
    """A text, or a list of them."""

    def read(self, node: Node, problems: list[Problem]) -> list[str] | None:
        """Always a list."""
        if isinstance(node, Listing):
            texts = ListOf(Text(str)).read(node, problems)
            return None if texts is None else list(texts)
        text = Text(str).read(node, problems)
        return None if text is None else [text]

    def json_schema(self) -> dict[str, object]:
        """Either of the two."""
        return {"anyOf": [Text(str).json_schema(), ListOf(Text(str)).json_schema()]}


def _fields() -> Shape[Mapping[str, object]]:
    """The typed fields of a request, with the wire names."""
    keys: dict[str, Key] = {name: may(_OneOrMore()) for name in NAMES}
    keys |= {"workflowUrlExactMatch": may(Bool()), "count": may(Int(1, 999_999_999))}
    keys |= {name: may(Int(0, _MAX_MS)) for name in ("fromDate", "toDate")}
    return Shape(dict, keys)


def _case(entry: _Entry, problems: list[Problem]) -> Case | None:
    if entry.expect == "deny" and entry.effective is not None:
        problems.append(entry.at.problem("'effective' is what is sent: it stands only beside 'expect: permit'"))
    try:
        request = _request(entry)
    except (MalformedRequest, ValueError) as exc:
        problems.append(entry.at.problem(f"the request cannot be judged, the gateway would not read it: {exc}"))
        return None
    question = Question(Principal(entry.team, SUBJECT), request, entry.time_ms)
    return Case(entry.at, entry.it, question, entry.expect, entry.rule, entry.shadow, entry.effective)


def _request(entry: _Entry) -> CancelRequest:
    body = (entry.body or "").encode()
    if isinstance(entry.request, str):
        return from_line(entry.request, body=body, reason=entry.reason)
    if body:
        raise ValueError("'body' stands beside a request line, not beside typed fields")
    return from_wire(entry.request, reason=entry.reason)
