"""The process that fuzzes one target: `python -m tests.reliability.fuzz.child TARGET [options] DIRECTORY…`."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

# Their own expressions are called with a position, which the hook does not know; so they are compiled before it is set.
UNHOOKED = ("json", "yaml", "urllib.parse", "ipaddress", "difflib", "tempfile", "datetime", "structlog", "orjson")


def main(argv: list[str]) -> None:
    """Instruments the gateway, then hands over to libFuzzer, which ends the process."""
    name, *options = argv
    atheris: Any = importlib.import_module("atheris")  # only the fuzzing environment has it
    # The grammar is regular expressions and string comparisons, and libFuzzer learns from each only when hooked.
    _import_all(UNHOOKED)
    for hook in ("RegEx", "str"):
        atheris.enabled_hooks.add(hook)
    with atheris.instrument_imports(include=["gateway"]):
        targets = importlib.import_module("tests.reliability.fuzz.targets")
    atheris.Setup(["fuzz", *options], targets.TARGETS[name])
    atheris.Fuzz()


def _import_all(names: tuple[str, ...]) -> list[ModuleType]:
    return [importlib.import_module(name) for name in names]


if __name__ == "__main__":
    main(sys.argv[1:])
