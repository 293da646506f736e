"""The forms in which values are written and read: queries, JSON, times, and what a caller is shown of a plan; pure."""
