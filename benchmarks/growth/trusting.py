"""The gateway as it is, but for the roots that it trusts: they are the file that `BENCH_ROOTS` names.

A gateway trusts certifi's roots for upstream, and no setting changes them. A stub has a certificate of its own.
"""

from __future__ import annotations

import os
import sys

import certifi

from gateway.__main__ import main


def roots() -> str:
    """Returns the file of the roots."""
    return os.environ["BENCH_ROOTS"]


if __name__ == "__main__":
    certifi.where = roots
    sys.exit(main())
