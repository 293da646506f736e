"""The process that gateways of tests are forked from: it has loaded what they need, and run nothing of it.

Loading takes most of the time of a command, and it is the same for each. What is forked is a process of its own in all
that a test can see of it, but for its command line in /proc, and for the order in which modules are loaded.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import socket
import sys
from collections.abc import Sequence
from importlib import import_module

LONGEST = 1 << 17
"""Bytes of an order at most."""
STREAMS = 3
LEFT_OUT = (
    *("gateway.__main__", "gateway.store.migrations.env", "gateway.cli.cancel.screen", "gateway.telemetry.otlp"),
)
"""The first two run when they are loaded, the third needs what `keep_out` keeps out, the last is large."""
OF_OTHERS = ("cryptography.x509", "xml.etree.ElementTree")
"""What the gateway loads later, when it is needed."""


def load() -> None:
    """Loads every module of the gateway, in a process that is set up as its own."""
    import_module("gateway.cli.lean").keep_out()
    gc.disable()
    package = import_module("gateway")
    for module in pkgutil.walk_packages(package.__path__, "gateway."):
        if module.name not in LEFT_OUT:
            import_module(module.name)
    for name in OF_OTHERS:
        import_module(name)
    gc.collect()
    gc.freeze()
    gc.enable()


def become(order: dict, descriptors: Sequence[int]) -> None:
    """Takes what a new process would have been given."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if order["session"]:
        os.setsid()
    os.chdir(order["cwd"])
    sys.path[0] = order["cwd"]
    os.environ.clear()
    os.environ.update(order["environment"])
    main = import_module("gateway").__path__[0] + "/__main__.py"
    sys.argv[:] = [main, *order["arguments"]]


def attend(orders: socket.socket) -> bool:
    """Forks until the orders end; returns whether this process is one that was forked."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, LONGEST, STREAMS)
        if not message:
            return False
        order = json.loads(message)
        if "ended" in order:
            _, status = os.waitpid(order["ended"], 0)
            orders.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if pid == 0:
            become(order, descriptors)
            return True
        for descriptor in descriptors:
            os.close(descriptor)
        orders.send(str(pid).encode())


def main() -> int:
    """Attends to the socket whose number is the argument; in a forked process, runs the gateway's command line."""
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        load()
        forked = attend(orders)
    if not forked:
        return 0
    code: int = import_module("gateway.__main__").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
