"""The README's block of commands does what it says, as it is pasted."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.cli.running import END_S

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"## Use it\n.*?```sh\n(.*?)```", re.DOTALL)


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def test_the_block_works_as_pasted(tmp_path: Path) -> None:
    """In a fresh clone after `make run`: a key, a check, the cases, a dry run, a cancel, and an intact record.

    Only the two ports differ here.
    """
    found = BLOCK.search((ROOT / "README.md").read_text())
    assert found is not None
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    gateway, upstream = free_ports()
    example = (ROOT / "config.example.yaml").read_text()
    (tmp_path / "config.example.yaml").write_text(example.replace("127.0.0.1:8080", f"127.0.0.1:{gateway}"))
    lines = found[1].replace(":8080", f":{gateway}").replace(":8081", f":{upstream}")
    lines = lines.replace("qstash-gateway simulate", f"qstash-gateway simulate --port {upstream}")
    process = subprocess.Popen(
        ["sh", "-e"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("QSTASH_")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(lines, timeout=END_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    assert re.search(r"^policies: [0-9]+ cases, 0 failed", out, re.MULTILINE)
    assert "Only a dry run. Nothing was cancelled." in out
    assert re.search(r"^50 runs cancelled, under decision ", out, re.MULTILINE)
    assert out.rstrip().endswith("1 chain: intact")
    (key,) = re.findall(r"^  (qgk_\S+)$", out, re.MULTILINE)
    record = b"".join(path.read_bytes() for path in (tmp_path / "trial" / "var" / "audit").glob("*.jsonl"))
    assert key.encode() not in record
