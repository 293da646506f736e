"""The list of runs: upstream's workflow log, read with the read-only token. Nothing here changes anything."""
