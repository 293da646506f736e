"""The commands that write, check, test, explain and replay policies; nothing is sent."""
