"""The `cancel` command, which shows runs and cancels them through a gateway. Address and key are in the environment."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.cli.cancel.client import Gateway
from gateway.cli.cancel.flow import KEY, URL, WAIT_S, Asked, Ending, Manner, Screen, cancel, resume, stop
from gateway.cli.cancel.loop import UntilNone
from gateway.cli.cancel.reached import CA_HELP, CA_OPTION, reached, trusted
from gateway.cli.lean import let_in
from gateway.cli.output import printable
from gateway.core import grammar
from gateway.core.forms.shown import PLAN_ID
from gateway.core.request import ByIds, filter_with
from gateway.files.addresses import UnixListen
from gateway.files.values import duration_field
from gateway.process import forbid_core_dumps

USAGE = 2
ALLOW_HTTP = "also http://HOST, where the network is nobody else's: the key would be readable on it"

_KEY = re.compile(r"[!-~]{1,16384}")
_HERE = "matched by the gateway and never sent, so only a rule with resolve: true can allow it"
_WAIT = f"how long to look for what came of a cancel without a clear answer (default: {WAIT_S:g}s)"
_NOBODY = "qstash-gateway: no terminal to ask on: say --yes to cancel without a question, or --dry-run"


@dataclass(frozen=True, slots=True)
class _Selected:
    """The selection that the options make; `count` is None if it is not given."""

    run_ids: tuple[str, ...]
    urls: tuple[str, ...]
    prefixes: tuple[str, ...]
    labels: tuple[str, ...]
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    to_date: int | None
    count: str | None

    def asked(self, reason: str | None) -> Asked:
        """Return the request. Raises: ValueError if it is not a valid one, or would mean every run."""
        return Asked(self._ids() if self.run_ids else self._filter(), self.to_date, reason)

    @property
    def _filters(self) -> bool:
        """Whether runs are chosen by anything but their IDs."""
        listed = (self.urls, self.prefixes, self.labels, self.hosts, self.paths)
        return any(listed) or self.to_date is not None

    def _ids(self) -> list[tuple[str, str]]:
        if self._filters or self.count is not None:
            raise ValueError("--run-id names the runs themselves: nothing else stands beside it")
        return [*ByIds(self.run_ids).pairs()]

    def _filter(self) -> list[tuple[str, str]]:
        if not self._filters:
            raise ValueError("say which runs: --url, --prefix, --host, --path, --label, --run-id or --older-than")
        if self.urls and self.prefixes:
            raise ValueError("--url and --prefix do not go together: one request reads all its addresses in one way")
        chosen = filter_with(
            {
                "workflow_urls": self.urls or self.prefixes,
                "exact": bool(self.urls),
                "to_date": self.to_date,
                "labels": self.labels,
                "hosts": self.hosts,
                "paths": self.paths,
            }
        )
        count = [] if self.count is None else [("count", str(grammar.count(self.count)))]
        return [*(pair for pair in chosen.pairs() if pair[0] != "toDate"), *count]


_NONE = _Selected((), (), (), (), (), (), None, None)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "cancel",
        help="show which runs a cancel means, ask, and cancel exactly those",
        description=f"Cancels runs through the gateway at ${URL} (https://HOST or unix:PATH), with the key in ${KEY}.",
    )
    several = partial(parser.add_argument, action="append", default=[])
    several("--url", metavar="U", help="runs of exactly this workflow URL; may be repeated")
    several("--prefix", metavar="P", help="runs of this URL and all below it; may be repeated")
    several("--host", metavar="H", help=f"runs of this host (name[:port]), {_HERE}; may be repeated")
    several("--path", metavar="P", help=f"runs of exactly this path, whatever the ?query, {_HERE}; may be repeated")
    several("--label", metavar="L", help="runs with this label; repeated: with any of them")
    several("--run-id", metavar="ID", help="this run; may be repeated, with nothing beside it")
    parser.add_argument("--older-than", type=_duration, metavar="D", help="runs created before that, like 1h or 30m")
    parser.add_argument("--count", metavar="N", help="at most so many at once, the oldest (default: the gateway's)")
    parser.add_argument("--until-none", action="store_true", help="ask once, and go on until no such run is left")
    parser.add_argument("--plan", type=_plan_id, metavar="ID", help="show this plan, follow it, or apply it")
    parser.add_argument("--stop", type=_plan_id, metavar="ID", help="stop this plan before its next order")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    parser.add_argument("--dry-run", action="store_true", help="only show which runs it would be")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--wait", type=_duration, metavar="D", help=_WAIT)
    parser.add_argument("--json", action="store_true", help="one JSON object; needs --yes or --dry-run")
    add_connection(parser)
    parser.set_defaults(run=partial(run, parser))


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to reach the gateway."""
    parser.add_argument(CA_OPTION, type=Path, metavar="PATH", help=CA_HELP)
    parser.add_argument("--allow-http", action="store_true", help=ALLOW_HTTP)


def _duration(text: str) -> int:
    try:
        return duration_field().parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _plan_id(text: str) -> str:
    if not PLAN_ID.fullmatch(text):
        raise argparse.ArgumentTypeError("that is no ID of a plan, which is like 01a20940-29d0-75d0-b53c-60683b75722a")
    return text


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Cancel runs as the options say.

    Return 0 if that was done, 1 if it was refused, failed or its outcome is unknown, 2 if it could not be begun.
    """
    forbid_core_dumps()
    asked = _asked(parser, arguments)
    ask = not (arguments.yes or arguments.dry_run or arguments.stop)
    if ask and arguments.json:
        parser.error("--json asks nothing: say --yes to cancel without a question, or --dry-run")
    if ask and not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(_NOBODY, file=sys.stderr)
        return USAGE
    gateway = gateway_of(arguments)
    if gateway is None:
        return USAGE
    let_in()
    from gateway.cli.cancel.screen import Silence, Terminal

    screen = Silence() if arguments.json else Terminal()
    wait_s = WAIT_S if arguments.wait is None else arguments.wait / 1000
    manner = Manner(dry_run=arguments.dry_run, ask=ask, wait_s=wait_s)
    ending = _ended(gateway, asked, screen, manner, arguments)
    screen.ends(ending)
    return ending.how.exit_code


def _ended(
    gateway: Gateway, asked: Asked | None, screen: Screen, manner: Manner, arguments: argparse.Namespace
) -> Ending:
    if arguments.stop is not None:
        return stop(gateway, arguments.stop, screen)
    if asked is None:
        return resume(gateway, arguments.plan, screen, manner)
    if arguments.until_none:
        return UntilNone(gateway, asked, screen, manner).end()
    return cancel(gateway, asked, screen, manner)


def _asked(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Asked | None:
    """Return the request that the options make; None if they name a plan. Raises: SystemExit if they do not fit."""
    older_ms = arguments.older_than
    selected = _Selected(
        run_ids=tuple(arguments.run_id),
        urls=tuple(arguments.url),
        prefixes=tuple(arguments.prefix),
        labels=tuple(arguments.label),
        hosts=tuple(arguments.host),
        paths=tuple(arguments.path),
        to_date=None if older_ms is None else time.time_ns() // 1_000_000 - older_ms,
        count=arguments.count,
    )
    if arguments.plan is not None or arguments.stop is not None:
        others = (arguments.plan and arguments.stop, selected != _NONE, arguments.until_none, arguments.reason)
        if any(others):
            parser.error("--plan and --stop name a plan, which has its runs and reason: nothing else stands beside it")
        return None
    if arguments.until_none and arguments.run_id:
        parser.error("--until-none looks for runs again and again; those of --run-id are all there are")
    try:
        return selected.asked(None if arguments.reason is None else grammar.reason(arguments.reason))
    except ValueError as exc:
        parser.error(str(exc))


def gateway_of(arguments: argparse.Namespace) -> Gateway | None:
    """Return the gateway that environment and options name; None, and a sentence on standard error, if they do not."""
    try:
        return _gateway(os.environ, arguments.ca_file, allow_http=arguments.allow_http)
    except ValueError as exc:
        print(f"qstash-gateway: {printable(str(exc))}", file=sys.stderr)
        return None


def _gateway(environment: Mapping[str, str], ca_file: Path | None, *, allow_http: bool) -> Gateway:
    """Return the gateway that the environment names.

    Raises: ValueError if it names none that the key may be sent to.
    """
    url, key = environment.get(URL, ""), environment.get(KEY, "")
    if not url or not key:
        raise ValueError(f"set {URL} to the gateway's address and {KEY} to your key, both in the environment")
    if not _KEY.fullmatch(key):
        raise ValueError(f"{KEY} holds a space, a line break or another sign that no key has")
    address = reached(url, name=URL, allow_http=allow_http)
    tls = not isinstance(address, UnixListen) and address.url.startswith("https:")
    return Gateway(address, key, roots=trusted(ca_file, environment) if tls else None)
