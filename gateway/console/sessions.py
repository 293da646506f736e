"""The sessions of people, in memory: whose each is and until when. No credential is kept, and no session outlives its.

A session is found by the digest of its id, so that the time of the look-up reveals nothing. It ends after twelve hours,
with its token or key, and as soon as that is not in force any more: both are asked at every request and event.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.callers.authenticate import Standing
from gateway.callers.in_force import LiveSettings
from gateway.console.calls import Reply
from gateway.core.errors import Unauthenticated
from gateway.core.ports import Clock
from gateway.core.request import Principal

LASTS_S = 12 * 3600.0
MOST, OF_ONE = 1000, 16
"""The most sessions in all, and of one principal; above it the oldest ends."""

MOST_SAID = 16
"""Of so many plans the answer to its application is kept for the page, the newest."""


@dataclass(slots=True, eq=False)
class Session:
    """One session. `secure` says that it was begun over TLS; `csrf` is in every form of its pages.

    `said` has the answers to the plans that were applied in it, by plan.
    """

    digest: bytes = field(repr=False)
    standing: Standing
    csrf: str = field(repr=False)
    began_s: float
    secure: bool
    said: dict[str, Reply | None] = field(default_factory=dict)

    @property
    def principal(self) -> Principal:
        """Whose it is."""
        return self.standing.principal

    def note(self, plan: str, reply: Reply | None) -> None:
        """Keep the answer to the application of a plan; None while it is awaited."""
        self.said[plan] = reply
        if len(self.said) > MOST_SAID:
            del self.said[next(iter(self.said))]


class Sessions:
    """All sessions of this process."""

    def __init__(self, current: LiveSettings, clock: Clock) -> None:
        self._current = current
        self._clock = clock
        self._all: dict[bytes, Session] = {}
        self._secret = secrets.token_bytes(32)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._all.values())

    @property
    def receive_timeout_s(self) -> float:
        """How long a form may take to arrive, as the body of any other call, in seconds."""
        return self._current.live.limits.receive_timeout_s

    def begin(self, credential: str, *, secure: bool) -> str:
        """Begin a session, and return its id, which is always a new one. Raises: Unauthenticated."""
        live = self._current.live
        standing = live.authenticator.standing(credential, self._clock.now_ms())
        session_id = secrets.token_urlsafe(32)
        session = Session(_digest(session_id), standing, secrets.token_urlsafe(32), self._clock.monotonic_s(), secure)
        mine = [one for one in self if one.principal == session.principal]
        for one in [*mine[: max(0, len(mine) - OF_ONE + 1)], *list(self)[: max(0, len(self._all) - MOST + 1)]]:
            self.end(one)
        self._all[session.digest] = session
        return session_id

    def find(self, session_id: str, *, secure: bool) -> Session | None:
        """Return the session of an id, if it goes on; `secure` says how its cookie was sent."""
        session = self._all.get(_digest(session_id))
        if session is None or session.secure is not secure or not self.goes_on(session):
            return None
        return session

    def goes_on(self, session: Session) -> bool:
        """Return whether a session is still one; if not, it ends."""
        if session.digest not in self._all:
            return False
        if self._clock.monotonic_s() - session.began_s >= LASTS_S:
            self.end(session)
            return False
        try:
            self._current.live.authenticator.still(session.standing, self._clock.now_ms())
        except Unauthenticated:
            self.end(session)
            return False
        return True

    def end(self, session: Session) -> None:
        """End a session."""
        self._all.pop(session.digest, None)

    def ends_s(self, session: Session) -> int:
        """Return in how many seconds a session ends at the latest."""
        left_s = LASTS_S - (self._clock.monotonic_s() - session.began_s)
        ends_ms = session.principal.expires_ms
        return max(0, round(left_s if ends_ms is None else min(left_s, (ends_ms - self._clock.now_ms()) / 1000)))

    def form_token(self, cookie: str) -> str:
        """Return what stands in the form of a login beside this cookie, so that nothing is kept before there is one."""
        return hmac.digest(self._secret, cookie.encode("utf-8", "surrogateescape"), "sha256").hex()


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "surrogateescape")).digest()
