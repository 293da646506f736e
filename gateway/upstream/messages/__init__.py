"""Messages that wait for their delivery, read one by one with the read-only token. Nothing here changes anything."""
