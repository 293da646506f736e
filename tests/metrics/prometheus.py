"""A real Prometheus that scrapes gateways and judges the rules of the examples, made quick."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from benchmarks.harness.requests import free_port
from tests.support.programs import needed
from tests.support.project import ROOT
from tests.support.waiting import until

RULES = ROOT / "docs" / "examples" / "prometheus-rules.yaml"
LOOK = "500ms"


def quick(rules: str) -> str:
    """The same rules, with waits that a test can wait for: a second, and a minute to look back."""
    return re.sub(r"\[\d+[mh]\]", "[1m]", re.sub(r"for: \d+[mh]", "for: 1s", rules))


class Prometheus:
    """It scrapes `targets`, by instance, until the end of a `with`."""

    def __init__(self, directory: Path, targets: Mapping[str, int]) -> None:
        directory.mkdir()
        (directory / "rules.yaml").write_text(quick(RULES.read_text()))
        static = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in targets.items()]
        configuration = {
            "global": {"scrape_interval": LOOK, "scrape_timeout": LOOK, "evaluation_interval": LOOK},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "qstash-gateway", "static_configs": static}],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self._directory = directory
        self._url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        command = [needed("prometheus", "prometheus"), f"--config.file={self._directory / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={self._directory / 'data'}", "--log.level=error"]
        command += [f"--web.listen-address={self._url.removeprefix('http://')}"]
        with (self._directory / "output").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        until(self._answers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._directory / "output").read_text()
        try:
            return bool(self.get("query", query="up"))
        except OSError:
            return False

    def get(self, page: str, **asked: str) -> Any:
        """The data of one page of its API."""
        url = f"{self._url}/api/v1/{page}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the address is ours
            return json.load(answer)["data"]

    def values(self, query: str) -> Sequence[tuple[Mapping[str, str], float]]:
        """What a query gives now: labels and value of each series."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("query", query=query)["result"]]

    def firing(self) -> set[tuple[str, str]]:
        """The alerts that fire now, each with its instance."""
        alerts = self.get("alerts")["alerts"]
        return {
            (one["labels"]["instance"], one["labels"]["alertname"].removeprefix("QStashGateway"))
            for one in alerts
            if one["state"] == "firing"
        }
