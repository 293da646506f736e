"""Execution: turns a permit into orders, each sent once. Plans, second looks, follow-ups, cancels in flight."""
