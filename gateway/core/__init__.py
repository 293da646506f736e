"""The words that every room speaks; pure: no I/O, no clock, no framework."""
