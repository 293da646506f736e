"""The commands of those who are asked to approve: what waits for them, and what they say of it."""
