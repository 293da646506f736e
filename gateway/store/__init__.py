"""The store of `gateway/state`, over SQLAlchemy Core: SQLite in a file, or PostgreSQL. Loaded only with `state`."""
