"""What a gateway does later: pauses that are over are resumed."""
