"""The main job: official clients cancel through the gateway, and the simulator says which runs they hit."""

from __future__ import annotations

import pytest

from gateway.simulator.exchange import Fault, Kind
from tests.clients.account import BELOW_INVOICE, INVOICE, NIGHTLY, OF_INVOICE, REMINDER, TEST_POLICIES
from tests.clients.conftest import Client, Serve
from tests.clients.official import OfficialClient, Seen
from tests.support.gateway import POLICIES, REAL_TOKEN

pytestmark = pytest.mark.node

ONE = frozenset(("wfr_billing_nightly",))
TWO = frozenset(("wfr_billing_nightly", "wfr_billing_batch"))


@pytest.mark.parametrize(
    ("version", "policies", "call", "hit"),
    [
        pytest.param("latest", POLICIES, "wfr_billing_nightly", ONE, id="latest-id"),
        pytest.param("latest", POLICIES, sorted(TWO), TWO, id="latest-ids"),
        pytest.param("latest", POLICIES, {"workflowRunIds": sorted(TWO)}, TWO, id="latest-named-ids"),
        pytest.param("latest", POLICIES, {"ids": sorted(TWO)}, TWO, id="latest-legacy-ids"),
        pytest.param("latest", POLICIES, {"filter": {"workflowUrl": INVOICE}}, OF_INVOICE, id="latest-exact-url"),
        pytest.param(
            "latest", POLICIES, {"filter": {"workflowUrl": INVOICE, "label": "nightly"}}, ONE, id="latest-url-and-label"
        ),
        pytest.param(
            "latest",
            POLICIES,
            {"filter": {"workflowUrl": INVOICE}, "count": 2},
            {"wfr_billing_nightly", "wfr_billing_batch"},
            id="latest-exact-url-and-count",
        ),
        pytest.param("latest", TEST_POLICIES, {"filter": {"label": "nightly"}}, NIGHTLY, id="latest-label"),
        pytest.param("latest", TEST_POLICIES, {"filter": {"label": ["nightly"]}}, NIGHTLY, id="latest-labels"),
        pytest.param(
            "latest",
            TEST_POLICIES,
            {"filter": {"workflowUrlStartingWith": f"{INVOICE}/"}},
            BELOW_INVOICE,
            id="latest-prefix",
        ),
        pytest.param(
            "latest", TEST_POLICIES, {"urlStartingWith": f"{INVOICE}/"}, BELOW_INVOICE, id="latest-legacy-prefix"
        ),
        pytest.param("1.1", POLICIES, {"ids": "wfr_billing_nightly"}, ONE, id="1.1-id"),
        pytest.param("1.1", POLICIES, {"ids": sorted(TWO)}, TWO, id="1.1-ids"),
        pytest.param("1.1", TEST_POLICIES, {"urlStartingWith": f"{INVOICE}/"}, BELOW_INVOICE, id="1.1-prefix"),
    ],
)
def test_a_permitted_call_cancels_exactly_the_runs_it_names(
    serve: Serve, client: Client, version: str, policies: dict[str, str], call: object, hit: set[str]
) -> None:
    """What policy admits is sent once and hits the runs that were meant and no others; the client sees their number."""
    simulator, gateway = serve(policies=policies)
    seen = client(gateway, version).cancel(call)
    assert set(simulator.simulator.cancelled) == hit
    assert (seen.cancelled, seen.attempts) == (len(hit), 1)
    assert len(simulator.ledger) == 1


@pytest.mark.parametrize(
    ("version", "policies", "call", "said"),
    [
        pytest.param("latest", POLICIES, "wfr_search_1", "No rule of your team allows", id="latest-foreign-id"),
        pytest.param(
            "latest",
            POLICIES,
            ["wfr_billing_nightly", "wfr_search_1"],
            "nearest that would be allowed: workflowRunIds wfr_billing_nightly",
            id="latest-one-foreign-id-of-two",
        ),
        pytest.param(
            "latest",
            POLICIES,
            [f"wfr_billing_{number}" for number in range(21)],
            "No rule of your team allows",
            id="latest-too-many-ids",
        ),
        pytest.param(
            "latest",
            POLICIES,
            {"filter": {"workflowUrl": REMINDER}},
            f"it wants workflowUrl: exactly {INVOICE}, but '{REMINDER}' is not among them.",
            id="latest-foreign-url",
        ),
        pytest.param(
            "latest", POLICIES, {"filter": {"label": "nightly"}}, f"workflowUrl {INVOICE}", id="latest-label-alone"
        ),
        pytest.param(
            "latest",
            POLICIES,
            {"filter": {"workflowUrlStartingWith": INVOICE}},
            "requires workflowUrlExactMatch=true",
            id="latest-prefix-under-guardrails",
        ),
        pytest.param(
            "latest",
            TEST_POLICIES,
            {"filter": {"label": "batch"}},
            "it wants label: nightly, but label 'batch' is not among them.",
            id="latest-another-label",
        ),
        pytest.param(
            "latest",
            TEST_POLICIES,
            {"filter": {"label": ["nightly", "batch"]}},
            "allowed: label nightly; count 100",
            id="latest-one-foreign-label-of-two",
        ),
        pytest.param(
            "latest",
            TEST_POLICIES,
            {"filter": {"workflowUrlStartingWith": INVOICE}},
            f"allowed: workflowUrl {INVOICE}",
            id="latest-prefix-without-boundary",
        ),
        pytest.param(
            "latest",
            POLICIES,
            {"filter": {"workflowUrl": INVOICE, "host": "billing.example.com", "path": "/api/invoice"}},
            "never sent to QStash, so only a rule with 'resolve: true' allows them.",
            id="latest-host-and-path-where-no-runs-are-looked-up",
        ),
        pytest.param("1.1", POLICIES, {"ids": "wfr_search_1"}, "No rule of your team allows", id="1.1-foreign-id"),
        pytest.param(
            "1.1",
            POLICIES,
            {"urlStartingWith": INVOICE},
            "requires workflowUrlExactMatch=true",
            id="1.1-prefix-under-guardrails",
        ),
        pytest.param(
            "1.1",
            TEST_POLICIES,
            {"urlStartingWith": INVOICE},
            f"allowed: workflowUrl {INVOICE}",
            id="1.1-prefix-without-boundary",
        ),
    ],
)
def test_a_refused_call_cancels_nothing_and_says_what_would_be_allowed(
    serve: Serve, client: Client, version: str, policies: dict[str, str], call: object, said: str
) -> None:
    """What policy refuses is never sent; the person behind the client reads our sentence in `QstashError.message`."""
    simulator, gateway = serve(policies=policies)
    seen = client(gateway, version).cancel(call)
    assert simulator.ledger == ()
    assert seen.error is not None
    assert (seen.error["name"], seen.error["status"], seen.attempts) == ("QstashError", 403, 1)
    assert said in seen.sentence
    (denied,) = gateway.records("denied")
    assert denied["decision_id"] == seen.problem["decision_id"]


def test_one_teams_key_does_not_open_what_another_team_may_do(serve: Serve, client: Client) -> None:
    """The same call of the same client is refused under the key of a team that has no such rule."""
    simulator, gateway = serve()
    seen = client(gateway, team="search").cancel({"filter": {"workflowUrl": INVOICE}})
    assert simulator.ledger == ()
    assert seen.problem["code"] == "policy_denied"


@pytest.mark.parametrize("version", ["latest", "1.1"])
def test_a_client_that_holds_the_real_token_is_a_stranger_here(serve: Serve, client: Client, version: str) -> None:
    """The QStash token is no key of the gateway: its holder reads what to send instead, and nothing is cancelled."""
    simulator, gateway = serve()
    client(gateway)
    seen = OfficialClient(version, gateway.url, REAL_TOKEN).cancel({"ids": "wfr_billing_nightly"})
    assert simulator.ledger == ()
    assert seen.error is not None
    assert seen.error["status"] == 401
    assert "Send a gateway key of your team" in seen.sentence
    assert [record["cause"] for record in gateway.records("refused")] == ["upstream_token"]


@pytest.mark.parametrize("version", ["latest", "1.1"])
def test_a_client_reads_that_an_unknown_outcome_must_not_be_repeated(
    serve: Serve, client: Client, version: str
) -> None:
    """Upstream fails after cancelling some: the client asked once, is told so, and nothing is sent again."""
    simulator, gateway = serve()
    simulator.simulator.script(Fault(acts=True, acts_on_at_most=1, status=500, body='{"error": "internal"}'))
    seen = client(gateway, version).cancel({"ids": sorted(TWO)})
    assert seen.error is not None
    assert (seen.error["status"], seen.attempts, len(simulator.ledger)) == (504, 1, 1)
    assert "Do not repeat it blindly" in seen.sentence
    assert [record["outcome"] for record in gateway.records("outcome")] == ["unknown"]


def single(client: OfficialClient, run_id: str) -> Seen:
    """`context.cancel()` of a workflow, as the client's requester sends it: the run stands in the path."""
    request = {
        "path": ["v2", "workflows", "runs", f"{run_id}?cancel=true"],
        "method": "DELETE",
        "parseResponseAsJson": False,
    }
    return client.act("qstash", "http", ["request", request])


def test_a_run_that_the_client_names_in_the_path_is_cancelled_alone(serve: Serve, client: Client) -> None:
    """The client takes the answer for its own kind of one, and the run is cancelled by the bulk call of its ID."""
    simulator, gateway = serve()
    seen = single(client(gateway), "wfr_billing_nightly")
    assert (seen.error, seen.attempts) == (None, 1)
    assert [(entry.kind, entry.run_ids) for entry in simulator.ledger] == [(Kind.CANCEL, ("wfr_billing_nightly",))]


def test_a_run_that_the_client_names_in_the_path_and_policy_refuses_is_not_cancelled(
    serve: Serve, client: Client
) -> None:
    """The person behind the client reads our sentence, once."""
    simulator, gateway = serve()
    seen = single(client(gateway), "wfr_search_1")
    assert simulator.ledger == ()
    assert seen.error is not None
    assert (seen.error["name"], seen.error["status"], seen.attempts) == ("QstashError", 403, 1)
    assert "No rule of your team allows" in seen.sentence
