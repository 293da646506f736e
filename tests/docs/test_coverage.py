"""What is left out when coverage is measured has its reason beside it."""

from __future__ import annotations

import re
import tomllib

from tests.support.project import ROOT

PRAGMA = re.compile(r"#\s*pragma\s*:?\s*no\b.*", re.IGNORECASE)
WITH_REASON = re.compile(r"# pragma: no (?:cover|branch) - \w.+")


def test_every_line_left_out_says_why() -> None:
    """In the code, `# pragma: no cover - reason` or `no branch - reason`; nothing else is left out."""
    found = [
        (str(path.relative_to(ROOT)), pragma)
        for path in sorted((ROOT / "gateway").rglob("*.py"))
        for pragma in PRAGMA.findall(path.read_text())
    ]
    assert [(path, pragma) for path, pragma in found if not WITH_REASON.fullmatch(pragma)] == []


def test_all_of_the_gateway_is_measured() -> None:
    """Branches too, the simulator included and no file or line left out by a pattern; below 95 % it fails."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]
    assert settings["run"]["branch"]
    assert settings["run"]["source_pkgs"] == ["gateway"]
    assert settings["report"]["fail_under"] >= 95
    assert settings["report"]["include"] == ["gateway/*"]
    assert "omit" not in settings["run"].keys() | settings["report"].keys()
    assert not {"exclude_lines", "exclude_also", "partial_branches"} & settings["report"].keys()
