"""What is shipped to be copied passes `check` without a warning, whichever contract upstream speaks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from gateway.authoring.lint import CONTRACTS
from gateway.cli.policies.check import findings_of
from gateway.config import load_config
from gateway.policy.format.load import load_policies

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
DIGEST = "0123456789abcdef" * 4
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def _texts(node: object) -> Iterator[str]:
    """Every text in a manifest that is a file of ours."""
    if isinstance(node, str) and re.search("^version: 1$", node, re.MULTILINE):
        yield node
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _texts(inner)


def shipped() -> dict[str, tuple[str, list[str]]]:
    """Each configuration that is shipped, with the policies that come with it; none: those of policies/."""
    found = {"config.example.yaml": ((ROOT / "config.example.yaml").read_text(), list[str]())}
    for path in sorted(EXAMPLES.glob("*.yaml")):
        text = path.read_text()
        texts = [text] if re.search("^listen:", text, re.MULTILINE) else list(_texts(list(yaml.safe_load_all(text))))
        configs = [one for one in texts if re.search("^listen:", one, re.MULTILINE)]
        for number, config in enumerate(configs):
            found[f"{path.name}-{number}"] = config, [one for one in texts if one not in configs]
    return found


SHIPPED = shipped()


def written(directory: Path, name: str, contract: str, *, keys: str) -> Path:
    """The files as a user has them; returns the configuration's path."""
    config, policies = SHIPPED[name]
    config = re.sub(r"(?m)^policies: \S+", "policies: policies", config)
    config = re.sub(r'(?m)^( +)contract: "[0-9-]+".*$', rf'\1contract: "{contract}"', config)
    if "contract:" not in config:
        config = re.sub(r"(?m)^( +)(url: https://qstash.*)$", rf'\1\2\n\1contract: "{contract}"', config)
    config = re.sub(r"keys: \[\]", f"keys: [{keys}]", config)
    assert f'contract: "{contract}"' in config
    (directory / "config.yaml").write_text(config)
    if policies:
        (directory / "policies").mkdir()
        for text in policies:
            file = re.search("^name: (.+)$", text, re.MULTILINE)
            assert file is not None
            (directory / "policies" / f"{file[1]}.yaml").write_text(text)
    else:
        shutil.copytree(ROOT / "policies", directory / "policies")
    return directory / "config.yaml"


@pytest.mark.parametrize("with_keys", [False, True], ids=["before-the-first-key", "with-keys"])
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_has_no_warning(tmp_path: Path, name: str, contract: str, *, with_keys: bool) -> None:
    """Whoever copies an example reads warnings of their own making only."""
    path = written(tmp_path, name, contract, keys="")
    teams = sorted(load_policies(tmp_path / "policies").teams) if with_keys else []
    keys = ", ".join(
        f'{{id: ci, team: {team}, sha256: "{DIGEST[number:] + DIGEST[:number]}"}}' for number, team in enumerate(teams)
    )
    shutil.rmtree(tmp_path / "policies")
    path = written(tmp_path, name, contract, keys=keys)
    config = load_config(path)
    assert config.upstream.contract == contract
    assert [str(one) for one in findings_of(path, config, load_policies(config.policies), now=NOW)] == []
