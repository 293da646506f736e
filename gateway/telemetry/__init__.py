"""Traces: what a cancel spent its time on, told to a collector. Nothing of it is loaded without the key `telemetry`."""
