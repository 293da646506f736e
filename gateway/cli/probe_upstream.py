"""The `probe-upstream` command, which finds out which contract an account is under, with labels that no run has.

The owner of the account runs it once. Every request is safe on every server that was documented so far, and the
safest go first: each cancel names a label, a URL and a time that no run has, and one of the three is enough. The first
run that is cancelled, and the first answer that is not understood, end the probe. Nothing of it goes through the
gateway or its record.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.cli.output import lost
from gateway.cli.probe_answers import Findings, Tracked, conclusion, labels_shown, unsafe
from gateway.config import Config, load_config
from gateway.core.errors import counted
from gateway.log import quiet_libraries
from gateway.process import forbid_core_dumps
from gateway.upstream.account import read_tokens
from gateway.upstream.client import Exchange, Failed, Reply, UpstreamLimits
from gateway.upstream.direct import make_transport
from gateway.upstream.token import AccountTokens, UpstreamToken

MAX_ANSWER_BYTES = 1_048_576
MOST_SHOWN = 300
POLLS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The waits before each look at an action of the probe, which hits nothing and so should end at once."""

RUNS = "/v2/workflows/runs"
LATEST_MS = 1_000_000_000_000
"""September 2001, before the service existed: no run is so old."""

NO_CONNECTION = {
    "refused": " Nothing listens at upstream.url.",
    "dns": " The host name in upstream.url is not known.",
    "tls": " What answers at upstream.url has no certificate of a public authority for that name, or speaks no TLS.",
}
"""The meaning of each cause of a failed connection."""

STOPPED = "Stopped there; nothing more was sent."


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("probe-upstream", help="find out which contract the QStash account is under")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--yes", action="store_true", help="do not ask before anything is sent")
    parser.set_defaults(run=run, product=True)


def run(arguments: argparse.Namespace) -> int:
    """Announce the probe, ask, and run it.

    Return 0 if the contract was found out, 1 if it was not or the person said no, 2 if nobody can be asked.
    """
    forbid_core_dumps()
    quiet_libraries()
    config = load_config(arguments.config)
    tokens = read_tokens(config.upstream, os.environ, time.monotonic).tokens
    label = f"probe{secrets.token_hex(10)}"
    print(_announcement(config.upstream.url, label, reads=tokens.reading is not None), flush=True)
    if not arguments.yes:
        if lost():
            print("What would be sent could not be shown: nothing was sent.", file=sys.stderr)
            return 2
        try:
            agreed = input("Send this? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            print("\nNobody is there to ask: say --yes.", file=sys.stderr)
            return 2
        if not agreed:
            print("Nothing was sent.")
            return 1
    return asyncio.run(_probe(config, tokens, label))


def _announcement(url: str, label: str, *, reads: bool) -> str:
    cancel = f"DELETE {RUNS}?{_query('LABEL')}"
    both = f'{cancel} with the body {{"workflowRunIds": ["wfr_LABEL"]}}'
    lines = [
        f"This asks {url} which contract the account is under. It sends, for LABEL = {label}, which no run has:",
        "  GET /v2/workflows/logs?state=RUN_STARTED&label=LABEL, which must list nothing, or it ends there",
        *([f"  {both}, with the read-only token, which must be refused"] if reads else []),
        f"  {both}: safe whichever of the two is read",
        f"  {cancel}, as the gateway writes it",
        "and, where an answer names an action, GET /v2/workflows/bulkActions/ID, and two DELETE with two such labels.",
        "Nothing is cancelled by this. If QStash ignores all three of label, workflowUrl and toDate, any run may be",
        "cancelled.",
        "It goes past the gateway and its record: keep what is printed here.",
        "",
    ]
    return "\n".join(lines)


async def _probe(config: Config, tokens: AccountTokens, label: str) -> int:
    upstream = config.upstream
    limits = UpstreamLimits(upstream.connect_timeout_s, upstream.total_timeout_s)
    exchange = Exchange(upstream.url, limits=limits, transport=make_transport(max_connections=1))
    reading = tokens.reading.current if tokens.reading is not None else None
    probe = _Probe(exchange, tokens.writing.current, reading, label)
    try:
        failure = await probe.run()
    finally:
        await exchange.aclose()
    if failure is not None:
        print(f"\n{failure}\n{STOPPED}")
        return 1
    print("\n" + conclusion(probe.findings, configured=upstream.contract, reads=reading is not None))
    return 0


@dataclass(slots=True)
class _Probe:
    """One run of the probe. Each step returns why the probe has to end there, or None."""

    exchange: Exchange
    writing: UpstreamToken
    reading: UpstreamToken | None
    label: str
    findings: Findings = field(default_factory=Findings)

    @property
    def _body(self) -> bytes:
        """A body with the ID of a run that does not exist.

        It never goes without a query: a server that reads no body would then cancel every run.
        """
        return json.dumps({"workflowRunIds": [f"wfr_{self.label}"]}).encode()

    async def run(self) -> str | None:
        """Take all steps in turn, the safest first. Return why the probe ended early, or None."""
        for step in (self._list, self._write_with_read_token, self._both_ways, self._by_label, self._two_labels):
            failure = await step()
            if failure is not None:
                return failure
        return None

    async def _list(self) -> str | None:
        print("1. Does the log know the label as a filter?")
        target = f"/v2/workflows/logs?state=RUN_STARTED&label={self.label}&count=10"
        reply = await self._sent("GET", target, self.reading or self.writing)
        if isinstance(reply, str):
            return reply
        members = reply.members() or {}
        # Servers written in Go write an empty list as null.
        runs = members["runs"] or [] if "runs" in members else None
        if reply.status != 200 or not isinstance(runs, list):
            return "The log could not be read: is this the right address, and the token one of this account?"
        if runs:
            are = counted(len(runs), "run is", "runs are")
            return f"ALARM: {are} listed under a label that no run has: the filter is ignored."
        print("   Nothing is listed under a label that no run has, as it should be.")
        return None

    async def _write_with_read_token(self) -> str | None:
        print("2. Is the read-only token one?")
        if self.reading is None:
            print("   None is configured.")
            return None
        reply = await self._sent("DELETE", f"{RUNS}?{_query(self.label)}", self.reading, body=self._body)
        if isinstance(reply, str):
            return reply
        if alarm := unsafe(reply.members() or {}):
            return alarm
        if reply.status != 403:
            return f"The answer was {reply.status}, not 403: upstream.read_token is no read-only token."
        print("   Yes: it cannot cancel.")
        return None

    async def _both_ways(self) -> str | None:
        print("3. Is a body read, or the query? Both name nothing that exists, so it is safe either way.")
        answer = await self._cancelled(_query(self.label), body=self._body, may_refuse=True)
        if isinstance(answer, str):
            return answer
        self.findings.both_ways = answer
        return None

    async def _by_label(self) -> str | None:
        print("4. What is answered to a filter? How is it tracked?")
        answer = await self._cancelled(_query(self.label))
        if isinstance(answer, str):
            return answer
        self.findings.by_label = answer
        return None

    async def _two_labels(self) -> str | None:
        print("5. How are two values read?")
        if self.findings.by_label is None or self.findings.by_label.action_id is None:
            print("   Not told: without an action there is no filter to look at.")
            return None
        other = f"{self.label}b"
        comma = await self._cancelled(_query(self.label, f"{self.label}%2C{other}"), may_refuse=True)
        if isinstance(comma, str):
            return comma
        repeated = await self._cancelled(_query(self.label, self.label, other), may_refuse=True)
        if isinstance(repeated, str):
            return repeated
        self.findings.comma, self.findings.repeated = comma, repeated
        return None

    async def _cancelled(self, query: str, *, body: bytes = b"", may_refuse: bool = False) -> Tracked | str:
        """Send one cancel that hits nothing, and follow its action. Return a sentence if anything else happens."""
        reply = await self._sent("DELETE", f"{RUNS}?{query}", self.writing, body=body)
        if isinstance(reply, str):
            return reply
        members = reply.members() or {}
        if alarm := unsafe(members):
            return alarm
        if may_refuse and reply.status in (400, 404, 412, 415, 422):
            return Tracked(refused=reply.status)
        cancelled, action_id = members.get("cancelled"), members.get("actionId")
        if not 200 <= reply.status < 300 or (cancelled is None and not isinstance(action_id, str)):
            return f"The answer {reply.status} is neither a number of cancelled runs nor an action."
        return await self._followed(action_id) if isinstance(action_id, str) else Tracked()

    async def _followed(self, action_id: str) -> Tracked | str:
        """Return the filter that an action works on, once it has ended and hit nothing, or a sentence on why not."""
        if not action_id.isascii() or not action_id.replace("_", "").replace("-", "").replace(".", "").isalnum():
            return "The action's ID cannot be put into a path."
        for wait_s in POLLS_S:
            await asyncio.sleep(wait_s)
            reply = await self._sent("GET", f"/v2/workflows/bulkActions/{action_id}", self.reading or self.writing)
            if isinstance(reply, str):
                return reply
            report = reply.members() or {}
            if alarm := unsafe({"cancelled": report.get("total")}):
                return alarm
            shown = report.get("filter")
            if reply.status == 200 and report.get("state") == "FINISHED" and isinstance(shown, dict):
                return self._checked(action_id, shown)
        return "The action did not end in time, or no report of it could be read."

    def _checked(self, action_id: str, shown: Mapping[str, object]) -> Tracked | str:
        if not any(self.label in value for value in labels_shown(shown)):
            return "ALARM: the action's filter does not hold the label that was sent: it may select any run."
        return Tracked(action_id, shown)

    async def _sent(self, method: str, target: str, token: UpstreamToken, *, body: bytes = b"") -> Reply | str:
        print(f"   {method} {target}{'  ' + body.decode() if body else ''}")
        reply = await self.exchange.send(
            method, target.encode("ascii"), token, max_answer_bytes=MAX_ANSWER_BYTES, body=body
        )
        if isinstance(reply, Failed):
            sent = "it may have arrived" if reply.sent else "nothing was sent"
            return f"No answer ({reply.cause}); {sent}.{NO_CONNECTION.get(reply.cause, '')}"
        print(f"   {reply.status} {self._safe(reply.body)}")
        return reply

    def _safe(self, body: bytes | None) -> str:
        """Return the answer as it may be printed: without a token, in one short line."""
        text = "(too long)" if body is None else body.decode("latin-1")
        for token in (self.writing, self.reading):
            text = text if token is None else token.scrub(text, longest=MOST_SHOWN)
        return text


def _query(label: str, *values: str) -> str:
    """Return the query of a cancel of at most one run, with its names in the gateway's order.

    Each of its three filters hits nothing. `values` replace `label` as the labels, and are sent as they are.
    """
    page = f"https%3A%2F%2Fprobe.invalid%2F{label}"
    labels = "&".join(f"label={value}" for value in values or (label,))
    return f"workflowUrl={page}&workflowUrlExactMatch=true&toDate={LATEST_MS}&{labels}&count=1"
