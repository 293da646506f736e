"""Stores for fleets: one of each kind for what holds on both, and a PostgreSQL server."""

from __future__ import annotations

from tests.support.state.fixtures import postgres, running_postgres, settings, store

__all__ = ["postgres", "running_postgres", "settings", "store"]
