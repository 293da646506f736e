"""Which rules may speak about a request or a run, found without trying each."""
