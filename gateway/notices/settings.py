"""The `notify` section of the configuration: who is told of what, in which form, and where their secrets are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from gateway.core.grammar import reads_as_number
from gateway.files import addresses
from gateway.files.mappings import Either, Judged, ListOf, Shape, may, need
from gateway.files.nodes import Place
from gateway.files.values import Choice, Text, path_field
from gateway.notices.address import may_connect
from gateway.state.notices import EVENTS, FORMATS, Event, Format

MOST_RECEIVERS = 8
_PORTS = {"http": 80, "https": 443}
_URL = re.compile(
    r"(?P<origin>(?P<scheme>https?)://(?P<netloc>[^/?#@]+))(?P<target>/[!$%&'()*+,./0-9:;=@A-Z_a-z~?-]*)?"
)
_NAMED = re.compile(r"\[?(?P<host>[^\]]*?)\]?(?::(?P<port>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class WebhookUrl:
    """The URL of a receiver. `host` is without brackets; `target`, path and query, may hold a secret: nothing shows it.

    `origin` is `scheme://host[:port]` as written, and stands for the receiver in messages.
    """

    origin: str
    host: str
    port: int
    target: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """One receiver: its URL, or the file that holds it, the file of its signing secret, and what it is told.

    `networks` are those, not public, that its address may lie in.
    """

    url: WebhookUrl | Path
    at: Place = field(compare=False, repr=False)
    secret: Path | None = None
    format: Format = "cloudevents"
    events: tuple[Event, ...] = EVENTS
    networks: tuple[IPv4Network | IPv6Network, ...] = ()


def notify() -> ListOf[ReceiverSettings]:
    """Return the reader of the section."""
    url = Either(Text(webhook_url, hidden=True), Shape(lambda file: file, {"file": need(path_field())}, hidden=True))
    keys = {
        "url": need(url),
        "secret": may(Shape(lambda file: file, {"file": need(path_field())}, hidden=True)),
        "format": may(Choice(FORMATS)),
        "events": may(ListOf(Choice(EVENTS), distinct={"event": str})),
        "networks": may(ListOf(Text(addresses.network))),
    }
    receiver = Judged(Shape(ReceiverSettings, keys, located=True, hidden=True), _judged)
    return ListOf(receiver, distinct={"URL": lambda one: one.url}, max_items=MOST_RECEIVERS)


def complete(receiver: ReceiverSettings, base: Path) -> ReceiverSettings:
    """Return the settings with paths made relative to `base`."""
    url = base / receiver.url if isinstance(receiver.url, Path) else receiver.url
    return replace(receiver, url=url, secret=None if receiver.secret is None else base / receiver.secret)


def webhook_url(text: str) -> WebhookUrl:
    """Parse the URL of a receiver; raise ValueError with one sentence, which shows nothing of it."""
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError("expected https://host[:port]/path, without user and fragment")
    try:
        addresses.origin(found["origin"], allow_http=True)
    except ValueError:
        raise ValueError("the host is none in lower case, or an IP address that is not written in full") from None
    named = _NAMED.fullmatch(found["netloc"])
    assert named is not None
    if found["scheme"] == "http" and not addresses.is_loopback(found["netloc"].removesuffix(f":{named['port']}")):
        raise ValueError("plain http only to loopback (localhost, 127.0.0.1, [::1]): others could read along")
    port = int(named["port"] or _PORTS[found["scheme"]])
    return WebhookUrl(found["origin"], named["host"], port, found["target"] or "/")


def literal_problem(receiver: ReceiverSettings, url: WebhookUrl) -> str | None:
    """Return why the IP address in a URL may not be connected to; None if it may, or if the host is a name."""
    if not reads_as_number(url.host) and ":" not in url.host:
        return None
    if may_connect(url.host, receiver.networks):
        return None
    return f"{url.host} is no public address: if it is meant, add it to 'networks', like networks: [{url.host}]"


def _judged(receiver: ReceiverSettings) -> ReceiverSettings:
    """Return the receiver if its keys go together. Raises: ValueError."""
    if receiver.secret is None and receiver.format == "cloudevents":
        raise ValueError("the key 'secret' is missing: a file with the secret that the notices are signed with")
    if isinstance(receiver.url, WebhookUrl) and (problem := literal_problem(receiver, receiver.url)) is not None:
        raise ValueError(problem)
    return receiver
