"""What waits in the store to be sent elsewhere, behind whatever made it."""
