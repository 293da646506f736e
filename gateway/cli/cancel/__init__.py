"""The `cancel` command, for people. It shows which runs a request means, asks, and cancels exactly those."""
