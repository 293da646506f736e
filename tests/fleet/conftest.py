"""A PostgreSQL server for fleets."""

from __future__ import annotations

from tests.support.state.fixtures import postgres, running_postgres

__all__ = ["postgres", "running_postgres"]
