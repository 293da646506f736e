"""The commands that write, check, test, explain and replay policies. None of them sends anything."""
