"""A canary for a token: it is looked for, whole and in pieces, in every byte that a gateway says to anybody."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.simulator.server import SimulatorServer
from tests.laws.canary import DEVELOPMENT_TOKEN, ODD_TOKEN, PLAIN_TOKEN, TOKENS, decoded, forms, found
from tests.support.gateway import Answer, RunningGateway, Setup
from tests.support.waiting import until
from tests.upstream.canned import CannedServer
from tests.upstream.raw import answer

SABOTAGE = Path(__file__).with_name("sabotage.py")
OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true&count=10"


def said_to_caller(got: Answer) -> bytes:
    head = "\n".join(f"{name}: {value}" for name, value in got.headers.items())
    return f"{got.status}\n{head}\n".encode() + got.body


def secrets_of(running: RunningGateway) -> list[str]:
    return [running.setup.token, *running.setup.keys.values()]


def assert_silent(running: RunningGateway, *answers: Answer) -> None:
    """Neither token nor key in answers, streams, records or the readiness page."""
    page = running.request("GET", "/readyz", team=None)
    said = running.said() + b"".join(map(said_to_caller, [page, *answers]))
    for secret in secrets_of(running):
        assert not found(secret, said), said


def echoes(token: str) -> list[bytes]:
    """Answers of an upstream that repeats the token wherever an answer has room."""
    form = list(forms(token))
    text = json.dumps({"error": " ".join(["invalid token", *form])}).encode()
    shifted = [json.dumps({"error": f"{'.' * 190}{each}"}).encode() for each in form]
    page = f"<html><pre>Authorization: Bearer {token}\n{quote(token)}</pre></html>".encode()
    headers = [f"X-Debug: {token}", f"Set-Cookie: t={quote(token)}", f"Authorization: Bearer {token}"]
    headers += [f"Burst-RateLimit-Limit: {token}", f"Retry-After: {token}", f"Location: http://127.0.0.1/{token}"]
    ours = [f"Gateway-Decision: {token}", f"Gateway-Narrowed: {token}", f"Content-Type: text/{token}"]
    return [
        *(answer(text, status=f"{status} {token}", headers=headers) for status in (401, 403, 412, 429)),
        *(answer(body, status="401 No") for body in shifted),
        answer(page, status=f"500 {token}", headers=headers),
        answer(b"{}", status=f"307 {token}", headers=headers),
        answer(b'{"cancelled":1}', status=f"200 {token}", headers=headers),
        answer(b'{"cancelled":1}', headers=ours),
        answer(json.dumps({"cancelled": token, token: token}).encode()),
        answer(b'{"actionId":"' + base64.urlsafe_b64encode(token.encode()).rstrip(b"=") + b'"}', headers=headers),
        answer(json.dumps({"actionId": token}).encode()),
        answer(json.dumps({"actionId": token.encode().hex()}).encode()),
        f"HTTP/1.1 200 OK\r\n{token}\r\n\r\n".encode(),
        f"{token}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nContent-Encoding: {token}\r\nContent-Length: 0\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {token}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nContent-Length: {token}\r\n\r\n".encode(),
    ]


class EchoingServer(CannedServer):
    """Answers each connection with the next content."""

    def __init__(self, contents: Sequence[bytes]) -> None:
        super().__init__(b"")
        self._contents = list(contents)

    def _answer(self, connection: object) -> None:
        self._content = self._contents[len(self.requests)]
        super()._answer(connection)  # type: ignore[arg-type]


@pytest.mark.parametrize("token", TOKENS, ids=["plain", "odd", "development"])
def test_whatever_upstream_echoes_the_token_stays_inside(token: str, tmp_path: Path) -> None:
    """Error texts, reason phrases, headers, bodies, action IDs and broken HTTP that repeat the token in every form."""
    contents = echoes(token)
    with EchoingServer(contents) as upstream:
        setup = Setup(
            upstream.url, tmp_path / "gateway", token=token, audit="{directory: audit, durability: os, stdout: true}"
        )
        with RunningGateway(setup) as running:
            answers: list[Answer] = []
            # On a busy machine a cancel may end before it is sent; every content has to be answered all the same.
            while len(upstream.requests) < len(contents):
                answers.append(running.cancel(OWN))
                assert len(answers) < 2 * len(contents)
            assert all(f"Bearer {token}".encode() in request for request in upstream.requests)
            leaks = {at: found(token, said_to_caller(got)) for at, got in enumerate(answers)}
            assert {at: pieces for at, pieces in leaks.items() if pieces} == {}
            assert_silent(running, *answers)
            assert {got.status for got in answers} == {200, 429, 502, 504}


@pytest.mark.parametrize(("where", "status"), [("transport", 504), ("edge", 503)])
def test_an_error_of_our_own_code_tells_nobody(
    where: str, status: int, simulator: SimulatorServer, tmp_path: Path
) -> None:
    """An exception whose text holds the token, or the request, leaves a class name in the log and a plain answer."""
    setup = Setup(simulator.url, tmp_path / "gateway", token=PLAIN_TOKEN)
    with RunningGateway(setup, before=[sys.executable, str(SABOTAGE), where]) as running:
        got = running.cancel(OWN)
        assert got.status == status
        until(lambda: b"RuntimeError" in running.said() or b"runtime_error" in running.said())
        assert b"Traceback" not in running.said()
        assert_silent(running, got)


def test_keys_of_callers_are_nowhere_either(gateway: RunningGateway) -> None:
    """Good, unknown, misplaced and mangled: a credential is never repeated, whatever becomes of the request."""
    key = gateway.key()
    odd = [{"Authorization": value} for value in (f"Basic {key}", f"Bearer {key}x", key, f"Bearer  {key} {key}")]
    odd += [{"Cookie": key}, {"X-Api-Key": key}, {key: "1"}, {"Upstash-Token": key}]
    answers = [gateway.request(target=f"/v2/workflows/runs?{OWN}", team=None, headers=headers) for headers in odd]
    answers += [gateway.request(target=f"/v2/workflows/runs?{query}") for query in (f"{key}=1", f"label={key}&x=y")]
    answers += [
        gateway.request(target=f"/{key}"),
        gateway.request("PATCH", f"/v2/workflows/runs?{key}"),
        gateway.cancel(OWN),
    ]
    body = {"Content-Type": "application/json"}
    answers.append(gateway.request(body=json.dumps({key: key}).encode(), headers=body))
    assert {got.status for got in answers} == {200, 400, 401, 404, 405}
    assert_silent(gateway, *answers)


def test_a_caller_with_the_real_token_learns_nothing(gateway: RunningGateway) -> None:
    """Its 401 is that of any stranger, but for the decision id; the record knows better, and holds no piece of it."""
    real, strange = (
        gateway.request(team=None, headers={"Authorization": f"Bearer {token}"})
        for token in (gateway.setup.token, "CANARY" + "0" * 48)
    )
    shapes = [
        re.sub(re.escape(got.headers["gateway-decision"]).encode(), b"<id>", said_to_caller(got))
        for got in (real, strange)
    ]
    assert real.status == 401
    assert re.sub(rb"date: .*", b"", shapes[0]) == re.sub(rb"date: .*", b"", shapes[1])
    causes = {record["decision_id"]: record["cause"] for record in gateway.records("refused")}
    assert causes[real.headers["gateway-decision"]] == "upstream_token"
    assert causes[strange.headers["gateway-decision"]] == "unknown_key"
    assert_silent(gateway, real, strange)


def test_the_token_in_the_query_parameter_of_the_vendor_is_refused_and_not_repeated(
    gateway: RunningGateway, simulator: SimulatorServer
) -> None:
    """`qstash_token` is another way in upstream, and none here."""
    token = gateway.setup.token
    answers = [gateway.request(target=f"/v2/workflows/runs?{OWN}&qstash_token={token}", team=team) for team in
               (None, "billing")]  # fmt: skip
    assert [got.status for got in answers] == [401, 400]
    assert simulator.ledger == ()
    assert_silent(gateway, *answers)


@pytest.fixture
def fresh(simulator: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway that is this process's own child, with a command line of its own."""
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway"), fresh=True) as running:
        yield running


def limits_of(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text()


def test_the_running_process_leaves_no_core(fresh: RunningGateway) -> None:
    """The limit is zero, hard and soft, and a fatal signal leaves no dump."""
    assert re.search(r"Max core file size +0 +0 ", limits_of(fresh.process.pid))
    os.kill(fresh.process.pid, signal.SIGSEGV)
    _, status = os.waitpid(fresh.process.pid, 0)
    fresh.process.returncode = -signal.SIGSEGV
    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)


def test_the_process_is_not_dumpable() -> None:
    """Also a core pattern with a pipe, which knows no limit, gets nothing; and children begin with the same limit."""
    code = (
        "import ctypes, resource, subprocess, sys\n"
        "from gateway.process import forbid_core_dumps\n"
        "forbid_core_dumps()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0 (0, 0)\n"


def test_a_token_from_the_environment_is_not_left_to_children(tmp_path: Path, simulator: SimulatorServer) -> None:
    """The variable is taken out of the environment once it was read; and no token is ever an argument."""
    setup = Setup(simulator.url, tmp_path / "gateway", environment={"CANARY_TOKEN": simulator.token})
    config = setup.write()
    config.write_text(config.read_text().replace("{file: token}", "{env: CANARY_TOKEN}"))
    code = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from gateway.app import build\n"
        "from gateway.config import load_config\n"
        "built = build(load_config(Path(sys.argv[1])))\n"
        "sys.stdout.flush()\n"
        "subprocess.run(['env'], check=True)\n"
        "[bound.close() for bound in built.listeners]\n"
        "print(built, built.config)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(config)],
        env={**os.environ, **setup.environment},
        check=True,
        capture_output=True,
    )
    assert b"PATH=" in done.stdout
    assert b"CANARY_TOKEN=" not in done.stdout
    assert not found(simulator.token, done.stdout + done.stderr)


def test_no_token_stands_in_the_command_line(fresh: RunningGateway) -> None:
    """Every user of the machine can read it."""
    command = Path(f"/proc/{fresh.process.pid}/cmdline").read_bytes()
    assert b"serve" in command
    assert not any(found(secret, command) for secret in secrets_of(fresh))


@pytest.mark.parametrize(
    "content", [b"", b"two words", b"caf\xc3\xa9CANARYtoken0123", b"CANARYtoken0123\nmore0123456789ab"]
)
def test_a_token_that_cannot_be_used_is_not_shown_by_the_refusal_to_start(content: bytes, tmp_path: Path) -> None:
    """`serve` and `check` say what is wrong with it, and no part of it."""
    setup = Setup("http://127.0.0.1:9", tmp_path / "gateway")
    config = setup.write()
    (setup.directory / "token").write_bytes(content)
    for command in ("serve", "check"):
        done = subprocess.run(
            [sys.executable, "-m", "gateway", command, "--config", str(config)],
            check=False,
            capture_output=True,
            timeout=20,
        )
        assert done.returncode == 3, done.stderr
        assert b"CANARY" not in done.stdout + done.stderr
        assert b"0123" not in done.stdout + done.stderr


def test_the_canaries_are_what_they_claim() -> None:
    """The search itself finds a token in every form it knows, so that silence means something."""
    for token in TOKENS:
        assert all(found(token, f"..{form}..".encode()) for form in forms(token))
        assert not found(token, b"nothing of the kind")
    assert len(list(decoded(DEVELOPMENT_TOKEN))) == 3
    assert quote(ODD_TOKEN, safe="") != ODD_TOKEN
