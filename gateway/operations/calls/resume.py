"""`resume`: what was held back by a pause is started, and what comes after it."""

from __future__ import annotations

from gateway.core.request import Action
from gateway.operations.switches import switching

OPERATION = switching(Action.RESUME)
