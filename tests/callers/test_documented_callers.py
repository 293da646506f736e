"""What the page about callers shows is loaded, called with tokens of the real shapes, and refuses their neighbours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config, load_config
from gateway.simulator.server import SimulatorServer
from tests.callers.documented import (
    AUDIENCE,
    ENTRIES,
    GITHUB,
    KUBERNETES,
    MANIFESTS,
    PERSON,
    CallersSetup,
    github,
    kubernetes,
)
from tests.clients.official import OfficialClient, require_clients
from tests.config.test_config import MINIMAL
from tests.support.gateway import RunningGateway, Setup

INVOICE = "https://billing.example.com/api/invoice"
EXACT = "/v2/workflows/runs?workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"


def loaded(directory: Path, entries: str) -> Config:
    """A whole configuration around an example, as it stands on the page."""
    path = directory / "config.yaml"
    path.write_text(MINIMAL.replace("callers: {keys: []}\n", entries))
    return load_config(path)


@pytest.mark.parametrize("entries", ENTRIES)
def test_every_entry_loads_as_it_stands(tmp_path: Path, entries: str) -> None:
    """Pasted into a configuration, each is accepted."""
    config = loaded(tmp_path, entries)
    assert len(config.keys) + len(config.issuers) == 1
    assert {issuer.audience for issuer in config.issuers} <= {AUDIENCE}


def test_the_manifests_ask_for_the_audience_of_the_entries() -> None:
    """The pod's volume and the job's environment name what the gateway demands; the job may ask for a token."""
    pod, job = (yaml.safe_load(block) for block in MANIFESTS)
    source = pod["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
    account = f"system:serviceaccount:{pod['metadata']['namespace']}:{pod['spec']['serviceAccountName']}"
    assert source["audience"] == AUDIENCE
    assert source["expirationSeconds"] >= 600  # the least that the API server takes
    assert yaml.safe_load(KUBERNETES)["callers"]["jwt"][0]["claims"] == {"sub": [account]}
    assert job["permissions"] == {"id-token": "write"}
    assert job["jobs"]["cancel"]["steps"][-1]["env"]["GATEWAY"] == AUDIENCE


@pytest.fixture
def serving(simulator: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway with both issuers of the page."""
    both = KUBERNETES + GITHUB.removeprefix("callers:\n  jwt:\n")
    with RunningGateway(CallersSetup(simulator.url, tmp_path / "gateway", callers=both)) as gateway:
        yield gateway


def called(gateway: RunningGateway, credential: str) -> int:
    """The status of a permitted cancel with this credential."""
    return gateway.request(target=EXACT, team=None, headers={"Authorization": f"Bearer {credential}"}).status


def test_tokens_of_the_real_shapes_are_accepted_and_recorded(serving: RunningGateway) -> None:
    """Principal, token id and the binding claims stand in the record; the token does not."""
    tokens = [kubernetes(jti="jti-of-the-pod"), github(jti="jti-of-the-job")]
    assert [called(serving, each) for each in tokens] == [200, 200]
    pod, job = serving.records("intent")
    assert (pod["team"], pod["key_id"]) == ("billing", "jti-of-the-pod")
    assert pod["principal"] == (
        "billing/https://kubernetes.default.svc.cluster.local#system:serviceaccount:billing:canceller"
    )
    assert pod["claims"] == {"sub": "system:serviceaccount:billing:canceller"}
    assert (job["team"], job["key_id"]) == ("billing", "jti-of-the-job")
    assert job["principal"] == (
        "billing/https://token.actions.githubusercontent.com#repo:acme/billing:ref:refs/heads/main"
    )
    assert job["claims"] == {"repository": "acme/billing", "repository_id": "74", "ref": "refs/heads/main"}
    said = serving.said()
    for each in tokens:
        assert not any(part.encode() in said for part in each.split("."))


NEIGHBOURS: list[tuple[Callable[..., str], dict[str, Any]]] = [
    (github, {"repository": "acme/search", "repository_id": "75", "sub": "repo:acme/search:ref:refs/heads/main"}),
    (github, {"repository": "mallory/billing", "repository_id": "99"}),
    (github, {"repository_id": "99"}),
    (github, {"ref": "refs/heads/feature", "sub": "repo:acme/billing:ref:refs/heads/feature"}),
    (github, {"ref": "refs/pull/1/merge", "event_name": "pull_request"}),
    (github, {"aud": "https://github.com/acme"}),
    (github, {"aud": [AUDIENCE, "https://github.com/acme"]}),
    (github, {"exp": 1_700_000_000, "nbf": 1_600_000_000, "iat": 1_600_000_000}),
    (github, {"iss": "https://token.actions.githubusercontent.com/mallory"}),
    (github, {"iss": "https://kubernetes.default.svc.cluster.local"}),
    (kubernetes, {"sub": "system:serviceaccount:billing:default"}),
    (kubernetes, {"sub": "system:serviceaccount:search:canceller"}),
    (kubernetes, {"sub": "system:serviceaccount:billing:canceller2"}),
    (kubernetes, {"aud": ["https://kubernetes.default.svc.cluster.local"]}),
    (kubernetes, {"aud": [AUDIENCE, "https://kubernetes.default.svc.cluster.local"]}),
    (kubernetes, {"iss": "https://token.actions.githubusercontent.com"}),
]


def test_neighbours_of_the_documented_callers_are_strangers(
    serving: RunningGateway, simulator: SimulatorServer
) -> None:
    """Valid tokens of the same issuers, for another repository, ref, service account or audience: one 401 for all."""
    answers = [
        serving.request(target=EXACT, team=None, headers={"Authorization": f"Bearer {make(**change)}"})
        for make, change in NEIGHBOURS
    ]
    assert {answer.status for answer in answers} == {401}
    bodies = {re.sub(rb'"decision_id":"[^"]+"', b"", answer.body) for answer in answers}
    bodies.add(re.sub(rb'"decision_id":"[^"]+"', b"", serving.request(target=EXACT, team=None).body))
    assert len(bodies) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert len(simulator.ledger) == 0
    assert {record["cause"] for record in serving.records("refused")} >= {"token_claims", "token_audience"}
    said = serving.said()
    assert b"mallory" not in said
    assert b"refs/heads/feature" not in said


@pytest.mark.node
@pytest.mark.parametrize("make", [kubernetes, github])
def test_the_official_client_calls_with_a_token(
    serving: RunningGateway, simulator: SimulatorServer, make: Callable[..., str]
) -> None:
    """The token goes where the QStash token went; a stranger's client sees the 401 and its sentence."""
    require_clients()
    call = {"filter": {"workflowUrl": INVOICE}}
    seen = OfficialClient("latest", serving.url, make()).cancel(call)
    assert seen.attempts == 1
    assert isinstance(seen.cancelled, int)
    assert len(simulator.ledger) == 1
    stranger = OfficialClient("latest", serving.url, make(aud="other")).cancel(call)
    assert stranger.error is not None
    assert stranger.error["status"] == 401
    assert len(simulator.ledger) == 1


@pytest.mark.node
def test_the_official_client_calls_with_a_key_of_a_person(simulator: SimulatorServer, tmp_path: Path) -> None:
    """As before; the record names the key."""
    require_clients()
    assert loaded(tmp_path, PERSON).keys[0].id == "ann"
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway")) as gateway:
        seen = OfficialClient("latest", gateway.url, gateway.key()).cancel({"filter": {"workflowUrl": INVOICE}})
        (intent,) = gateway.records("intent")
    assert isinstance(seen.cancelled, int)
    assert (intent["principal"], intent["key_id"]) == ("billing/billing-key", "billing-key")
    assert "claims" not in intent
