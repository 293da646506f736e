"""The official JavaScript clients, driven through Node, and what their caller saw."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
UNDEFINED = {"$undefined": True}
"""JavaScript's `undefined`, wherever it stands in a call."""

CLIENTS = ("workflow-latest", "workflow-1.1")
NODE_S = 180


@dataclass(frozen=True, slots=True)
class Seen:
    """What one call came to for its caller: a value or an error, after so many requests."""

    attempts: int
    value: object = None
    error: Mapping[str, object] | None = None
    ended: bool = True

    @property
    def cancelled(self) -> object:
        """The number that the client was given."""
        assert isinstance(self.value, dict), self
        return self.value["cancelled"]

    @property
    def problem(self) -> dict[str, object]:
        """The problem that `QstashError.message` holds."""
        assert self.error is not None, self
        members = json.loads(str(self.error["message"]))
        assert isinstance(members, dict)
        return members

    @property
    def sentence(self) -> str:
        """The one sentence for a person, as it stands in `QstashError.message`."""
        sentence = str(self.problem["error"])
        assert self.error is not None
        assert json.dumps(sentence, ensure_ascii=False) in str(self.error["message"])
        return sentence


@dataclass(frozen=True, slots=True)
class OfficialClient:
    """A client of version `version` (`latest` or `1.1`), pointed at `base_url` with `token`."""

    version: str
    base_url: str
    token: str

    def cancel(self, call: object, **options: object) -> Seen:
        """One call of `cancel()`; options are those of driver.mjs."""
        result = self._driven(call, **options)
        return Seen(result["attempts"], result.get("ok"), result.get("error"))

    def loop(self, call: object, **options: object) -> tuple[list[object], Seen]:
        """The documented `do { … } while (cancelled > 0)`: the numbers it was given, and how it ended."""
        result = self._driven(call, loop=True, **options)
        numbers = [answer["cancelled"] for answer in result["ok"]]
        return numbers, Seen(result["attempts"], error=result.get("error"), ended=result["ended"])

    def logs(self, call: object) -> tuple[list[list[str]], Seen]:
        """The pages of `logs()` from the first to the last: the run IDs on each, and how it ended."""
        result = self._driven(call, logs=True)
        pages = [[run["workflowRunId"] for run in page["runs"]] for page in result["ok"]]
        return pages, Seen(result["attempts"], error=result.get("error"), ended=result["ended"])

    def act(self, on: str, *steps: object) -> Seen:
        """One other call of `workflow` or `qstash`: names of properties, and lists of a method and its arguments."""
        result = self._driven({"on": on, "steps": list(steps)}, actions=True)
        return Seen(result["attempts"], result.get("ok"), result.get("error"))

    def _driven(self, call: object, **options: object) -> dict:
        told = {"client": self.version, "baseUrl": self.base_url, "token": self.token, "calls": [call], **options}
        done = subprocess.run(
            ["node", "driver.mjs"],
            cwd=HERE,
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=NODE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (result,) = json.loads(done.stdout)
        assert isinstance(result, dict)
        return result


def require_clients() -> None:
    """Skips the test where Node or the clients are missing; under CI=true fails it."""
    missing = [name for name, there in _needed() if not there]
    if missing:
        _without(", ".join(missing), ci=os.environ.get("CI") == "true")


def _needed() -> list[tuple[str, bool]]:
    return [
        ("node", shutil.which("node") is not None),
        *((f"node_modules/{name}", (HERE / "node_modules" / name).is_dir()) for name in CLIENTS),
    ]


def _without(missing: str, *, ci: bool) -> NoReturn:
    sentence = f"the official clients cannot run: {missing} is missing"
    if ci:
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
