"""A store of each kind, for gateways that share it."""

from __future__ import annotations

from tests.support.state.fixtures import postgres, running_postgres

__all__ = ["postgres", "running_postgres"]
