"""Fakes of the store's ports: in memory, and with switches for what a store can do to a gateway."""
