"""The fuzzing targets on their seeds, in every run of the suite; and each oracle on an answer that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from gateway.config import config_file
from gateway.core.errors import MalformedRequest, Problem
from gateway.core.parse import Body
from gateway.core.plan import Order, Permit
from gateway.core.request import Action, ActionRequest, ByFilter, ByIds, Everything
from gateway.edge.head import Head
from gateway.files.source import parse_document
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.decide import decide
from gateway.policy.format.load import parse_policy
from tests.reliability.fuzz import calls, files, forward, heads, lines, report
from tests.reliability.fuzz.seeds import CONFIG, POLICY, QUERIES, seeds, words
from tests.reliability.fuzz.targets import TARGETS

LABEL_B = ActionRequest(ByFilter(labels=("b",)), 100)
ENTRY = ByIds(("d_1",), "dlqIds")
HOST = (b"host", b"a")


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_break_no_law(name: str) -> None:
    """What fuzzing begins with is judged without a finding, and what was once found stays found."""
    assert words(name)
    for seed in seeds(name):
        TARGETS[name](seed)


def test_the_seeds_reach_every_rule_of_the_fixed_policies() -> None:
    """Each `allow` lets one of the seeds through, so the oracle of what is sent has work from the start."""
    policies, permitting = forward.fixed_policies(), set()
    for query in QUERIES:
        try:
            decision = decide(policies, forward.TEAM, parse_cancel(query, Body()), forward.NOW_MS)
        except MalformedRequest:
            continue
        if isinstance(decision, Permit):
            permitting.add(decision.rule)
    assert permitting == {rule.name for rule in policies.rules if rule.effect == "allow"}


def test_the_richest_seeds_are_accepted() -> None:
    """A seed that is refused leaves what is behind the refusal to chance."""
    assert len(parse_policy("f.yaml", POLICY).rules) == 8
    node, problems = parse_document("f.yaml", CONFIG)
    assert config_file().read(node, problems) is not None
    assert problems == []


def started(header: tuple[str, str], action: Action = Action.RESTART_DLQ) -> Order:
    """An order with a header."""
    return Order(ENTRY, 1, action, (header,))


WRONG: dict[str, Callable[[], None]] = {
    "a lost value": partial(heads.check_nothing_dropped, b"label=a&label=b", LABEL_B),
    "a name that folds": partial(heads.check_go_reads_the_same, b'{"WorkflowUrl":"https://a.example/"}',
                                 ActionRequest(Everything(), 100)),
    "a target with a fragment": partial(heads.check_said_by_http, Head(b"DELETE", b"/#", "1.1", (HOST,))),
    "two hosts": partial(heads.check_said_by_http, Head(b"DELETE", b"/", "1.1", (HOST, HOST))),
    "a cause with bytes of the request": partial(heads.check_refusal, MalformedRequest("not a word", "No.")),
    "a plain comma": partial(forward.check_canonical, "label=a,b&count=1"),
    "no count": partial(forward.check_canonical, "label=a"),
    "only a count": partial(forward.check_canonical, "count=100"),
    "another order": partial(forward.check_canonical, "count=1&label=a"),
    "a refusal without a reason": partial(files.check_problems, (), b""),
    "a place outside the file": partial(files.check_problems, (Problem("f.yaml", 9, 1, "x"),), b"a"),
    "a plain origin": partial(files.check_origin, "http://qstash.example"),
    "an origin with a user": partial(files.check_origin, "https://a@qstash.example"),
    "another name": lambda: files.check_policy_as_written(parse_policy("f.yaml", POLICY), {"version": 1, "name": "x",
                                                                                           "teams": []}),
    "a header of ours that is sent": partial(calls.check_headers, started(("Gateway-Until", "1m"))),
    "a header with a delete": partial(calls.check_headers, started(("Upstash-Retries", "3"), Action.DELETE_DLQ)),
    "a header of two lines": partial(calls.check_headers, started(("Upstash-Delay", "1\n2"))),
    "an order where none may be": partial(calls.check_no_order, ActionRequest(ENTRY, 1, action=Action.DELETE_DLQ)),
    "a chain that passes": partial(lines.check_keyed, lines.chain(lines.KEY)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_oracle_sees_what_is_wrong(name: str) -> None:
    """No oracle is decoration: a wrong answer is a finding."""
    with pytest.raises(AssertionError):
        WRONG[name]()


def test_a_rule_that_is_wider_than_it_says_is_a_finding() -> None:
    """The models see a run outside the rule that permits."""
    rule = forward.fixed_policies().rules[0]
    run = next(run for run in forward.near(LABEL_B.selection) if run.url == "https://other.example/")
    assert not forward.allowed(rule, ByFilter(workflow_urls=(run.url,)), run)
    assert forward.GO.selected(Order(LABEL_B.selection, 1).query, [run]) == []  # type: ignore[arg-type]


def test_a_run_that_did_not_end_well_is_a_finding() -> None:
    """Whatever the log says; and a good one is read into its figures."""
    log = "#3\tINITED cov: 5 ft: 6\n#9\tNEW    cov: 8 ft: 9\nDone 70 runs in 2 second(s)\nstat::new_units_added: 4\n"
    assert report.figures("t", log, exit_code=0) == report.Figures("t", 2, 70, 5, 8, 4, 0)
    assert report.figures("t", log, exit_code=77).findings == 1
    assert report.figures("t", "", exit_code=0).findings == 1
