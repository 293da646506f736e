"""A configuration that holds, to be broken in one place at a time."""

from __future__ import annotations

from pathlib import Path

TOKEN = "upstream-token-of-these-tests"
DIGEST = "8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92"

CONFIG = f"""\
version: 1
listen: 127.0.0.1:0
upstream:
  url: http://127.0.0.1:9
  token: {{file: token}}
  contract: "2025"
callers:
  keys:
    - {{id: ci, team: billing, sha256: "{DIGEST}"}}
policies: policies
audit: {{directory: audit, durability: os}}
"""

POLICY = """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: own, workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}, count: {cap: 50}}
"""


def write(directory: Path, *, config: str = CONFIG, policy: str = POLICY, token: str | None = TOKEN) -> Path:
    """Writes configuration, policy and token file; returns the configuration's path."""
    (directory / "policies").mkdir(exist_ok=True)
    (directory / "policies" / "billing.yaml").write_text(policy)
    if token is not None:
        (directory / "token").write_text(token)
        (directory / "token").chmod(0o600)
    path = directory / "config.yaml"
    path.write_text(config)
    return path


def position(text: str, part: str) -> str:
    """Where a part of a file stands, as `line:column`, both from 1."""
    before, found, _ = text.partition(part)
    assert found
    return f"{before.count(chr(10)) + 1}:{len(before) - (before.rfind(chr(10)) + 1) + 1}"
