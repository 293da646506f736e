"""`pause`: nothing of a flow-control key, a queue or a schedule is started until it is resumed."""

from __future__ import annotations

from gateway.core.request import Action
from gateway.operations.switches import switching

OPERATION = switching(Action.PAUSE)
