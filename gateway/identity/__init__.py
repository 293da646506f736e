"""Identities that workloads already carry: signed tokens of pinned issuers, and the keys that check them."""
