"""What stands between a permit and its intent beyond policy: freezes, budgets, keys that are used once."""
