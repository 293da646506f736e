"""Looking runs up: upstream's workflow log, page by page, with the read-only token; nothing here changes anything."""
