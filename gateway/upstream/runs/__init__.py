"""The list of runs: upstream's workflow log, read with the read-only token. Nothing here changes anything.

Without a read-only token only the progress of a bulk action is read, with the writing token.
"""
