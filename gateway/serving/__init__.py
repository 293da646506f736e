"""A process that serves: sockets, server, reload, readiness, clock, certificate."""
