"""The listener's certificate and key: read at the start and whenever they change, and watched for their expiry."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.callers.settings import SOON
from gateway.core.errors import InvalidConfiguration, Problem
from gateway.files.addresses import TlsFiles
from gateway.files.source import named, read_file, sentence
from gateway.files.watch import WatchedFile, fingerprint
from gateway.process import server_context

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain, valid now, with its key; `ends` is the earliest end of any certificate in the chain."""

    context: ssl.SSLContext
    ends: datetime


def ending(files: TlsFiles, pair: Pair, today: date) -> str | None:
    """Return a notice if the certificate has ended or its last UTC day is at most fourteen days away, else None."""
    last = pair.ends.date()
    if last - today > SOON:
        return None
    return f"the TLS certificate {files.certificate} {'ended' if last < today else 'ends'} on {last}"


def load_pair(files: TlsFiles, now: datetime) -> Pair:
    """Read the two files.

    Raises:
        InvalidConfiguration: a file cannot be read, the two do not belong together, or the chain is not valid now. The
            problem's place is the one in the configuration that names them.
    """
    problems = [problem for path in (files.certificate, files.key) for problem in _unreadable(files, path)]
    if problems:
        raise InvalidConfiguration(problems)
    context = server_context()
    try:
        context.load_cert_chain(files.certificate, files.key, password=_encrypted)
    except (OSError, ValueError) as exc:
        raise InvalidConfiguration([files.at.problem(_unusable(files, exc))]) from exc
    chain = _chain(files)
    problems = [files.at.problem(f"the certificate {files.certificate} {fault}") for fault in _not_in_force(chain, now)]
    if problems:
        raise InvalidConfiguration(problems)
    return Pair(context, min(one.not_valid_after_utc for one in chain))


class ServedCertificate:
    """The pair that new handshakes use: the one read at the start, then the latest good one in the files.

    `context` is for the server; a connection keeps the pair of its handshake.
    """

    def __init__(self, files: TlsFiles, now: Callable[[], datetime]) -> None:
        """Read the files. Raises: InvalidConfiguration."""
        self._files = files
        self._now = now
        # The fingerprint is taken before the files are read, so that no change in between is missed.
        seen = fingerprint(files.certificate, files.key)
        self._pair = load_pair(files, now())
        self.watched = WatchedFile(files.certificate, self._reload, seen=seen, beside=(files.key,))
        # This context has no pair of its own. The callback is called in every handshake, even without a server name,
        # so a context that is in use is never changed.
        self.context = server_context()
        self.context.sni_callback = self._choose

    @property
    def notice(self) -> str | None:
        """The notice for operators that the certificate ends within 14 days or has ended; None otherwise."""
        return ending(self._files, self._pair, self._now().date())

    @property
    def ends(self) -> datetime:
        """When the first certificate of the chain in use ends."""
        return self._pair.ends

    def _choose(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        handshake.context = self._pair.context

    def _reload(self) -> None:
        self._pair = load_pair(self._files, self._now())


def _unreadable(files: TlsFiles, path: Path) -> Iterator[Problem]:
    try:
        read_file(path)
    except InvalidConfiguration as exc:
        yield files.at.problem(sentence(f"the file {named(path)}", exc))


def _unusable(files: TlsFiles, fault: Exception) -> str:
    if isinstance(fault, ssl.SSLError) and fault.reason == "KEY_VALUES_MISMATCH":
        return f"the key {files.key} is not that of the certificate {files.certificate}"
    if isinstance(fault, ssl.SSLError) and fault.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return f"the certificate {files.certificate} is too weak: TLS refuses its key or its signature"
    if not isinstance(fault, OSError):
        return f"the key {files.key} {fault}"
    return f"{files.certificate} and {files.key} are not a certificate and a key in PEM"


def _encrypted() -> str:
    """Raise ValueError; OpenSSL calls this instead of asking for a passphrase on the terminal."""
    raise ValueError("is encrypted: nobody is there to type a passphrase")


def _chain(files: TlsFiles) -> Sequence[Certificate]:
    # Only a listener with TLS needs this module, and it takes memory.
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(read_file(files.certificate).content)
    except ValueError as exc:
        raise InvalidConfiguration([files.at.problem(_unusable(files, OSError()))]) from exc


def _not_in_force(chain: Sequence[Certificate], now: datetime) -> Iterator[str]:
    for number, one in enumerate(chain, start=1):
        which = "" if number == 1 else f"(number {number} of the chain in it) "
        if one.not_valid_after_utc <= now:
            yield f"{which}ended on {_shown(one.not_valid_after_utc)}: renew it"
        elif one.not_valid_before_utc > now:
            since = _shown(one.not_valid_before_utc)
            yield f"{which}is valid from {since} on, and it is {_shown(now)} now: is this machine's clock right?"


def _shown(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
