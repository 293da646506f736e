"""Real stores for tests: SQLite files, and a PostgreSQL server of our own."""
