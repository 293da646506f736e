"""An authenticating policy gateway in front of the bulk cancel of Upstash Workflow."""

__version__ = "0.1.0"
