"""Decisions, each joined from its records: the newest from memory, the others through an index of the chains."""
