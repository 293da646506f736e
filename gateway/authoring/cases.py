"""The test cases of policies, `*.cases.yaml` beside them: read as strictly as policies, and each with its own time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from gateway.authoring.explain import Explanation, explain
from gateway.authoring.question import HEADERS, NAMES, Question, from_line, from_wire
from gateway.core import grammar
from gateway.core.errors import InvalidConfiguration, Problem, Refusal
from gateway.core.forms.times import instant_ms
from gateway.core.plan import Decision, Denial, Owner, Permit
from gateway.core.request import CANCEL_RUNS, Action, ActionRequest, Principal
from gateway.core.run import CANCELLED, STARTED, Listing, Resolved, Run
from gateway.files import nodes
from gateway.files.mappings import Either, Key, ListOf, Present, Shape, may, need
from gateway.files.nodes import Node, Place
from gateway.files.source import parse_document, read_file
from gateway.files.values import Bool, Choice, Int, Text, word
from gateway.operations.words import WORDS
from gateway.policy.choose import choose
from gateway.policy.format.keys import owner, team_name
from gateway.policy.format.load import CASES_SUFFIX, is_hidden
from gateway.policy.rules import Policies

NOON_MS = 1_767_268_800_000
"""The time of a case that names none: 2026-01-01T12:00:00Z."""

SUBJECT = "case"
"""The subject of a case's principal. Its value does not matter, because policies speak about teams."""

_MAX_MS = 9_999_999_999_999
_MAX_LINE_CHARS = 131_072
_RULE_NAME = "[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """The decision that a case expects. An expectation that is None is not checked.

    `runs` are what the look-up would find, and `cancels` those that the action is done to, by ID: runs, or entries of
    the dead letter queue, or messages.
    """

    at: Place
    it: str
    expect: str
    rule: str | None = None
    shadow: str | None = None
    effective: Mapping[str, object] | None = None
    resolve: bool | None = None
    runs: tuple[Run, ...] | None = None
    cancels: tuple[str, ...] | None = None
    owner: Owner | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case(_Expected):
    """One case: a question, and the decision that is expected."""

    question: Question


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one case: its differences from what it expects (none: it passed), and why it was decided so.

    `end` is the judgement on the case's runs, if the request was permitted and the case names runs.
    """

    case: Case
    differences: tuple[str, ...]
    explanation: Explanation
    end: Denial | Resolved | None = None


def case_files(directory: Path) -> list[Path]:
    """Return the case files of a policy directory, by name. Raises: InvalidConfiguration if it cannot be read."""
    try:
        names = (path.name for path in directory.iterdir())
        return sorted(directory / name for name in names if name.endswith(CASES_SUFFIX) and not is_hidden(name))
    except OSError as exc:
        raise InvalidConfiguration([Problem(str(directory), 1, 1, f"cannot be read: {exc.strerror}")]) from exc


def load_cases(paths: Iterable[Path]) -> tuple[Case, ...]:
    """Read the cases of all files. Raises: InvalidConfiguration with every problem of every file."""
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
    """Parse the cases of one file; `file` is its name in problems. Raises: InvalidConfiguration with every problem."""
    node, problems = parse_document(file, content)
    entries = cases_file().read(node, problems)
    cases = [case for entry in entries or () if (case := _case(entry, problems))]
    if problems or entries is None:
        raise InvalidConfiguration(problems)
    return tuple(cases)


def judge_cases(policies: Policies, cases: Iterable[Case]) -> Iterator[Verdict]:
    """Yield the verdict on each case, in turn."""
    for case in cases:
        explanation = explain(policies, case.question)
        end = _end(policies, case, explanation.decision)
        decision = end if isinstance(end, Denial) else explanation.decision
        yield Verdict(case, (*_differences(case, decision), *_cancelled(case, end)), explanation, end)


def _end(policies: Policies, case: Case, decision: Decision) -> Denial | Resolved | None:
    """Return the judgement on the case's runs, as if a look-up had found them; None if there are none to judge."""
    if case.runs is None or isinstance(decision, Denial):
        return None
    asked, listing = case.question, Listing(case.runs)
    return choose(policies, asked.principal, asked.request, decision, listing, asked.now_ms)


def _cancelled(case: Case, end: Denial | Resolved | None) -> Iterator[str]:
    found = [run.run_id for run in end.runs] if isinstance(end, Resolved) else []
    if case.cancels is not None and sorted(found) != sorted(case.cancels):
        words = WORDS[case.question.request.action]
        none = f"no {words.thing}"
        yield f"expected to {words.verb} {', '.join(case.cancels) or none}, found {', '.join(found) or none}"


def check_cases(directory: Path, policies: Policies) -> None:
    """Judge all cases of a policy directory, which may have none.

    Raises: InvalidConfiguration if a file cannot be read, or with a problem for each case that fails.
    """
    failed = [verdict for verdict in judge_cases(policies, load_cases(case_files(directory))) if verdict.differences]
    if failed:
        raise InvalidConfiguration([_failure(verdict) for verdict in failed])


def _failure(verdict: Verdict) -> Problem:
    return verdict.case.at.problem(f"the case '{verdict.case.it}' fails: {'; '.join(verdict.differences)}")


def unreached(policies: Policies, verdicts: Sequence[Verdict]) -> list[str]:
    """Return, by name, the rules that in no case refused, admitted or lowered the count of a request."""
    reached = {part.rule for verdict in verdicts for part in verdict.explanation.parts if part.reached}
    reached |= {verdict.end.rule or "" for verdict in verdicts if isinstance(verdict.end, Denial)}
    return sorted({rule.name for rule in policies.rules} - reached)


def _differences(case: Case, decision: Decision) -> Iterator[str]:
    found = "permit" if isinstance(decision, Permit) else "deny"
    if found != case.expect:
        yield f"expected {case.expect}, found {found}"
    if case.rule is not None and decision.rule != case.rule:
        yield f"expected the rule {case.rule}, found {decision.rule or 'none'}"
    if case.shadow is not None and decision.shadow != case.shadow:
        yield f"expected the shadow rule {case.shadow}, found {decision.shadow or 'none'}"
    if case.owner is not None and isinstance(decision, Denial) and decision.owner != case.owner:
        found_owner = "nobody" if decision.owner is None else f"{decision.owner.team}: {decision.owner.contact}"
        yield f"expected to be sent to {case.owner.team}: {case.owner.contact}, found {found_owner}"
    if isinstance(decision, Permit) and case.resolve not in (None, decision.resolution is not None):
        yield f"expected resolve {str(case.resolve).lower()}, found {str(decision.resolution is not None).lower()}"
    if isinstance(decision, Permit) and case.effective is not None:
        effective = decision.effective.wire()
        for name, value in case.effective.items():
            if effective.get(name) != value:
                yield f"expected {name} {value}, found {effective.get(name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry(_Expected):
    """A case as written in its file."""

    team: str
    request: str | Mapping[str, object]
    action: Action | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    time_ms: int = NOON_MS
    reason: str | None = None


def cases_file() -> Shape[tuple[_Entry, ...]]:
    """Return the reader of one case file."""
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
        "action": may(Choice(tuple(Action))),
        "headers": may(Shape(dict, _headers())),
        "body": may(Text(str)),
        "at": may(Text(instant_ms, typed=True), into="time_ms"),
        "reason": may(Text(grammar.reason)),
        "expect": need(Choice(("permit", "deny"))),
        "rule": may(rule),
        "owner": may(owner()),
        "shadow": may(rule),
        "effective": may(_fields(_headers())),
        "resolve": may(Bool()),
        "runs": may(ListOf(_run(), min_items=0, distinct={"run ID": lambda run: run.run_id})),
        "cancels": may(ListOf(Text(grammar.run_id), min_items=0, distinct={"run ID": str})),
    }
    return Shape(_Entry, keys, check=_runs_beside_cancels, located=True)


def _run() -> Shape[Run]:
    """Return the reader of one run of the account, or entry or message, as the look-up would find it."""
    keys = {
        "id": need(Text(grammar.run_id), into="run_id"),
        "url": need(Text(grammar.url), into="workflow_url"),
        "created": need(Text(instant_ms, typed=True), into="created_ms"),
        "labels": may(ListOf(Text(grammar.key))),
        "flowControlKey": may(Text(grammar.key), into="flow_control_key"),
        "callerIp": may(Text(grammar.ip_address), into="caller_ip"),
        "workflowRunId": may(Text(grammar.run_id), into="failed_run_id"),
        "state": may(Choice((STARTED, "RUN_SUCCESS", "RUN_FAILED", CANCELLED))),
    }
    return Shape(Run, keys)


def _runs_beside_cancels(place: Place, present: Present) -> list[Problem]:
    if "cancels" in present and "runs" not in present:
        return [present["cancels"].problem("'cancels' stands only beside 'runs', of which they are some")]
    return []


class _OneOrMore:
    """A text, or a list of texts."""

    def read(self, node: Node, problems: list[Problem]) -> list[str] | None:
        """Read either form as a list. Return None if the node is neither; the problem is added to `problems`."""
        if isinstance(node, nodes.Sequence):
            texts = ListOf(Text(str)).read(node, problems)
            return None if texts is None else list(texts)
        text = Text(str).read(node, problems)
        return None if text is None else [text]

    def json_schema(self) -> dict[str, object]:
        """Return a schema that admits both forms."""
        return {"anyOf": [Text(str).json_schema(), ListOf(Text(str)).json_schema()]}


def _fields(more: Mapping[str, Key] | None = None) -> Shape[Mapping[str, object]]:
    """Return the reader of a request's typed fields, which have the wire names, and perhaps of `more`."""
    keys: dict[str, Key] = {name: may(_OneOrMore()) for name in NAMES}
    keys |= {"workflowUrlExactMatch": may(Bool()), "count": may(Int(1, 999_999_999))}
    keys |= {name: may(Int(0, _MAX_MS)) for name in ("fromDate", "toDate")}
    return Shape(dict, {**keys, **(more or {})})


def _headers() -> dict[str, Key]:
    """Return the readers of the headers that say more of a request, by name."""
    return {name: may(Text(str, typed=True)) for name in HEADERS}


def _case(entry: _Entry, problems: list[Problem]) -> Case | None:
    if entry.expect == "deny" and entry.effective is not None:
        problems.append(entry.at.problem("'effective' is what is sent: it stands only beside 'expect: permit'"))
    if entry.expect == "permit" and entry.owner is not None:
        problems.append(entry.at.problem("'owner' is whom a refusal names: it stands only beside 'expect: deny'"))
    if entry.expect == "deny" and entry.cancels:
        problems.append(entry.at.problem("'cancels' is what is cancelled: it stands only beside 'expect: permit'"))
    try:
        request = _request(entry)
    except (Refusal, ValueError) as exc:
        problems.append(entry.at.problem(f"the request cannot be judged, the gateway would not read it: {exc}"))
        return None
    question = Question(Principal(entry.team, SUBJECT), request, entry.time_ms)
    return Case(question=question, **{one.name: getattr(entry, one.name) for one in fields(_Expected)})


def _request(entry: _Entry) -> ActionRequest:
    body, headers, reason = (entry.body or "").encode(), entry.headers, entry.reason
    if isinstance(entry.request, str):
        return from_line(entry.request, body=body, reason=reason, action=entry.action, headers=[*headers.items()])
    if body:
        raise ValueError("'body' stands beside a request line, not beside typed fields")
    return from_wire({**entry.request, **headers}, action=entry.action or CANCEL_RUNS, reason=reason)
