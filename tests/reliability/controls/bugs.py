"""The bugs: what somebody might write who has not read the contract, and the part of the suite that should see it."""

from __future__ import annotations

from tests.reliability.controls.copy import Bug
from tests.reliability.controls.in_limits import IN_LIMITS
from tests.reliability.controls.in_order import IN_ORDER
from tests.reliability.controls.in_reading import IN_READING
from tests.reliability.controls.in_resolving import IN_RESOLVING
from tests.reliability.controls.in_sending import IN_SENDING
from tests.reliability.controls.in_showing import IN_SHOWING

BUGS: tuple[Bug, ...] = (*IN_READING, *IN_SENDING, *IN_ORDER, *IN_RESOLVING, *IN_SHOWING, *IN_LIMITS)
