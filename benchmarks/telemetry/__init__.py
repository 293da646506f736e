"""What telemetry costs a cancel: the same load on gateways with and without it, in turn."""
