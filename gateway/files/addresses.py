"""The addresses of the configuration, parsed once: where the gateway listens and where it sends."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from gateway.core.errors import Problem
from gateway.core.grammar import is_host_name, reads_as_number
from gateway.files.nodes import Place
from gateway.files.values import path_field

_LISTEN = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[0-9.]+|localhost):(?P<port>0|[1-9][0-9]{0,4})")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_SERVED_AS = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_KEY_SET_URL = re.compile(r"(?P<origin>https?://[^/?#@]+)/[!$&-.0-;=@-Z_a-z~/]*")
_MAX_PORT = 65_535
_MAX_UNIX_PATH_BYTES = 107
"""unix(7): sun_path has 108 bytes, the last of them zero."""
_LOOPBACK = IPv4Network("127.0.0.0/8")
MAX_ADDRESSES = 4
"""The most addresses that the gateway listens on."""


@dataclass(frozen=True, slots=True)
class Listen:
    """An address of this machine; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def meets(self, other: Listen) -> bool:
        """Return whether both cannot be listened on at once; `::` takes every address, `0.0.0.0` those of IPv4."""
        if self.port != other.port or self.port == 0:
            return False
        mine, others = self._address(), other._address()
        return mine == others or _takes(mine, others) or _takes(others, mine)

    @property
    def is_every(self) -> bool:
        """Whether it stands for every address of the machine."""
        return self._address().is_unspecified

    def _address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        address = ipaddress.ip_address("127.0.0.1" if self.host == "localhost" else self.host)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return address if mapped is None else mapped


def _takes(
    one: ipaddress.IPv4Address | ipaddress.IPv6Address, other: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> bool:
    return one.is_unspecified and (one.version == 6 or other.version == 4)


@dataclass(frozen=True, slots=True)
class UnixListen:
    """A socket in the file system."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The listener's certificate chain and private key, PEM files. `at` is where the configuration names them."""

    certificate: Path
    key: Path
    at: Place = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Health:
    """The listeners that serve only `/healthz` and `/readyz`, without TLS."""

    listen: tuple[Listen, ...]


@dataclass(frozen=True, slots=True)
class MetricsAt:
    """The place of `/metrics`: a listener of its own, or the health listeners if there is none."""

    listen: Listen | None


@dataclass(frozen=True, slots=True)
class ConsoleAt:
    """The listener of the console, and the `host[:port]` under which browsers reach it where that is another one."""

    listen: Listen
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The base URL of upstream, `scheme://host[:port]`, and its `host[:port]`."""

    url: str
    host: str


def listen(text: str) -> Listen | UnixListen:
    """Parse `host:port` with an IP address or localhost, or `unix:PATH`; raise ValueError with one sentence."""
    if not text.startswith("unix:"):
        return address(text)
    path = text.removeprefix("unix:")
    if not path or "\0" in path:
        raise ValueError("expected unix:PATH, a path in the file system")
    return UnixListen(path_field().parse(path))


def address(text: str) -> Listen:
    """Parse `host:port` with an IP address or localhost; raise ValueError with one sentence."""
    match = _LISTEN.fullmatch(text)
    if match is None:
        raise ValueError("expected host:port, the host an IP address or localhost, like 127.0.0.1:8080")
    host, port = match["host"].strip("[]"), int(match["port"])
    if host != "localhost":
        _address(match["host"])
    if port > _MAX_PORT:
        raise ValueError("a port is at most 65535")
    return Listen(host, port)


def host(text: str) -> str:
    """Parse `name[:port]` as browsers send it in the header Host; raise ValueError with one sentence."""
    match = _SERVED_AS.fullmatch(text)
    if match is None or int(match["port"] or 1) > _MAX_PORT:
        raise ValueError("expected name[:port] in lower case and nothing else, like console.example.com")
    _check_host(match["host"])
    return text


def socket_mode(text: str) -> int:
    """Parse the permission bits of a Unix socket in octal, like "0660"; raise ValueError with one sentence."""
    if not re.fullmatch("0[0-7]{3}", text):
        raise ValueError('expected permission bits in octal and quotes, like "0660"')
    return int(text, 8)


def clashes(
    listen: Sequence[tuple[Place, Listen | UnixListen]],
    health: Sequence[tuple[Place, Listen]],
    *,
    metrics: MetricsAt | None = None,
    console: ConsoleAt | None = None,
    keys: Mapping[str, Place],
) -> Iterator[Problem]:
    """Yield a problem for each address or key that clashes with another, at its place; `keys` are those of the file."""
    files = [(at, place) for at, place in listen if isinstance(place, UnixListen)]
    if "tls" in keys and len(files) == len(listen):
        yield keys["tls"].problem("'tls' does not go with a Unix socket: what it carries never leaves the machine")
    if "socket_mode" in keys and not files:
        yield keys["socket_mode"].problem("'socket_mode' has no effect: only listen: unix:PATH makes a file")
    for at, file in files:
        if len(os.fsencode(file.path)) > _MAX_UNIX_PATH_BYTES:
            yield at.problem(f"the path of a Unix socket has at most {_MAX_UNIX_PATH_BYTES} bytes")
    for index, (at, place) in enumerate(listen):
        if any(_meet(place, other) for _, other in listen[:index]):
            yield at.problem(f"{place} is listened on already: an address above takes it, and [::] takes IPv4 as well")
    for index, (at, address) in enumerate(health):
        if any(_meet(address, other) for _, other in (*listen, *health[:index])):
            yield at.problem(f"'health' needs an address of its own, {address} is listened on already")
    others = [*listen, *health]
    if metrics is not None:
        yield from _metrics_clashes(metrics, others, has_health=bool(health), at=keys["metrics"])
    yield from _console_clashes(console, metrics, others, keys)


def _console_clashes(
    console: ConsoleAt | None,
    metrics: MetricsAt | None,
    others: Sequence[tuple[Place, Listen | UnixListen]],
    keys: Mapping[str, Place],
) -> Iterator[Problem]:
    if console is None:
        return
    at, taken = keys["console"], [other for _, other in others]
    if metrics is not None and metrics.listen is not None:
        taken.append(metrics.listen)
    if any(_meet(console.listen, other) for other in taken):
        yield at.problem(f"'console' needs an address of its own, {console.listen} is listened on already")
    if console.host is None and console.listen.is_every:
        yield at.problem(
            f"'console' on {console.listen} needs 'host', the name under which browsers reach it, like "
            "console.example.com"
        )


def _metrics_clashes(
    metrics: MetricsAt, others: Sequence[tuple[Place, Listen | UnixListen]], *, has_health: bool, at: Place
) -> Iterator[Problem]:
    if metrics.listen is None and not has_health:
        yield at.problem("'metrics: {on: health}' needs 'health', the listener that it is on")
    elif any(_meet(metrics.listen, other) for _, other in others):
        yield at.problem(f"'metrics' needs an address of its own, {metrics.listen} is listened on already")


def _meet(one: Listen | UnixListen | None, other: Listen | UnixListen) -> bool:
    if isinstance(one, Listen) and isinstance(other, Listen):
        return one.meets(other)
    return one == other


def key_set_url(text: str) -> str:
    """Check the URL of an issuer's keys: https, or http to loopback; raise ValueError with one sentence."""
    match = _KEY_SET_URL.fullmatch(text)
    if match is None:
        raise ValueError("expected https://host[:port]/path without user, query or fragment")
    origin(match["origin"])
    return text


def origin(text: str, *, allow_http: bool = False) -> Origin:
    """Parse upstream's base URL; raise ValueError with one sentence.

    Plain http would show the token to everyone on the way, so it is allowed to loopback only, unless `allow_http` says
    that nobody else uses the network.
    """
    if text.endswith("/") and _ORIGIN.fullmatch(text[:-1]):
        raise ValueError("leave out the final '/'")
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError("expected https://host[:port] in lower case and nothing else: no path, query or user")
    if int(match["port"] or 1) > _MAX_PORT:
        raise ValueError("a port is at most 65535")
    if match["scheme"] == "http" and not allow_http and not is_loopback(match["host"]):
        raise ValueError("plain http only to loopback (localhost, 127.0.0.1, [::1]): the token would be readable")
    _check_host(match["host"])
    return Origin(text, text.partition("://")[2])


def network(text: str) -> IPv4Network | IPv6Network:
    """Parse an IP address or CIDR network without host bits; raise ValueError with one sentence.

    An IPv4 network written as IPv6 becomes an IPv4 network, because its addresses are compared as IPv4.
    """
    try:
        found = ipaddress.ip_network(text)
    except ValueError as exc:
        raise ValueError("expected an IP address or network like 10.0.0.0/8, without host bits") from exc
    mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    return found if mapped is None or found.prefixlen < 96 else IPv4Network((mapped, found.prefixlen - 96))


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL, an IPv6 address in brackets, is this machine by its very name or address."""
    # Newer Pythons take IPv4 within IPv6 for loopback, older ones do not; here it is never loopback.
    return host in ("localhost", "[::1]") or (reads_as_number(host) and _address(host) in _LOOPBACK)


def _check_host(host: str) -> None:
    if reads_as_number(host):
        _address(host)
    elif not is_host_name(host):
        raise ValueError("the host is no host name")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(host[1:-1]) if host.startswith("[") else ipaddress.IPv4Address(host)
    except ValueError as exc:
        raise ValueError(f"{host} is not an IP address") from exc
