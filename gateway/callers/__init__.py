"""The callers: how they are authenticated, how much they may ask, and the settings in force."""
