"""An authenticating policy gateway in front of the bulk cancel of Upstash Workflow."""

__version__ = "0.1.0"

RELEASED = "2026-11-28"
"""The UTC day on which this version was made; a clock that shows an earlier day is wrong."""
