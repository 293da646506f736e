"""The record of a chain's start; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.audit.events import catalogue
from gateway.audit.events.declare import ABSENT, Members
from gateway.audit.events.values import Origin


def start_members(
    start: Mapping[str, object],
    key_id: str | None,
    *,
    origin: Origin | None = None,
    intents: Iterable[str] = (),
    recovered: Mapping[str, object] | None = None,
) -> Members:
    """Return the members of `start`, a chain's first record: its seal, the chain it continues, and the heads of others.

    `start` says what writes the chain. `key_id` is None if it is sealed without a key. `origin` is the chain before it,
    with the head at which that chain ended, and `intents` are those left open there. `recovered` holds the heads and
    the damage found in the directory.
    """
    sealed = catalogue.Start(
        chain="sha256" if key_id is None else "hmac-sha256",
        key_id=key_id,
        continues=origin,
        intents=list(intents) if origin is not None else ABSENT,
    )
    return {**start, **sealed.members(), **(recovered or catalogue.Start(heads={}, damaged=[]).members())}
