"""The state of a fleet, in memory."""
