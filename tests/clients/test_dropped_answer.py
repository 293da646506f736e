"""An answer lost on the way: the client's own retry joins what is under way, and nothing is cancelled twice."""

from __future__ import annotations

import pytest

from gateway.simulator.server import SimulatorServer
from tests.clients.account import INVOICE, OF_INVOICE
from tests.clients.breaking import BreakingProxy
from tests.clients.conftest import Client, Serve
from tests.support.gateway import RunningGateway
from tests.support.waiting import until

pytestmark = pytest.mark.node

CALLS = {
    "latest": {"filter": {"workflowUrl": INVOICE}},
    "1.1": {"ids": ["wfr_billing_nightly", "wfr_billing_batch"]},
}
HIT = {"latest": OF_INVOICE, "1.1": frozenset(("wfr_billing_nightly", "wfr_billing_batch"))}


@pytest.mark.parametrize("version", ["latest", "1.1"])
def test_a_repeat_joins_the_cancel_that_is_still_under_way(serve: Serve, client: Client, version: str) -> None:
    """Cut while upstream works: one DELETE upstream, and the retry is given the true number."""

    def sent() -> bool:
        return bool(gateway.records("intent"))

    def joined() -> bool:
        return bool(gateway.records("joined"))

    simulator, gateway = serve(answers_when=joined)
    with BreakingProxy(gateway.port, cut_when=sent, heal_when=sent) as proxy:
        seen = client(gateway, version, base_url=proxy.url).cancel(CALLS[version])
        assert (proxy.connections, proxy.cut) == (2, 1)
    assert (seen.cancelled, seen.attempts) == (len(HIT[version]), 2)
    _one_send_on_record(simulator, gateway, HIT[version])
    events = [record["event"] for record in gateway.records()]
    assert events == ["start", "intent", "joined", "outcome"]


@pytest.mark.parametrize("version", ["latest", "1.1"])
def test_a_repeat_that_comes_after_the_outcome_still_learns_it(serve: Serve, client: Client, version: str) -> None:
    """Nobody was there when the outcome came, so it waits for the repeat instead of letting it cancel the next runs."""

    def sent() -> bool:
        return bool(gateway.records("intent"))

    def cut() -> bool:
        return proxy.cut > 0

    def over() -> bool:
        return bool(gateway.records("outcome"))

    simulator, gateway = serve(answers_when=cut)
    with BreakingProxy(gateway.port, cut_when=sent, heal_when=over) as proxy:
        seen = client(gateway, version, base_url=proxy.url).cancel(CALLS[version])
        assert proxy.cut == proxy.connections - 1
    assert (seen.cancelled, seen.attempts) == (len(HIT[version]), proxy.connections)
    _one_send_on_record(simulator, gateway, HIT[version])
    events = [record["event"] for record in gateway.records()]
    assert events == ["start", "intent", "outcome", "joined"]


def test_a_call_without_retries_is_finished_and_recorded_all_the_same(serve: Serve, client: Client) -> None:
    """A caller that goes away for good changes nothing: the cancel ends, and the record says that nobody waited."""

    def sent() -> bool:
        return bool(gateway.records("intent"))

    def cut() -> bool:
        return proxy.cut > 0

    simulator, gateway = serve(answers_when=cut)
    with BreakingProxy(gateway.port, cut_when=sent, heal_when=sent) as proxy:
        seen = client(gateway, base_url=proxy.url).cancel(CALLS["latest"], retries=False)
    assert seen.error is not None
    assert (seen.error["status"], seen.attempts) == (None, 1)
    until(lambda: bool(gateway.records("outcome")))
    assert set(simulator.simulator.cancelled) == OF_INVOICE
    (outcome,) = gateway.records("outcome")
    assert (outcome["cancelled"], outcome["caller_gone"]) == (len(OF_INVOICE), True)


def _one_send_on_record(simulator: SimulatorServer, gateway: RunningGateway, hit: frozenset[str]) -> None:
    assert len(simulator.ledger) == 1
    assert set(simulator.simulator.cancelled) == hit
    (intent,), (outcome,), (joined,) = (gateway.records(event) for event in ("intent", "outcome", "joined"))
    assert joined["joins"] == outcome["decision_id"] == intent["decision_id"] != joined["decision_id"]
    assert (outcome["outcome"], outcome["cancelled"], outcome["caller_gone"]) == ("cancelled", len(hit), True)
