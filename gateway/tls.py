"""What TLS is spoken, inward and outward: said here, not left to how Python was built or to OPENSSL_CONF."""

from __future__ import annotations

import ssl
from pathlib import Path

CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Those of Python's own builds since 3.10. Distributions build it to take the system's, which the environment sets."""

_UNSAFE = 0x4 | 0x80 | 0x40000
"""openssl/ssl.h, as not every Python names them: SSL_OP_LEGACY_SERVER_CONNECT, SSL_OP_IGNORE_UNEXPECTED_EOF (with it an
answer that was cut off may be taken for whole; some set it), SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION."""


def server_context() -> ssl.SSLContext:
    """Returns a context for callers, still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _settle(context)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(roots: Path) -> ssl.SSLContext:
    """Returns a context that checks names and certificates against the roots in a file. Raises: OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _settle(context)
    context.load_verify_locations(cafile=roots)
    return context


def unverified_context() -> ssl.SSLContext:
    """Returns a context that takes every certificate: for a process that asks itself and sends nothing of worth."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _settle(context)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _settle(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    context.set_ciphers(CIPHERS)
    context.options &= ~_UNSAFE
