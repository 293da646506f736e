"""Reading the list of runs: upstream's workflow log, with the read-only token; nothing here changes anything."""
