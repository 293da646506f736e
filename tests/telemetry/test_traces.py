"""Traces of a serving gateway: what a collector is told of a cancel, and that a cancel never waits for one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.waiting import until
from tests.telemetry.collector import Collector, Received
from tests.upstream.authority import new_authority
from tests.upstream.runs.reading import INVOICE, run

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REPORT = "https://billing.example.com/api/report"
POLICY = """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: own, workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}, label: {any: true}, count: {max: 100}}
  - {id: seen, workflowUrl: {exact: ["https://billing.example.com/api/report"]}, resolve: true, runs: {max: 20}}
"""
PATH = "/v2/workflows/runs"
OWN = f"{PATH}?workflowUrl={quote(INVOICE, safe='')}&workflowUrlExactMatch=true&label=a-label-of-the-caller"
SEEN = f"{PATH}?workflowUrl={quote(REPORT, safe='')}&workflowUrlExactMatch=true"
_NAMES = ("team", "decision_id", "action", "rule", "decision", "outcome", "runs", "pages")
ATTRIBUTES = {f"gateway.{name}" for name in _NAMES}
SERVER, CLIENT = 2, 3
FAILED = 2


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorServer]:
    account = [run(number, url=REPORT if number % 4 == 0 else INVOICE) for number in range(80)]
    with SimulatorServer(Simulator(account), token=REAL_TOKEN, read_token=READ_TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def tracing(
    upstream: SimulatorServer, directory: Path, otlp: str, environment: dict[str, str] | None = None
) -> RunningGateway:
    """A gateway whose traces go there."""
    return RunningGateway(
        Setup(
            upstream.url,
            directory,
            policies={"billing.yaml": POLICY},
            teams=("billing", "search"),
            upstream=", read_token: {file: read-token}",
            more=f'telemetry: {{otlp: "{otlp}"}}\n',
            environment=environment or {},
        )
    )


@pytest.fixture(scope="module")
def gateway(
    upstream: SimulatorServer, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    with tracing(upstream, tmp_path_factory.mktemp("traces") / "gateway", collector.url) as running:
        yield running


def traced(collector: Collector, answer: Answer) -> tuple[Received, list[Received]]:
    """The root and the steps of an answer's trace, which is named after its decision."""
    spans = collector.trace(answer.headers["gateway-decision"].replace("-", ""))
    [root] = [one for one in spans if one.name == "cancel"]
    return root, [one for one in spans if one is not root]


def check_tree(root: Received, steps: list[Received]) -> None:
    """Every step is a child of the cancel, within its time, and says whose it is."""
    common = {"gateway.decision_id": root.attributes["gateway.decision_id"]}
    for step in steps:
        assert (step.trace, step.parent) == (root.trace, root.span)
        assert root.started_ns <= step.started_ns <= step.ended_ns <= root.ended_ns
        assert step.attributes.items() >= common.items()
        assert step.attributes.keys() <= ATTRIBUTES
    assert root.attributes.keys() <= ATTRIBUTES
    assert len({root.span, *(step.span for step in steps)}) == 1 + len(steps)


def test_a_direct_cancel_is_a_tree_of_its_steps(gateway: RunningGateway, collector: Collector) -> None:
    """In the order of the flow; the trace that a decision names begins here."""
    answer = gateway.request(target=OWN)
    root, steps = traced(collector, answer)
    check_tree(root, steps)
    assert [step.name for step in steps] == ["authenticate", "decide", "audit.intent", "upstream"]
    assert (root.parent, root.kind, steps[-1].kind) == ("", SERVER, CLIENT)
    cancelled = answer.json()["cancelled"]
    assert root.attributes == {
        "gateway.decision_id": answer.headers["gateway-decision"],
        "gateway.team": "billing",
        "gateway.action": "cancel_runs",
        "gateway.rule": "billing/own",
        "gateway.decision": "permit",
        "gateway.outcome": "cancelled",
        "gateway.runs": cancelled,
    }
    decided = {step.name: step.attributes for step in steps}
    assert decided["decide"]["gateway.rule"] == "billing/own"
    assert decided["upstream"]["gateway.runs"] == cancelled
    assert collector.paths == {"/v1/traces"}
    assert collector.resources[0]["service.name"] == "qstash-gateway"


def test_a_looked_up_cancel_has_its_look_up(gateway: RunningGateway, collector: Collector) -> None:
    """With how many runs it read, and on how many pages."""
    answer = gateway.request(target=SEEN)
    assert answer.status == 200
    root, steps = traced(collector, answer)
    check_tree(root, steps)
    names = [step.name for step in steps]
    assert names[:4] == ["authenticate", "decide", "lookup", "audit.intent"]
    # The key is looked at again before the order, and the runs too, if they were listed a while ago.
    assert set(names[4:]) <= {"authenticate", "lookup", "upstream"}
    assert names.count("upstream") == 1
    assert steps[2].attributes["gateway.runs"] == 20
    assert int(steps[2].attributes["gateway.pages"]) >= 1
    assert root.attributes["gateway.runs"] == answer.json()["cancelled"] == 20


@pytest.mark.parametrize(
    ("team", "target", "status", "names", "outcome"),
    [
        ("search", OWN, 403, ["authenticate", "decide"], "denied"),
        ("billing", f"{PATH}?count=x", 400, ["authenticate"], "malformed_request"),
        (None, OWN, 401, ["authenticate"], "unauthenticated"),
    ],
)
def test_what_is_refused_ends_where_it_was_refused(
    gateway: RunningGateway,
    collector: Collector,
    team: str | None,
    target: str,
    status: int,
    names: list[str],
    outcome: str,
) -> None:
    """By policy, as unreadable, or for want of a key; nothing is recorded as an intent or sent."""
    answer = gateway.request(target=target, team=team)
    assert answer.status == status
    root, steps = traced(collector, answer)
    check_tree(root, steps)
    assert [step.name for step in steps] == names
    assert root.attributes["gateway.outcome"] == outcome
    assert (steps[0].status == FAILED) is (team is None)
    assert ("gateway.team" in root.attributes) is (team is not None)


def test_the_trace_goes_on_from_the_caller_s(gateway: RunningGateway, collector: Collector) -> None:
    """The record names the same trace; where the caller records none, neither does the gateway."""
    parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    answer = gateway.request(target=OWN, headers=parent)
    spans = collector.trace(TRACE)
    [root] = [one for one in spans if one.name == "cancel"]
    assert root.parent == PARENT
    check_tree(root, [one for one in spans if one is not root])
    name = answer.headers["gateway-decision"]
    [intent] = [one for one in gateway.records() if one["event"] == "intent" and one["decision_id"] == name]
    assert intent["trace_id"] == TRACE
    unsampled = TRACE[::-1]
    gateway.request(target=OWN, headers={"traceparent": f"00-{unsampled}-{PARENT}-00"})
    traced(collector, gateway.request(target=OWN))
    assert [one for one in collector.spans if one.trace == unsampled] == []


def test_only_cancels_are_traced(gateway: RunningGateway, collector: Collector) -> None:
    """Not what only reads, nor the pages of probes."""
    before = [gateway.request("GET", page, team="billing") for page in ("/readyz", "/gateway/v1/whoami", "/nowhere")]
    traced(collector, gateway.request(target=OWN))
    names = {one.headers["gateway-decision"] for one in before}
    assert [one for one in collector.spans if one.attributes["gateway.decision_id"] in names] == []


def test_a_trace_holds_nothing_of_a_caller_s_bytes_and_no_secret(gateway: RunningGateway, collector: Collector) -> None:
    """Neither a value of the request, nor a header, nor a key or token."""
    headers = {"X-Request-Id": "id-of-the-caller", "Gateway-Reason": "why the caller asks"}
    traced(collector, gateway.request(target=OWN, headers=headers))
    sent = b"".join(collector.bodies)
    hidden = ("a-label-of-the-caller", INVOICE, "id-of-the-caller", "why the caller", REAL_TOKEN, READ_TOKEN)
    for text in (*hidden, gateway.key("billing")):
        assert text.encode() not in sent


def test_a_reload_leaves_the_steps_as_they_were(
    upstream: SimulatorServer, collector: Collector, tmp_path: Path
) -> None:
    """`authenticate` is traced under the new settings too."""
    with tracing(upstream, tmp_path / "gateway", collector.url) as gateway:
        policy = gateway.setup.directory / "policies" / "billing.yaml"
        policy.write_text(POLICY.replace("max: 100", "max: 101"))
        until(lambda: any(record["event"] == "reload" for record in gateway.records()))
        root, steps = traced(collector, gateway.request(target=OWN))
        check_tree(root, steps)
        assert [step.name for step in steps][:2] == ["authenticate", "decide"]


def test_a_collector_of_the_house_s_own_roots_is_named_by_the_environment(
    upstream: SimulatorServer, tmp_path: Path
) -> None:
    """What is set aside while the way to QStash is made holds for the collector, over TLS."""
    authority = new_authority(tmp_path / "authority")
    roots = {"SSL_CERT_FILE": str(authority.root)}
    with (
        Collector(tls=authority.server("IP:127.0.0.1")) as collector,
        tracing(upstream, tmp_path / "gateway", collector.url, roots) as gateway,
    ):
        check_tree(*traced(collector, gateway.request(target=OWN)))


def _away() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def test_a_collector_that_is_away_costs_no_cancel_anything(upstream: SimulatorServer, tmp_path: Path) -> None:
    """Cancels are answered; the page of readiness says that spans are dropped, and stays ready."""
    with tracing(upstream, tmp_path / "gateway", _away()) as gateway:
        assert gateway.request(target=OWN).status == 200
        until(lambda: any("telemetry.otlp" in one for one in notices(gateway)))
        assert gateway.request(target=OWN).status == 200
        assert gateway.stop() == 0


@pytest.mark.parametrize(("status", "held"), [(500, False), (400, False), (302, False), (200, True)])
def test_a_collector_that_fails_or_never_answers_costs_no_cancel_anything(
    upstream: SimulatorServer, tmp_path: Path, status: int, *, held: bool
) -> None:
    """However it answers, each cancel is answered and recorded, and the process ends; also before it answers."""
    with (
        Collector(status=status, held=held) as collector,
        tracing(upstream, tmp_path / "gateway", collector.url) as gateway,
    ):
        for _ in range(3):
            assert gateway.request(target=OWN).status == 200
        assert gateway.stop() == 0
        assert len(gateway.records("outcome")) == 3


def notices(gateway: RunningGateway) -> list[str]:
    """The notices of a page that is always 200."""
    answer = gateway.request("GET", "/readyz", team=None)
    assert answer.status == 200
    return [str(one) for one in answer.json()["notices"]]  # type: ignore[attr-defined]
