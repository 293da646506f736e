"""Fails the Nth system call of a running gateway, for N = 1, 2, 3 …, and compares the record with what was sent."""
