"""Notices to receivers outside: what happened, kept in the store and sent until it is taken. Only with `notify`."""
