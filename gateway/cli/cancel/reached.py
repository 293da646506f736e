"""The way to a gateway: the address that a person gives, the CA of its certificate, and connection faults in words."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.core.errors import InvalidConfiguration
from gateway.files.addresses import Origin, UnixListen, listen, origin
from gateway.files.source import named, read_file, sentence, unnamed
from gateway.process import client_context

CA = "QSTASH_GATEWAY_CA"
"""The environment variable that means the same as the option."""

CA_OPTION = "--ca-file"
CA_HELP = f"CA certificates (PEM) that may vouch for the gateway, in place of the public ones (default: ${CA})"

_LOOKS_LIKE = (
    "expected https://host[:port] and nothing else, like https://gateway.example.com (http:// to loopback), "
    "or unix:PATH"
)
_IN_CLEAR = (
    "is plain http beyond loopback, where everyone on the way can read and change what is sent: use https://, "
    "or say --allow-http where the network is nobody else's"
)

# openssl/x509_vfy.h
_NOT_YET_VALID, _HAS_EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64


def reached(text: str, *, name: str, allow_http: bool) -> Origin | UnixListen:
    """Read the address of a gateway, `unix:PATH` or a base URL. `name` is the option or variable that it came from.

    Raises: ValueError with one sentence on what is wrong. It never quotes the address: a password or key may be in it.
    """
    if text.startswith("unix:"):
        return _socket_file(text, name)
    plain = text[:-1] if text.endswith("/") and not text.endswith("://") else text
    if fault := _superfluous(plain):
        raise ValueError(f"{name} {fault}: {_LOOKS_LIKE}")
    try:
        found = origin(plain, allow_http=True)
    except ValueError as exc:
        raise ValueError(f"{name} has no host or port that could be one: {_LOOKS_LIKE}") from exc
    try:
        return found if allow_http else origin(plain)
    except ValueError as exc:
        raise ValueError(f"{name} {_IN_CLEAR}") from exc


def _socket_file(text: str, name: str) -> UnixListen:
    try:
        found = listen(text)
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from exc
    assert isinstance(found, UnixListen)
    return found


def _superfluous(text: str) -> str | None:
    """Return what an address holds that it must not, or what it lacks; None if only its host or port can be wrong.

    Only the first fault counts, so that a later part is not judged by a wrong reading of an earlier one.
    """
    scheme, between, rest = text.partition("://")
    authority, path, query, fragment = _parts(rest)
    if not text.isascii() or not text.isprintable() or " " in text:
        return "holds a space or another sign that no address has"
    if not between:
        return "has no scheme, https:// before the host"
    if scheme.lower() not in ("https", "http"):
        return "has another scheme than https://"
    there = {"a user or password": "@" in authority, "a path": path, "a query": query, "a fragment": fragment}
    if extra := [part for part, present in there.items() if present]:
        return f"holds {', and '.join(extra)}"
    return "is not in lower case" if text != text.lower() else None


def _parts(rest: str) -> tuple[str, str, str, str]:
    """Split what follows `://` into authority (user, host and port), path, query and fragment.

    The last three keep the character that they begin with.
    """
    match = re.fullmatch(r"([^/?#]*)([^?#]*)((?:\?[^#]*)?)((?:#.*)?)", rest, re.DOTALL)
    assert match is not None
    return match[1], match[2], match[3], match[4]


def trusted(option: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file of CA certificates that the option names, or else the environment; None if neither does.

    Raises: ValueError with one sentence, if it cannot be read, anyone could change it, or it holds no certificate. A
    path that does not exist is not quoted if it may be a key, pasted by mistake.
    """
    name, path = (CA_OPTION, option) if option is not None else (CA, Path(environ.get(CA, "")))
    if option is None and not environ.get(CA):
        return None
    try:
        read_file(path)
        client_context(path)
    except InvalidConfiguration as exc:
        raise ValueError(sentence(f"the file {named(path)} ({name})", exc)) from exc
    except OSError as exc:
        raise ValueError(f"the file {named(path)} ({name}) holds no certificate in PEM") from exc
    return path


def shown(address: Origin | UnixListen) -> str:
    """Return an address for a message; the path of a socket that does not exist is not shown if it may be a key."""
    if isinstance(address, Origin):
        return address.url
    hidden = unnamed(address.path)
    return str(address) if hidden is None else f"the socket {hidden}"


def unreached(fault: BaseException, *, there: str, within_s: float) -> str:
    """Return in plain words why there is no connection; `there` is the place, as in `nothing listens <there>`.

    `within_s` is how long a connection may take, in seconds.
    """
    causes = list(_causes(fault))
    # Look for the most telling cause: libraries wrap it in errors of their own, and several addresses have one each.
    for words in (_untrusted, _no_tls, _no_host, _system):
        for cause in causes:
            if (said := words(cause, there)) is not None:
                return said
    if any(isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__ for cause in causes):
        return f"nothing answers {there} within {within_s:g} s"
    return f"the connection {there} failed ({type(fault).__name__})"


def perhaps_tls(url: str) -> str:
    """Return a hint for an address in plain http whose answer was not HTTP; an empty text for other addresses."""
    return "; perhaps it is an https:// address" if url.startswith("http:") else ""


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    """Yield the fault and everything that led to it."""
    seen: set[int] = set()
    waiting = [fault]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]


def _untrusted(cause: BaseException, there: str) -> str | None:
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return None
    if cause.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        return f"the certificate {there} is for another name ({cause.verify_message.rstrip('.')})"
    if cause.verify_code == _HAS_EXPIRED:
        return f"the certificate {there} has expired"
    if cause.verify_code == _NOT_YET_VALID:
        return f"the certificate {there} is not valid yet; look at this machine's clock"
    return (
        f"the certificate {there} is not trusted ({cause.verify_message}); if a CA of your own made it, "
        f"name that CA's certificate with {CA_OPTION} PATH or {CA}"
    )


def _no_tls(cause: BaseException, there: str) -> str | None:
    if not isinstance(cause, ssl.SSLError):
        return None
    if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE"):
        return f"what answers {there} does not speak TLS; perhaps it is an http:// address"
    reason = (cause.reason or "no reason given").replace("_", " ").lower()
    return f"TLS failed with what answers {there} ({reason})"


def _no_host(cause: BaseException, there: str) -> str | None:
    return f"nothing is found {there}: its host name is not known" if isinstance(cause, socket.gaierror) else None


def _system(cause: BaseException, there: str) -> str | None:
    if not isinstance(cause, OSError) or cause.errno is None:
        return None
    if isinstance(cause, ConnectionError) and not isinstance(cause, ConnectionRefusedError):
        return f"what answers {there} closed the connection"
    words = {
        errno.ECONNREFUSED: f"nothing listens {there}",
        errno.ENOENT: f"nothing listens {there}: there is no such file",
        errno.ENOTDIR: f"nothing listens {there}: there is no such file",
        errno.ENOTSOCK: f"nothing listens {there}: the file is no socket",
        errno.EACCES: f"this user may not connect {there}",
        errno.EPERM: f"this user may not connect {there}",
    }
    return words.get(cause.errno, f"nothing is reached {there}: {os.strerror(cause.errno).lower()}")
