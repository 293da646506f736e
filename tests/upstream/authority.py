"""A certificate authority for one test run, made with the openssl command."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_CONFIG = """
[ca]
default_ca = ours
[ours]
database = {folder}/index
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
subjectAltName = {names}
"""


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs server certificates; `root` is what a client would have to trust."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root.pem"

    def prepare(self) -> Authority:
        """Makes the root."""
        (self.folder / "index").touch()
        (self.folder / "serial").write_text("1000\n")
        config = self._config("DNS:unused.example")
        _openssl(
            *(
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=Test root",
                "-config",
                config,
            ),
            *("-extensions", "root", "-keyout", self.folder / "root.key", "-out", self.root),
        )
        return self

    def server(self, names: str, *, start: str = "20200101000000Z", end: str = "20991231235959Z") -> ssl.SSLContext:
        """A server's context with a certificate for `names` (`IP:127.0.0.1`), valid from `start` to `end`."""
        config = self._config(names)
        key, request, certificate = (self.folder / f"leaf.{kind}" for kind in ("key", "csr", "pem"))
        subject = ("-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server")
        _openssl("req", "-new", *subject, "-config", config, "-keyout", key, "-out", request)
        _openssl(
            *("ca", "-batch", "-notext", "-config", config, "-extensions", "leaf"),
            *("-cert", self.root, "-keyfile", self.folder / "root.key"),
            *("-startdate", start, "-enddate", end, "-in", request, "-out", certificate),
        )
        return _context(certificate, key)

    def self_signed(self) -> ssl.SSLContext:
        """A server's context with a certificate for 127.0.0.1 that nobody vouches for."""
        key, certificate = self.folder / "self.key", self.folder / "self.pem"
        _openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        )
        return _context(certificate, key)

    def _config(self, names: str) -> Path:
        path = self.folder / "openssl.cnf"
        path.write_text(_CONFIG.format(folder=self.folder, names=names))
        return path


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def new_authority(folder: Path) -> Authority:
    """An authority in an empty folder; skips the test where openssl is missing, except under CI=true."""
    if shutil.which("openssl") is None and os.environ.get("CI") != "true":
        pytest.skip("the openssl command is not here")
    folder.mkdir()
    return Authority(folder).prepare()
