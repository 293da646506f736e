"""Secrets are replaced while the gateway runs: the next request has the new one, one under way keeps its own."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.callers.documented import KUBERNETES, CallersSetup, kubernetes
from tests.callers.issuers import jwk, key_pair, published
from tests.cli.running import command
from tests.support.files import put
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.support.waiting import until

EXACT = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
NEW_TOKEN = "CANARYNEW" + secrets.token_hex(24)
WAIT_S = 20


class TwoTokens:
    """An upstream that takes the tokens it is told to; it notes what it was sent, and answers when it may."""

    def __init__(self, *accepted: str, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.accepted = set(accepted)
        self.sent: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_DELETE(self) -> None:
                upstream._answer(self)

            def log_message(self, *arguments: object) -> None:
                """Nothing: requests are in `sent`."""

        self._server = ThreadingHTTPServer(address, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        token = handler.headers["Authorization"].removeprefix("Bearer ")
        self.sent.append(token)
        assert self.may_answer.wait(WAIT_S)
        status, body = (200, b'{"cancelled": 1}') if token in self.accepted else (401, b'{"error": "unauthorized"}')
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def upstream() -> Iterator[TwoTokens]:
    with TwoTokens(REAL_TOKEN, NEW_TOKEN) as running:
        yield running


def said(gateway: RunningGateway, event: str) -> int:
    """How often the operators' log has an event."""
    return gateway.stderr().count(f'"event": "{event}"')


def after(gateway: RunningGateway, event: str, change: Callable[[], object]) -> None:
    """Makes a change and waits until the gateway has noticed it."""
    before = said(gateway, event)
    change()
    until(lambda: said(gateway, event) > before)


def notices(gateway: RunningGateway) -> list[str]:
    """What `/readyz` wants attention for; the page itself stays 200."""
    answer = gateway.request("GET", "/readyz", team=None)
    assert answer.status == 200
    found = answer.json()["notices"]
    assert isinstance(found, list)
    return found


def test_a_token_file_that_is_replaced_is_used_by_the_next_request(upstream: TwoTokens, tmp_path: Path) -> None:
    """Renamed into place while serving; nothing shows either token."""
    with RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as gateway:
        assert gateway.cancel(EXACT).status == 200
        after(gateway, "reloaded", lambda: put(gateway.setup.directory / "token", f"{NEW_TOKEN}\n"))
        assert gateway.cancel(EXACT).status == 200
        assert upstream.sent == [REAL_TOKEN, NEW_TOKEN]
        assert not any(token.encode() in gateway.said() for token in (REAL_TOKEN, NEW_TOKEN))


class MountedSetup(Setup):
    """The token in a volume as Kubernetes mounts it: the file is a link through `..data`."""

    def write(self) -> Path:
        path = super().write()
        token = self.directory / "token"
        token.unlink()
        self.publish(self.token, "..2026_11_23_14_00")
        token.symlink_to("..data/token")
        return path

    def publish(self, text: str, version: str) -> None:
        """A new version of the volume, swapped in by renaming one link."""
        (self.directory / version).mkdir()
        (self.directory / version / "token").write_text(text)
        (self.directory / "..data_tmp").symlink_to(version)
        (self.directory / "..data_tmp").rename(self.directory / "..data")


def test_the_swap_of_a_mounted_volume_is_noticed(upstream: TwoTokens, tmp_path: Path) -> None:
    """Only `..data` is pointed elsewhere; the path of the token stays the same link."""
    setup = MountedSetup(upstream.url, tmp_path / "gateway")
    with RunningGateway(setup) as gateway:
        assert gateway.cancel(EXACT).status == 200
        after(gateway, "reloaded", lambda: setup.publish(NEW_TOKEN, "..2026_11_23_15_00"))
        assert gateway.cancel(EXACT).status == 200
    assert upstream.sent == [REAL_TOKEN, NEW_TOKEN]


def test_an_emptied_file_leaves_the_last_good_token_and_a_notice(upstream: TwoTokens, tmp_path: Path) -> None:
    """Until the file holds a token again, which is then used."""
    with RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as gateway:
        path = gateway.setup.directory / "token"
        assert notices(gateway) == []
        after(gateway, "reload_failed", lambda: path.write_text(""))
        (notice,) = notices(gateway)
        assert "the last good content stays" in notice
        assert gateway.cancel(EXACT).status == 200
        after(gateway, "reload_failed", path.unlink)
        assert gateway.cancel(EXACT).status == 200
        after(gateway, "reloaded", lambda: put(path, NEW_TOKEN))
        assert notices(gateway) == []
        assert gateway.cancel(EXACT).status == 200
    assert upstream.sent == [REAL_TOKEN, REAL_TOKEN, NEW_TOKEN]


def test_a_request_under_way_keeps_its_token(upstream: TwoTokens, tmp_path: Path) -> None:
    """It was sent with the old one and ends well, while the next one goes out with the new."""
    with RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as gateway, ThreadPoolExecutor() as callers:
        upstream.may_answer.clear()
        first = callers.submit(gateway.cancel, f"{EXACT}&count=1")
        until(lambda: len(upstream.sent) == 1)
        after(gateway, "reloaded", lambda: put(gateway.setup.directory / "token", NEW_TOKEN))
        second = callers.submit(gateway.cancel, f"{EXACT}&count=2")
        until(lambda: len(upstream.sent) == 2)
        assert not first.done()
        upstream.may_answer.set()
        assert (first.result(WAIT_S).status, second.result(WAIT_S).status) == (200, 200)
    assert upstream.sent == [REAL_TOKEN, NEW_TOKEN]


def test_a_token_that_upstream_refuses_is_reported_and_never_tried_again(tmp_path: Path) -> None:
    """Although a good one was used a moment before: one request, one call, `upstream_refused`."""
    with TwoTokens(REAL_TOKEN) as upstream, RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as gateway:
        assert gateway.cancel(EXACT).status == 200
        after(gateway, "reloaded", lambda: put(gateway.setup.directory / "token", NEW_TOKEN))
        refused = gateway.cancel(EXACT)
        assert (refused.status, refused.json()["code"], refused.json()["upstream_status"]) == (
            502,
            "upstream_refused",
            401,
        )
        assert upstream.sent == [REAL_TOKEN, NEW_TOKEN]
        closings = [(record["outcome"], record["carried_out"]) for record in gateway.records("outcome")]
        assert closings == [("cancelled", True), ("refused", False)]
        [line] = [line for line in gateway.stderr().splitlines() if '"event": "upstream_refused"' in line]
        assert json.loads(line)["problem"] == "QStash refused upstream.token (401): renew it"


def test_while_upstream_is_away_a_notice_says_so(tmp_path: Path) -> None:
    """Until a call gets an answer, whatever it is; `/readyz` stays 200, and asks nothing itself."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address: tuple[str, int] = held.getsockname()
        setup = Setup(f"http://127.0.0.1:{address[1]}", tmp_path / "gateway")
        with RunningGateway(setup) as gateway:
            assert notices(gateway) == []
            assert gateway.cancel(EXACT).status == 502
            assert [notice.partition(":")[0] for notice in notices(gateway)] == [
                "QStash could not be reached by the last call (refused)"
            ]
            held.close()
            with TwoTokens(REAL_TOKEN, address=address):
                assert gateway.cancel(f"{EXACT}&count=1").status == 200
            assert notices(gateway) == []


def test_a_caller_with_the_token_is_recognised_before_and_after(upstream: TwoTokens, tmp_path: Path) -> None:
    """Who has the old one may have it still where it is valid; the record says so for both."""
    with RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as gateway:
        after(gateway, "reloaded", lambda: put(gateway.setup.directory / "token", NEW_TOKEN))
        for token in (REAL_TOKEN, NEW_TOKEN):
            answer = gateway.request(team=None, headers={"Authorization": f"Bearer {token}"})
            assert answer.status == 401
        assert [record["cause"] for record in gateway.records("refused")] == ["upstream_token"] * 2
    assert upstream.sent == []


def test_a_key_file_that_is_replaced_changes_who_can_sign(upstream: TwoTokens, tmp_path: Path) -> None:
    """Tokens of the new key are accepted and those of the withdrawn one refused, without a restart."""
    both = published(jwk(key_pair().public_key()), jwk(key_pair(number=2).public_key(), "k2"))
    new_alone = published(jwk(key_pair(number=2).public_key()))
    setup = CallersSetup(upstream.url, tmp_path / "gateway", callers=KUBERNETES)

    def called(gateway: RunningGateway) -> int:
        credential = {"Authorization": f"Bearer {kubernetes()}"}
        return gateway.request(target=f"/v2/workflows/runs?{EXACT}", team=None, headers=credential).status

    with RunningGateway(setup) as gateway:
        path = setup.directory / "jwks.json"
        assert called(gateway) == 200
        after(gateway, "reloaded", lambda: put(path, both.decode()))
        assert called(gateway) == 200
        after(gateway, "reload_failed", lambda: put(path, '{"keys": []}'))
        assert called(gateway) == 200
        assert [str(path) in notice for notice in notices(gateway)] == [True]
        after(gateway, "reloaded", lambda: put(path, new_alone.decode()))
        assert called(gateway) == 401
        assert notices(gateway) == []


class TwoKeysSetup(Setup):
    """Two keys of one team, of which the old one ends in a week."""

    last = (datetime.now(UTC) + timedelta(days=7)).date()

    def write(self) -> Path:
        path = super().write()
        text = path.read_text().replace("team: old, ", "team: billing, ")
        path.write_text(re.sub('(sha256: "[0-9a-f]+")', rf"\1, expires: {self.last}", text, count=1))
        return path


def test_two_keys_of_a_team_overlap_and_what_ends_is_announced(upstream: TwoTokens, tmp_path: Path) -> None:
    """Both are accepted; the log, `check` and `keys new` name what ends within fourteen days, `/readyz` counts it."""
    setup = TwoKeysSetup(upstream.url, tmp_path / "gateway", teams=("old", "billing"))
    with RunningGateway(setup) as gateway:
        assert [gateway.cancel(EXACT, team=team).status for team in ("old", "billing")] == [200, 200]
        names = [record["principal"] for record in gateway.records("intent")]
        assert names == ["billing/old-key", "billing/billing-key"]
        ends = f"key billing/old-key: expires on {setup.last}"
        assert [notice.partition(";")[0] for notice in notices(gateway)] == [f"1 key expires on {setup.last}"]
        assert ends in gateway.stderr()
        checked = command("check", "--config", str(setup.directory / "config.yaml"))
    assert (checked.returncode, f"warning: {ends}. [key-expires]" in checked.stdout) == (0, True)


class ManyKeysSetup(Setup):
    """As many keys as a configuration may have, nearly all of them about to end."""

    def write(self) -> Path:
        path = super().write()
        last = (datetime.now(UTC) + timedelta(days=7)).date()
        digests = (hashlib.sha256(b"%d" % number).hexdigest() for number in range(9_990))
        lines = [f'    - {{id: k-{one[:20]}, team: search, sha256: "{one}", expires: {last}}}\n' for one in digests]
        path.write_text(path.read_text().replace("  keys:\n", "".join(["  keys:\n", *lines])))
        return path


def test_a_page_that_needs_no_key_is_short_and_names_no_caller(upstream: TwoTokens, tmp_path: Path) -> None:
    """However many keys end; the operators' log names ten and says how many more there are."""
    with RunningGateway(ManyKeysSetup(upstream.url, tmp_path / "gateway")) as gateway:
        page = gateway.request("GET", "/readyz", team=None)
        assert "9990 keys expire within 14 days, the first on " in str(page.json()["notices"])
        assert len(page.body) < 1000
        assert b"k-" not in page.body
        [line] = [json.loads(line) for line in gateway.stderr().splitlines() if "keys_end" in line]
        assert (len(line["keys"]), line["more"]) == (10, 9_980)


@pytest.mark.parametrize(("days", "says"), [(-1, "expired on"), (0, "expires on"), (14, "expires on"), (16, None)])
def test_keys_new_says_that_a_key_ends_soon(days: int, says: str | None) -> None:
    """In a line of its own, apart from what is pasted."""
    last = (datetime.now(UTC) + timedelta(days=days)).date()
    done = command("keys", "new", "--team", "billing", "--id", "ci", "--expires", str(last))
    assert (done.returncode, done.stderr) == (0, "")
    warnings = [line for line in done.stdout.splitlines() if "warning" in line]
    assert warnings == ([] if says is None else [f"warning: this key {says} {last}"])


def test_the_age_of_the_token_begins_with_its_replacement(upstream: TwoTokens, tmp_path: Path) -> None:
    """`/readyz` tells how long the token has been in use."""
    with RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as gateway:

        def age_s() -> int:
            return int(str(gateway.request("GET", "/readyz", team=None).json()["token_age_s"]))

        until(lambda: age_s() >= 2)
        after(gateway, "reloaded", lambda: put(gateway.setup.directory / "token", NEW_TOKEN))
        started_s = time.monotonic()
        assert age_s() <= time.monotonic() - started_s + 1
