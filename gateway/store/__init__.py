"""The store: the port of `gateway/state` over SQLAlchemy Core, in SQLite or PostgreSQL. Only this room speaks SQL."""
