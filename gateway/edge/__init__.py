"""The edge: bytes in, bytes out. Protocol, head, application, pages and answers."""
