"""Few modules come near the token, and each does with it what docs/architecture.md says."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support.project import ROOT

GATEWAY = ROOT / "gateway"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TABLE = PAGE.partition("## Who may hold the token")[2].partition("\n## ")[0]

SENDS = {"upstream/cancel", "upstream/runs/pages", "cli/probe_upstream"}


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the gateway, read once a test asks."""
    return {
        path.relative_to(GATEWAY).with_suffix("").as_posix(): ast.parse(path.read_text())
        for path in sorted(GATEWAY.rglob("*.py"))
        if "simulator" not in path.parts  # another program
    }


def where(found: Callable[[ast.AST], bool]) -> set[str]:
    """The modules that hold a node of this kind."""
    return {module for module, tree in trees().items() if any(found(node) for node in ast.walk(tree))}


def of(name: str, of_what: str | None = None) -> Callable[[ast.AST], bool]:
    """Whether a node is an attribute of that name, of something whose own name ends so."""

    def found(node: ast.AST) -> bool:
        if not isinstance(node, ast.Attribute) or node.attr != name:
            return False
        return of_what is None or ast.unparse(node.value).endswith(of_what)

    return found


def named(name: str) -> Callable[[ast.AST], bool]:
    """Whether a node calls, or hands on, what has that name."""
    return lambda node: isinstance(node, ast.Name) and node.id == name


@pytest.mark.parametrize(
    ("what", "found", "modules"),
    [
        ("the header is made of it", of("authorization"), {"upstream/client"}),
        ("something is sent with it", of("send", "exchange"), SENDS),
        ("its own text is taken", of("_value"), {"upstream/token"}),
        ("it is made of a text", named("UpstreamToken"), {"upstream/account", "upstream/client", "upstream/token",
                                                          "cli/probe_upstream"}),
        ("a secret is read", named("read_secret"), {"upstream/account"}),
        ("the tokens are read", named("read_tokens"), {"app", "cli/probe_upstream"}),
        ("they are read to be checked", named("token_problems"), {"cli/policies/check"}),
        ("its traces are made", named("Traces"), {"files/secrecy", "upstream/token"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_only_these_modules(what: str, found: Callable[[ast.AST], bool], modules: set[str]) -> None:
    """Another one would be one more place to look for a leak, or for a cancel outside the record."""
    assert where(found) == modules, what


def test_only_one_place_of_serve_cancels() -> None:
    """The word DELETE goes to an exchange in the module that takes a receipt, and in the probe of an account."""

    def deletes(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and any(
            isinstance(one, ast.Constant) and one.value == "DELETE" for one in node.args
        )

    assert {module for module in where(deletes) if module in SENDS} == {"upstream/cancel", "cli/probe_upstream"}


def test_the_page_names_every_module_that_may_import_it() -> None:
    """And those that the contract of imports names are there."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [contract] = [one for one in contracts if one.get("protected_modules") == ["gateway.upstream.token"]]
    modules = {name.removeprefix("gateway.").replace(".", "/") for name in contract["allowed_importers"]}
    assert {*modules, *SENDS} - set(re.findall(r"`([a-z_/]+)`", TABLE)) == set()


def test_the_page_names_no_module_that_is_not_there() -> None:
    """A module that was renamed takes its row along."""
    rows = [line.split("|")[1] for line in TABLE.splitlines() if line.startswith("| `")]
    modules = [name for row in rows for name in re.findall(r"`([a-z_/]+)`", row)]
    assert len(modules) > 15
    assert [name for name in modules if not Path(GATEWAY / f"{name}.py").is_file()] == []
