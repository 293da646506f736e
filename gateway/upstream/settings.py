"""The `upstream` section of the configuration: the account's address, its contract, and where its tokens are."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from gateway.core.errors import Problem
from gateway.files import addresses
from gateway.files.addresses import Origin
from gateway.files.mappings import Present, Shape, may, need
from gateway.files.nodes import Place
from gateway.files.secret import SecretSource
from gateway.files.values import Choice, Int, Text, path_field

Contract = Literal["2025", "2026-09"]
CONTRACTS: tuple[Contract, ...] = ("2025", "2026-09")
MAX_SECONDS = 3600

WRITING, READING = "upstream.token", "upstream.read_token"
"""The keys in the configuration of the token that writes and of the one that only reads."""

REFUSING = (401, 403)
"""The statuses with which upstream refuses a token."""


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """The one upstream: `url` is `scheme://host[:port]`, and `host` is what the Host header says.

    `read_token` can only read; without it no runs can be looked up.
    """

    url: str
    host: str
    token: SecretSource
    contract: Contract
    connect_timeout_s: int
    total_timeout_s: int
    max_connections: int
    read_token: SecretSource | None = None


@dataclass(frozen=True, slots=True)
class RawUpstream:
    """The `upstream` section before paths are resolved."""

    url: Origin
    token: SecretSource
    contract: Contract = "2026-09"
    connect_timeout_s: int = 5
    total_timeout_s: int = 30
    max_connections: int = 64
    read_token: SecretSource | None = None


def upstream() -> Shape[RawUpstream]:
    """Return the shape that reads the section."""
    keys = {
        "url": need(Text(addresses.origin, hidden=True)),
        "token": need(_secret(WRITING)),
        "read_token": may(_secret(READING)),
        "contract": may(Choice(CONTRACTS)),
        "connect_timeout_s": may(Int(1, MAX_SECONDS)),
        "total_timeout_s": may(Int(1, MAX_SECONDS)),
        "max_connections": may(Int(1, 10_000)),
    }
    return Shape(RawUpstream, keys)


def complete(raw: RawUpstream, base: Path) -> UpstreamSettings:
    """Return the settings, with the section's paths made relative to `base`."""
    return UpstreamSettings(
        url=raw.url.url,
        host=raw.url.host,
        token=_located(raw.token, base),
        contract=raw.contract,
        connect_timeout_s=raw.connect_timeout_s,
        total_timeout_s=raw.total_timeout_s,
        max_connections=raw.max_connections,
        read_token=None if raw.read_token is None else _located(raw.read_token, base),
    )


def _located(source: SecretSource, base: Path) -> SecretSource:
    return source if source.file is None else replace(source, file=base / source.file)


def _secret(key: str) -> Shape[SecretSource]:
    """Return the shape that reads where a secret is; `key` is the name of the key for messages."""
    keys = {
        "file": may(path_field()),
        "env": may(Text(_variable, hidden=True)),
    }
    return Shape(partial(_secret_source, key=key), keys, check=_one_source, located=True, hidden=True)


def _variable(text: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("expected the name of an environment variable")
    return text


def _secret_source(*, key: str, at: Place, file: Path | None = None, env: str | None = None) -> SecretSource | None:
    return None if (file is None) == (env is None) else SecretSource(file, env, at, key)


def _one_source(place: Place, present: Present) -> list[Problem]:
    if len(present.keys() & {"file", "env"}) == 1:
        return []
    return [place.problem("say where the secret is: exactly one of {file: …} and {env: …}")]


def refused(name: str, status: int | None) -> str:
    """Return a sentence for operators about a token that upstream refuses: which it is, and what to do."""
    return f"QStash refused {name} ({status}): renew it"
