"""Gateways with small audit chains, each forked from a process that has imported the code and done nothing else.

Its arguments are modules that are imported as well, because gateways of some configurations do.

One JSON object a line comes in: the order for a gateway; its process number goes out. The child serves what `serve`
serves. It lets a tracer in, which `serve` forbids (a process that is not dumpable is traced only by root), and waits
for one where the order says so.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import uvloop

from gateway.app import build
from gateway.config import load_config

_PR_SET_DUMPABLE = 4
_PR_SET_PTRACER = 0x59616D61
_PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)


def main() -> None:
    """Forks a gateway for each order, until there are no more."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _serve(Path(order["config"]), order)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _serve(config: Path, order: dict) -> None:
    status = 1
    try:
        _leave_the_parent(Path(order["output"]))
        if order["traced"]:
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
        gateway = build(load_config(config))
        audit = replace(gateway.audit, chain_bytes=order["chain_bytes"], new_name=_names(order["name"]), retry_s=0.05)
        gateway = replace(gateway, audit=audit)
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)
        port = gateway.listeners[0].socket.getsockname()[1]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(gateway.serve(lambda: gateway.log.info("serving", port=port)))
        status = 0
    except BaseException:  # noqa: BLE001 - the child may not return into its parent's loop
        traceback.print_exc()
    finally:
        os._exit(status)


def _names(name: str) -> Callable[[], str]:
    """Names of chains that are known beforehand, so that a fault can be laid on a file that is not there yet."""
    numbers = itertools.count(1)
    return lambda: f"{name}-{next(numbers):03d}"


def _leave_the_parent(output: Path) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(said, 2)


if __name__ == "__main__":
    main()
