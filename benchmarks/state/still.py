"""The gateway's own command line with beats so far apart that none falls into a count: they are no part of a cancel."""

from __future__ import annotations

from gateway.__main__ import main
from gateway.fleet import following

if __name__ == "__main__":
    following.EVERY_S = 3600.0
    main()
