"""Few modules come near the token, and each does with it what docs/architecture.md says."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.project import ROOT

GATEWAY = ROOT / "gateway"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TABLE = PAGE.partition("## Who may hold the token")[2].partition("\n## ")[0]

PROTECTED = {"gateway.files.secret", "gateway.upstream.token"}
SENDS = {"upstream/cancel", "upstream/runs/pages", "cli/probe_upstream"}
EVERYTHING = "every name of a protected module"


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield every name and every string of a module, in whichever place: used, imported, defined, matched or looked up.

    So it does not matter what a name is imported as, what it is an attribute of, or that it stands in `getattr`. Of a
    dotted name each part is yielded, and the whole. Only a name that is put together of parts is not seen.
    """
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    yield text
                    yield from text.split(".")
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names if node.module)
            if node.module in PROTECTED and any(one.name == "*" for one in node.names):
                yield EVERYTHING


@cache
def names() -> dict[str, frozenset[str]]:
    """The names of every module of the gateway, read once a test asks."""
    return {
        path.relative_to(GATEWAY).with_suffix("").as_posix(): frozenset(names_in(ast.parse(path.read_text())))
        for path in sorted(GATEWAY.rglob("*.py"))
        if "simulator" not in path.parts  # another program
    }


def named_in(name: str) -> set[str]:
    """The modules that come near what has this name."""
    return {module for module, held in names().items() if name in held}


@pytest.mark.parametrize(
    ("what", "name", "modules"),
    [
        # The core only knows that callers write this word in a query by mistake, and the console what a proxy before it
        # brings for a login; they import none of the others.
        ("the header is made of it", "authorization", {"upstream/client", "upstream/token", "core/grammar",
                                                       "console/login"}),
        ("that header is kept", "_signed", {"upstream/client"}),
        # The two commands send the key of a caller to a gateway.
        ("that header is looked up", "Authorization", {"upstream/client", "cli/cancel/client", "cli/trial/tour"}),
        ("something is sent with it", "max_answer_bytes", {"upstream/client", *SENDS}),
        ("its own text is taken", "_value", {"upstream/token"}),
        ("it is made of a text", "UpstreamToken", {"upstream/account", "upstream/client", "upstream/token",
                                                   "cli/probe_upstream"}),
        ("a secret is read", "read_secret", {"files/secret", "upstream/account"}),
        ("the tokens are read", "read_tokens", {"app", "cli/probe_upstream", "upstream/account"}),
        ("they are read to be checked", "token_problems", {"cli/policies/check", "upstream/account"}),
        # Receivers of notices have secrets of their own.
        ("its traces are made", "Traces", {"files/secrecy", "upstream/token", "notices/receivers"}),
        ("its module is named", "gateway.upstream.token", {"upstream/account", "upstream/cancel", "upstream/client",
                                                           "upstream/runs/log", "upstream/runs/pages",
                                                           "cli/probe_upstream"}),
        ("the module that reads it is named", "gateway.files.secret", {"upstream/account", "upstream/settings"}),
        ("all of such a module is imported", EVERYTHING, set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_only_these_modules(what: str, name: str, modules: set[str]) -> None:
    """Another one would be one more place to look for a leak, or for a cancel outside the record."""
    assert named_in(name) == modules, what


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("read_secret", "from gateway.files.secret import read_secret as _rs\n_rs(source, environ)"),
        ("read_secret", "from gateway.files import secret\nsecret.read_secret(source, environ)"),
        ("read_secret", "import gateway.files.secret as s\nread = s.read_secret"),
        ("read_secret", "getattr(module, 'read_secret')(source, environ)"),
        ("read_secret", "def hand(read_secret): return read_secret(source, environ)"),
        ("gateway.files.secret", "from gateway.files import secret as s"),
        ("gateway.files.secret", "import gateway.files.secret"),
        ("gateway.files.secret", "import_module('gateway.files.secret').__dict__"),
        (EVERYTHING, "from gateway.files.secret import *"),
        ("gateway.upstream.token", "from gateway.upstream import token as t"),
        (EVERYTHING, "from gateway.upstream.token import *"),
        ("UpstreamToken", "from gateway.upstream.token import UpstreamToken as T"),
        ("UpstreamToken", "from gateway.upstream import client\nclient.UpstreamToken(text)"),
        ("UpstreamToken", "def hand(token: 'UpstreamToken') -> None: ..."),
        ("authorization", "header = holder.current.authorization()"),
        ("authorization", "write = token.authorization\nwrite()"),
        ("authorization", "methodcaller('authorization')(token)"),
        ("_signed", "exchange._signed[1]['Authorization']"),
        ("Authorization", "request.headers['Authorization']"),
        ("_signed", "attrgetter('upstream._signed')(parts)"),
        ("_value", "print(token._value)"),
        ("_value", "match token:\n    case UpstreamToken(_value=text): print(text)"),
        ("_value", "attrgetter('current._value')(holder)"),
        ("max_answer_bytes", "other = exchange\nawait other.send('DELETE', target, token, max_answer_bytes=1)"),
        ("max_answer_bytes", "send = self._exchange.send\nawait send(m, t, token, **{'max_answer_bytes': 1})"),
        ("max_answer_bytes", "partial(exchange.send, max_answer_bytes=1)"),
        ("Traces", "import gateway.files.secrecy as s\ns.Traces((text,))"),
        ("read_tokens", "from gateway.upstream.account import read_tokens as again"),
        ("token_problems", "account.token_problems(settings, (), {})"),
    ],
)  # fmt: skip
def test_a_way_around_is_seen(name: str, source: str) -> None:
    """Under another name, as an attribute, as a string, in a pattern: wherever it stood, its module would be named."""
    assert name in names_in(ast.parse(source))


def test_only_one_place_of_serve_cancels() -> None:
    """Of the modules that send, one that takes a receipt asks what an order is, and the probe of an account says it."""
    assert named_in("OPERATIONS") & {*SENDS, "upstream/client"} == {"upstream/cancel"}
    assert named_in("DELETE") & {*SENDS, "upstream/client"} == {"cli/probe_upstream"}


def test_the_page_names_every_module_that_may_import_it() -> None:
    """And those that the contracts of imports name are there."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = [one for one in contracts if PROTECTED.intersection(one.get("protected_modules", ()))]
    assert {name for one in found for name in one["protected_modules"]} == PROTECTED
    allowed = [name for one in found for name in one["allowed_importers"]]
    modules = {name.removeprefix("gateway.").replace(".", "/") for name in allowed}
    assert {*modules, *SENDS} - set(re.findall(r"`([a-z_/]+)`", TABLE)) == set()


def test_the_page_names_no_module_that_is_not_there() -> None:
    """A module that was renamed takes its row along."""
    rows = [line.split("|")[1] for line in TABLE.splitlines() if line.startswith("| `")]
    modules = [name for row in rows for name in re.findall(r"`([a-z_/]+)`", row)]
    assert len(modules) > 15
    assert [name for name in modules if not Path(GATEWAY / f"{name}.py").is_file()] == []
