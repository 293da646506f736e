"""The types that every room shares; pure: no I/O, no clock, no framework."""
