"""The store: the port of `gateway/state` over SQLAlchemy Core, in SQLite or PostgreSQL. The only room that speaks SQL."""
