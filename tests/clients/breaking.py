"""A TCP proxy between client and gateway that cuts connections while the answer is still on its way."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from tests.support.proxies import Proxy, pump
from tests.support.waiting import until


class BreakingProxy(Proxy):
    """Forwards to `port` on 127.0.0.1; use as a context manager.

    The first connection is cut, on both sides, once `cut_when` holds; then every new one is closed before it is
    forwarded, until `heal_when` holds. Later connections pass.
    """

    def __init__(self, port: int, *, cut_when: Callable[[], bool], heal_when: Callable[[], bool]) -> None:
        super().__init__(port)
        self._cut_when = cut_when
        self._heal_when = heal_when
        self._cuts: list[int] = []

    @property
    def cut(self) -> int:
        """How many connections were cut or closed."""
        return len(self._cuts)

    def serve(self, connection: socket.socket, number: int) -> None:
        """Cuts it, closes it or passes it on."""
        if number > 1 and not self._heal_when():
            self._cuts.append(number)
            connection.close()
            return
        with self.onward(connection) as server:
            if number > 1:
                pump(server, connection)
                return
            until(self._cut_when)
            for end in (connection, server):
                with contextlib.suppress(OSError):  # the gateway may have closed its side on seeing the other one end
                    end.shutdown(socket.SHUT_RDWR)
            self._cuts.append(number)
