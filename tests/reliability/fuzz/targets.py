"""The targets by name: each takes any bytes and raises only where a law is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tests.reliability.fuzz.calls import check_call
from tests.reliability.fuzz.files import check_config, check_policy
from tests.reliability.fuzz.heads import check_body, check_target
from tests.reliability.fuzz.lines import check_audit

TARGETS: Mapping[str, Callable[[bytes], None]] = MappingProxyType(
    {
        "target": check_target,
        "body": check_body,
        "call": check_call,
        "policy": check_policy,
        "config": check_config,
        "audit": check_audit,
    }
)
