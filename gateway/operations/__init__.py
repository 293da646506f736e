"""The calls of QStash's API, each with what the gateway makes of it; pure."""
