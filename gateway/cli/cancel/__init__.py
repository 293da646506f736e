"""`cancel`, the command for people: it shows which runs a request means, asks, and cancels exactly those."""
