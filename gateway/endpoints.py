"""Where the gateway listens and where it sends: addresses of the configuration, parsed once."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from gateway.document.nodes import Place
from gateway.errors import Problem

_LISTEN = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[0-9.]+|localhost):(?P<port>0|[1-9][0-9]{0,4})")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_KEY_SET_URL = re.compile(r"(?P<origin>https?://[^/?#@]+)/[!$&-.0-;=@-Z_a-z~/]*")
_MAX_PORT = 65_535
_MAX_UNIX_PATH_BYTES = 107
"""unix(7): sun_path has 108 bytes, the last of them zero."""
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on


@dataclass(frozen=True, slots=True)
class Listen:
    """An address of this machine; port 0 lets the kernel choose."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixListen:
    """A socket in the file system."""

    path: Path


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The listener's certificate chain and private key, PEM files. `at` is where the configuration names them."""

    certificate: Path
    key: Path
    at: Place = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Health:
    """A second listener for `/healthz` and `/readyz` alone, without TLS."""

    listen: Listen


@dataclass(frozen=True, slots=True)
class Origin:
    """`scheme://host[:port]` of the upstream, and its `host[:port]`."""

    url: str
    host: str


def listen(text: str) -> Listen | UnixListen:
    """`host:port` with an IP address or localhost, or `unix:PATH`; raises ValueError with one sentence."""
    if not text.startswith("unix:"):
        return address(text)
    path = text.removeprefix("unix:")
    if not path or "\0" in path:
        raise ValueError("expected unix:PATH, a path in the file system")
    return UnixListen(Path(path))


def address(text: str) -> Listen:
    """`host:port` with an IP address or localhost; raises ValueError with one sentence."""
    match = _LISTEN.fullmatch(text)
    if match is None:
        raise ValueError("expected host:port, the host an IP address or localhost, like 127.0.0.1:8080")
    host, port = match["host"].strip("[]"), int(match["port"])
    if host != "localhost":
        _address(match["host"])
    if port > _MAX_PORT:
        raise ValueError("a port is at most 65535")
    return Listen(host, port)


def socket_mode(text: str) -> int:
    """Permission bits of a Unix socket in octal, like "0660"; raises ValueError with one sentence."""
    if not re.fullmatch("0[0-7]{3}", text):
        raise ValueError('expected permission bits in octal and quotes, like "0660"')
    return int(text, 8)


def clashes(
    listen: Listen | UnixListen, health: Health | None, *, keys: Mapping[str, Place], base: Path
) -> Iterator[Problem]:
    """What does not go together; `keys` are those that the file has, `base` is what paths are relative to."""
    if isinstance(listen, UnixListen):
        if "tls" in keys:
            yield keys["tls"].problem("'tls' does not go with a Unix socket: what it carries never leaves the machine")
        if len(os.fsencode(base / listen.path)) > _MAX_UNIX_PATH_BYTES:
            yield keys["listen"].problem(f"the path of a Unix socket has at most {_MAX_UNIX_PATH_BYTES} bytes")
        return
    if "socket_mode" in keys:
        yield keys["socket_mode"].problem("'socket_mode' has no effect: only listen: unix:PATH makes a file")
    if health is not None and _meet(listen, health.listen):
        yield keys["health"].problem("'health' needs an address of its own, this one is that of 'listen'")


def _meet(one: Listen, other: Listen) -> bool:
    if one.port != other.port or one.port == 0:
        return False
    hosts = {host.replace("localhost", "127.0.0.1") for host in (one.host, other.host)}
    return len(hosts) == 1 or not hosts.isdisjoint(_EVERYWHERE)


def key_set_url(text: str) -> str:
    """Where an issuer publishes its keys: https, or http to loopback; raises ValueError with one sentence."""
    match = _KEY_SET_URL.fullmatch(text)
    if match is None:
        raise ValueError("expected https://host[:port]/path without user, query or fragment")
    origin(match["origin"])
    return text


def reached(text: str, *, allow_http: bool) -> Origin | UnixListen:
    """Where a caller reaches the gateway: `unix:PATH`, or a base URL; raises ValueError with one sentence."""
    if not text.startswith("unix:"):
        return origin(text.removesuffix("/"), allow_http=allow_http)
    found = listen(text)
    assert isinstance(found, UnixListen)
    return found


def origin(text: str, *, allow_http: bool = False) -> Origin:
    """The upstream's base URL; raises ValueError with one sentence.

    Plain http would show the token to everyone on the way, so it goes to loopback only, unless `allow_http` says that
    the network is nobody else's.
    """
    if text.endswith("/") and _ORIGIN.fullmatch(text[:-1]):
        raise ValueError("leave out the final '/'")
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError("expected https://host[:port] in lower case and nothing else: no path, query or user")
    if int(match["port"] or 1) > _MAX_PORT:
        raise ValueError("a port is at most 65535")
    if match["scheme"] == "http" and not allow_http and not _is_loopback(match["host"]):
        raise ValueError("plain http only to loopback (localhost, 127.0.0.1, [::1]): the token would be readable")
    _check_host(match["host"])
    return Origin(text, text.partition("://")[2])


def network(text: str) -> IPv4Network | IPv6Network:
    """An IP address or CIDR network without host bits; raises ValueError with one sentence."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as exc:
        raise ValueError("expected an IP address or network like 10.0.0.0/8, without host bits") from exc


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_looks_numeric(host) and _address(host).is_loopback)


def _check_host(host: str) -> None:
    if _looks_numeric(host):
        _address(host)
    elif len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError("the host is no host name")


def _looks_numeric(host: str) -> bool:
    # A last label of digits, or hex, is read as an IPv4 number by browsers and libc (WHATWG URL, 3.5).
    last = host.rpartition(".")[2]
    return host.startswith("[") or last.isdigit() or last.startswith("0x")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(host[1:-1]) if host.startswith("[") else ipaddress.IPv4Address(host)
    except ValueError as exc:
        raise ValueError(f"{host} is not an IP address") from exc
