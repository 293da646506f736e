"""The operators' log: one JSON object a line on standard error. What callers did is not here but in the audit log."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def make_log(stream: TextIO | None = None) -> structlog.typing.FilteringBoundLogger:
    """A logger whose processors global configuration cannot change."""
    log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream if stream is not None else sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return log


def quiet_libraries() -> None:
    """Lets only warnings of libraries through, one plain line each and without a traceback's source lines."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
