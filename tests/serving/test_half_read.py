"""Files that change while they are read are never served half old and half new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.callers.in_force import LiveSettings
from gateway.callers.issuers import Pins
from gateway.config import load_config
from gateway.serving.reload import Files, Reloader, checked_policies, look, make_live
from gateway.upstream.token import TokenHolder, UpstreamToken
from tests.cli.configs import POLICY, write


class Log:
    """The record and the operators' log in memory."""

    def __init__(self) -> None:
        self.reloads: list[Mapping[str, object]] = []
        self.noted = asyncio.Event()

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        self.reloads.append(members)
        self.noted.set()

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        raise AssertionError

    def info(self, event: str, **members: object) -> None:
        """News are not looked at."""

    def error(self, event: str, **members: object) -> None:
        """Nor are faults."""


class Meddler(TokenHolder):
    """Asked about the first key, which is after the policies were read, it changes a file: once."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__(UpstreamToken("upstream-token-of-these-tests"), 0)
        self._change: Callable[[], object] | None = change

    def is_upstream_token(self, digest: bytes) -> bool:
        if self._change is not None:
            change, self._change = self._change, None
            change()
        return super().is_upstream_token(digest)


async def test_what_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    """The state in between is neither served nor recorded; the cause of the first attempt stays that of the second."""
    path = write(tmp_path)
    config = load_config(path)
    policy = config.policies / "billing.yaml"
    token = TokenHolder(UpstreamToken("upstream-token-of-these-tests"), 0)
    current = LiveSettings(make_live(config, checked_policies(config.policies), token=token, before=Pins()))
    meddler, log = Meddler(lambda: policy.write_text(POLICY.replace("cap: 50", "cap: 7"))), Log()
    files = Files(path, look(path, config.policies))
    reloader = Reloader(files, config, current=current, token=meddler, audit=log, keep=lambda _: None, log=log)
    policy.write_text(POLICY.replace("cap: 50", "cap: 20"))
    asked = asyncio.Event()
    asked.set()
    task = asyncio.create_task(reloader.run(asked))
    await log.noted.wait()
    task.cancel()
    [record] = log.reloads
    assert (record["outcome"], record["cause"]) == ("applied", "signal")
    assert record["new_digest"] == checked_policies(config.policies).digest == current.live.policies.digest
