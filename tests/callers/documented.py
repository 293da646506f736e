"""The page about callers, cut into its examples, and tokens with the claims that those issuers make."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.callers.issuers import jwk, key_pair, published, signed
from tests.support.gateway import Setup

PAGE = Path(__file__).parents[2] / "docs" / "callers.md"
AUDIENCE = "https://qstash-gateway.example.com"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
ENTRIES = [block for block in BLOCKS if block.startswith("callers:")]
MANIFESTS = [block for block in BLOCKS if not block.startswith("callers:")]
KUBERNETES, GITHUB, PERSON = ENTRIES
_KEYS = re.compile(r"jwks: \{.*\}")


@dataclass
class CallersSetup(Setup):
    """A configuration with entries of the page, or other ones, whose keys are those of the tests."""

    callers: str = KUBERNETES
    keys_published: bytes = b""
    jwks: str = "{file: jwks.json}"

    def write(self) -> Path:
        path = super().write()
        (self.directory / "jwks.json").write_bytes(self.keys_published or published(jwk(key_pair().public_key())))
        entries = _KEYS.sub(f"jwks: {self.jwks}", self.callers).removeprefix("callers:\n")
        path.write_text(path.read_text().replace("policies: ", f"{entries}policies: ", 1))
        return path


def github(**change: Any) -> str:
    """A token as GitHub Actions makes it for a job of acme/billing on main, with some claims changed."""
    now_s = int(time.time())
    claims = {
        "jti": str(uuid.uuid4()),
        "sub": "repo:acme/billing:ref:refs/heads/main",
        "aud": AUDIENCE,
        "ref": "refs/heads/main",
        "sha": "0c5ee2f7a2e5bb4ce3d2a8b1f8a1bf5fd1a1c9f4",
        "repository": "acme/billing",
        "repository_owner": "acme",
        "repository_owner_id": "65",
        "run_id": "9876543210",
        "run_number": "10",
        "run_attempt": "2",
        "repository_visibility": "private",
        "repository_id": "74",
        "actor_id": "12",
        "actor": "octocat",
        "workflow": "stop-invoices",
        "head_ref": "",
        "base_ref": "",
        "event_name": "workflow_dispatch",
        "ref_protected": "true",
        "ref_type": "branch",
        "workflow_ref": "acme/billing/.github/workflows/stop.yml@refs/heads/main",
        "workflow_sha": "0c5ee2f7a2e5bb4ce3d2a8b1f8a1bf5fd1a1c9f4",
        "job_workflow_ref": "acme/billing/.github/workflows/stop.yml@refs/heads/main",
        "job_workflow_sha": "0c5ee2f7a2e5bb4ce3d2a8b1f8a1bf5fd1a1c9f4",
        "runner_environment": "github-hosted",
        "iss": "https://token.actions.githubusercontent.com",
        "nbf": now_s - 300,
        "exp": now_s + 600,
        "iat": now_s,
    }
    return _made(claims, change, {"typ": "JWT", "alg": "RS256", "x5t": "ykNaY4qM_ta4k2TgZOCEYLkcYlA", "kid": "k1"})


def kubernetes(**change: Any) -> str:
    """A projected token as the API server makes it for a pod of billing/canceller, with some claims changed."""
    now_s = int(time.time())
    claims = {
        "aud": [AUDIENCE],
        "exp": now_s + 600,
        "iat": now_s,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "jti": str(uuid.uuid4()),
        "kubernetes.io": {
            "namespace": "billing",
            "node": {"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
            "pod": {"name": "canceller", "uid": "5a8f4b4e-8f4c-4b8b-9f59-0e2f5a1c7a3d"},
            "serviceaccount": {"name": "canceller", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
        },
        "nbf": now_s,
        "sub": "system:serviceaccount:billing:canceller",
    }
    return _made(claims, change, {"alg": "RS256", "kid": "k1"})


def _made(claims: Mapping[str, Any], change: Mapping[str, Any], header: Mapping[str, str]) -> str:
    return signed(json.dumps({**claims, **change}), header)
