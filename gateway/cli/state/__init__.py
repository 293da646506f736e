"""The commands about the store of shared state."""
