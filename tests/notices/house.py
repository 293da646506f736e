"""Receivers, notices and their ways, for the laws about them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from gateway.files.nodes import Place
from gateway.notices.events import Notice
from gateway.notices.outbox import Outbox
from gateway.notices.post import Failure
from gateway.notices.receivers import Receiver
from gateway.notices.settings import ReceiverSettings, webhook_url
from gateway.state.notices import EVENTS, Event, Format, TakenNotice
from gateway.upstream.shares import Desk
from tests.support.stand_ins import Lines
from tests.support.state.notices import MemoryNotices

HERE = Place("gateway.yaml", 9, 3)
SECRET = b"whsec_" + base64.b64encode(bytes(range(32)))
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
AT_MS = 1_795_000_000_000


def receiver(
    directory: Path,
    url: str = "https://hooks.example.com/in",
    *,
    form: Format = "cloudevents",
    events: Sequence[Event] = EVENTS,
    secret: bytes | None = SECRET,
    networks: bool = True,
) -> Receiver:
    """A receiver, whose secret is in a file of its own; one on loopback is meant."""
    path = None
    if secret is not None:
        path = directory / f"secret-{len(list(directory.iterdir()))}"
        path.write_bytes(secret + b"\n")
        path.chmod(0o600)
    found = webhook_url(url)
    settings = ReceiverSettings(found, HERE, path, form, tuple(events), LOOPBACK if networks else ())
    return Receiver(settings, found)


def notice(name: str = "n1", *, subject: str = "s", at_ms: int = AT_MS, event: Event = "over_cancelled") -> Notice:
    """A notice about a decision."""
    data = {"decision_id": subject, "team": "billing", "rule": "billing/own", "over_cancelled": 3}
    return Notice(name, event, "over_cancelled", subject, at_ms, data)


def taken(one: Notice | None = None) -> TakenNotice:
    """A notice as the store hands it out."""
    found = one or notice()
    return TakenNotice(found.notice_id, "receiver", found.document(), 0)


@dataclass
class Hand:
    """A way to a receiver that takes what it gets while `down` is None. It stands in for `Post`."""

    down: Failure | None = None
    tried: list[str] = field(default_factory=list)
    got: list[TakenNotice] = field(default_factory=list)

    async def deliver(self, notice: TakenNotice) -> Failure | None:
        self.tried.append(notice.notice_id)
        if self.down is None:
            self.got.append(notice)
        return self.down

    @property
    def names(self) -> list[str]:
        """The IDs of what was taken, in turn."""
        return [one.notice_id for one in self.got]


def outbox(store: MemoryNotices, receivers: Sequence[Receiver], lines: Lines, *, held: int = 100) -> Outbox:
    """An outbox whose only secrets are texts with SECRET in them."""
    return Outbox(store, receivers, log=lines, is_secret=lambda text: "SECRET" in text, most_held=held)


def desk() -> Desk:
    """Threads to resolve names on."""
    return Desk("notices", 2)
