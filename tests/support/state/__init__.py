"""Stores for tests: SQLite files, a PostgreSQL server of our own, and parts of the port in memory."""
