"""Bytes in, bytes out: protocol, head, the application, pages, answers."""
