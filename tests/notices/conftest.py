"""A store of each kind for the laws of delivery."""

from __future__ import annotations

from tests.support.state.fixtures import postgres, running_postgres, settings, store

__all__ = ["postgres", "running_postgres", "settings", "store"]
