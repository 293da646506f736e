"""Kills a gateway again and again, and compares what it recorded with what upstream was sent."""
