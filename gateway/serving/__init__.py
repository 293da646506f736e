"""The serving process: sockets, server, reload, readiness, clock and certificate."""
